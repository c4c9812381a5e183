"""One pass over all tasks: list them, find their identities, and handle the secrets that they read."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from app.controller.ecs import EcsTasks
from app.controller.handling import Handled, SecretHandler
from app.controller.parts import Shared
from app.controller.plan import WantedSecret, want_secrets
from app.controller.reasons import Api, CallError, Skip
from app.controller.tasks import SkippedError, Task, TaskIdentity

# The number of secrets that a pass handles at the same time.
MAX_SECRETS_IN_HAND: Final = 4
# The largest number together with those that earlier passes have left in hand.
MAX_LEFT_IN_HAND: Final = 2 * MAX_SECRETS_IN_HAND

ReadTasks = Callable[[Callable[[CallError, str], None]], Awaitable[list[Task]]]


class Identify(Protocol):
    """Finds the identity of a task."""

    def __call__(self, task: Task, *, may_call: bool) -> Awaitable[TaskIdentity]:
        """Return the identity.

        Args:
            task: the task.
            may_call: whether calls may be made for it. Otherwise only answers of earlier calls are used.

        Raises:
            SkippedError: there is none, or it is not known.
        """


@dataclass(slots=True)
class PassResult:
    """What a pass did.

    Attributes:
        tasks: the number of tasks that were seen.
        handled: the secrets that were due.
        are_all: whether every task was read, and the role of each task if roles decide.
        is_full: whether that is so, every secret could be looked at, and all that was due was done.
    """

    tasks: int = 0
    handled: list[Handled] = field(default_factory=list)
    are_all: bool = True
    is_full: bool = True

    @property
    def is_good(self) -> bool:
        """Whether the pass is full, and no secret is missing or malformed."""
        return self.is_full and not any(handled.is_fault for handled in self.handled)


class Passes:
    """Makes passes."""

    def __init__(
        self,
        ecs: EcsTasks,
        identify: Identify,
        handler: SecretHandler,
        shared: Shared,
        *,
        prefix: str,
        valid_for: timedelta,
    ) -> None:
        self._ecs = ecs
        self._identify = identify
        self._handler = handler
        self._shared = shared
        self._prefix = prefix
        self._valid_for = valid_for
        self._in_hand: dict[str, asyncio.Task[Handled | None]] = {}

    async def close(self) -> None:
        """Stop handling the secrets that are still in hand."""
        in_hand = list(self._in_hand.values())
        for handling in in_hand:
            handling.cancel()
        await asyncio.gather(*in_hand, return_exceptions=True)

    async def run(self, patience: float | None = None) -> PassResult:
        """Make one pass.

        Args:
            patience: for how many seconds the pass waits for secrets that tasks wait for, and then for the others. A secret
                that takes longer, for example because a call hangs, is still handled, but the pass ends without it: so new
                tasks do not wait for it. None: the pass waits for all secrets.
        """
        shared, result = self._shared, PassResult()
        started = shared.timer()
        tasks = await self._read_tasks(self._ecs.read_tasks, result)
        served = await self._serve_waiting(tasks, result, patience)
        tasks = await self._read_tasks(self._ecs.refresh_tasks, result)
        identified = await self._identify_all(tasks, result)
        wanted = want_secrets(identified, self._prefix, are_all=result.are_all)
        self._handler.forget_others({each.name for each in wanted} | self._in_hand.keys())
        for each in wanted:
            shared.report.conflict(each)
        await self._handle_all([each for each in wanted if each.name not in served], result, patience)
        self._count(identified)
        result.tasks = len(tasks)
        shared.metrics.pass_ended(
            seconds=shared.timer() - started,
            oldest_token=max(self._handler.token_ages(), default=0.0),
            full_at=shared.clock().timestamp() if result.is_full else None,
        )
        return result

    async def _read_tasks(self, read: ReadTasks, result: PassResult) -> list[Task]:
        """Return the tasks. If ECS cannot be asked, the tasks of the last pass keep their tokens."""
        if self._shared.pauses.is_paused(Api.ECS):
            result.is_full = result.are_all = False
            return self._ecs.known_tasks()
        failures: list[tuple[CallError, str]] = []
        tasks = await read(lambda error, cluster: failures.append((error, cluster)))
        for error, cluster in failures:
            result.is_full = result.are_all = False
            self._shared.failed(error, about=cluster)
        if not failures:
            self._shared.pauses.succeeded(Api.ECS)
        return tasks

    async def _serve_waiting(self, tasks: list[Task], result: PassResult, patience: float | None) -> set[str]:
        """Handle the secrets that tasks wait for, before any call for a task that runs. Return their names.

        The calls for many running tasks take longer than a task should wait: ECS describes 2,000 tasks in 20 calls, and IAM
        answers about 8 calls per second.
        """
        if not any(task.is_pending for task in tasks):
            return set()
        identified: list[tuple[Task, TaskIdentity]] = []
        are_all = result.are_all
        for task in _pending_first(tasks):
            try:
                identified.append((task, await self._identify(task, may_call=task.is_pending)))
            except SkippedError as error:
                are_all &= error.skip is not Skip.ROLE_UNDECIDED
        wanted = want_secrets(identified, self._prefix, are_all=are_all)
        waiting = [each for each in wanted if each.pending and each.is_certain]
        await self._handle_all(waiting, result, patience)
        return {each.name for each in waiting}

    async def _identify_all(self, tasks: list[Task], result: PassResult) -> list[tuple[Task, TaskIdentity]]:
        skipped: Counter[Skip] = Counter()
        identified: list[tuple[Task, TaskIdentity]] = []
        for task in _pending_first(tasks):
            try:
                identified.append((task, await self._identify(task, may_call=True)))
            except SkippedError as error:
                skipped[error.skip] += 1
                if error.skip is Skip.ROLE_UNDECIDED:
                    result.is_full = result.are_all = False
                self._shared.report.skipped(task, error)
        self._shared.metrics.tasks_skipped(skipped)
        return identified

    async def _handle_all(self, wanted: list[WantedSecret], result: PassResult, patience: float | None) -> None:
        """Handle the secrets in their order, several at a time, except those that an earlier pass has left in hand."""
        waiting = deque(each for each in wanted if each.name not in self._in_hand)
        result.is_full &= len(waiting) == len(wanted)
        loop = asyncio.get_running_loop()
        ends_at = None if patience is None else loop.time() + patience

        async def work() -> None:
            while waiting and not self._handler.is_stopping and (ends_at is None or loop.time() < ends_at):
                each = waiting.popleft()
                handling = self._in_hand[each.name] = asyncio.ensure_future(self._handle(each))
                await asyncio.wait((handling,), timeout=None if ends_at is None else ends_at - loop.time())
                if not handling.done():
                    result.is_full = False
                    return
                handled = handling.result()
                if handled is not None:
                    result.handled.append(handled)
                    result.is_full &= handled.done is not None

        workers = min(MAX_SECRETS_IN_HAND, MAX_LEFT_IN_HAND - len(self._in_hand), len(waiting))
        await asyncio.gather(*(work() for _ in range(workers)))
        result.is_full &= not waiting

    async def _handle(self, wanted: WantedSecret) -> Handled | None:
        try:
            return await self._handler.handle(wanted)
        except Exception as error:  # noqa: BLE001 - a bug must not end the others; its text may hold secrets
            self._shared.report.bug(wanted, error)
            return Handled(wanted, None, "a bug of the controller; see its log")
        finally:
            del self._in_hand[wanted.name]

    def _count(self, identified: list[tuple[Task, TaskIdentity]]) -> None:
        now = self._shared.clock()
        self._shared.metrics.tasks_seen(
            running=sum(not task.is_pending for task, _ in identified),
            pending=sum(task.is_pending for task, _ in identified),
            older_than_tokens=sum(now - task.created_at > self._valid_for for task, _ in identified),
        )
        self._shared.metrics.secrets_left(Counter(self._handler.left.values()))


def _pending_first(tasks: list[Task]) -> list[Task]:
    return sorted(tasks, key=lambda each: (not each.is_pending, each.created_at))
