"""Single flight: equal calls at the same time are one call, and every caller gets its answer (I19).

For calls of the service itself that are few and need no queue: DNS lookups (`app.http.pool`), its own account
(`app.iam.own_account`), one AssumeRole for each account (`app.iam.reader_roles`) and one signature for each token
(`app.tokens.signer`). Calls that credentials cause are joined in `app.calls.call_queue` instead: there a call waits for its
turn, also if no decision waits for it any more, and can lose its place to a call of another account. Here a call begins at
once::

    no call ── start, join ──▶ in flight ── answer or failure ──▶ no call
                                │    ▲
                                └────┘ join: one more waiter
                                       cancelled, or deadline of a waiter: one less; the call goes on without waiters too

A failure is raised to the callers that waited for the call. Later callers start a new call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class SingleFlight(Generic[_Answer]):
    """The calls in flight, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[_Answer]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._under_way

    async def join(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]], deadline: float) -> _Answer:
        """Wait for the answer of a call. Start the call if it is not in flight.

        Args:
            key: the key of the call; calls with equal keys must have interchangeable answers.
            ask: makes the call; it must end by itself.
            deadline: the deadline of this waiter, in seconds of the event loop's clock.

        Raises:
            TimeoutError: the deadline passed before the answer; the call goes on for the other waiters.
            Exception: what ``ask`` raised.
        """
        task = self.start(key, ask)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        finally:
            # A failure's traceback refers to this frame, and the task refers to the failure. Only the garbage collector
            # could free such a cycle.
            del task

    def start(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> asyncio.Task[_Answer]:
        """Start a call if it is not in flight, without waiting for its answer."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(_ask(ask))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: Hashable, done: asyncio.Task[_Answer]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # it is possible that no caller waits for the call any more


async def _ask(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    return await ask()
