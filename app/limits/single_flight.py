"""Single flight: callers that need the same call at the same time share one call, and all get its answer (I19).

The service uses this module for its own calls, which are few and need no queue: DNS lookups (`app.http.pool`), the service's
own account (`app.iam.own_account`), one AssumeRole for each account (`app.iam.reader_roles`) and one signature for each
token (`app.tokens.signer`). `app.calls.call_queue` provides single flight for calls that credentials cause. Such a call
waits for its turn, even if no decision waits for the call any more, and can lose its place to a call of another account. In
this module a call begins at once::

    no call ── start, join ──▶ in flight ── answer or failure ──▶ no call
                                │    ▲
                                └────┘ join: one more waiter
                                       cancelled, or deadline of a waiter: one less; the call goes on without waiters too

If the call fails, all callers that wait for it get the exception. Later callers start a new call. A caller that comes in the
turn of the event loop in which the call ends is a later one.
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
            key: identifies the call; the answer must be valid for every caller with an equal key.
            ask: makes the call. It must have its own time limit.
            deadline: the deadline of this caller, in seconds of the event loop's clock.

        Raises:
            TimeoutError: the deadline passed before the answer. The call goes on for other callers.
            Exception: the exception that ``ask`` raised.
        """
        task = self.start(key, ask)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        finally:
            # The traceback of the task's exception refers to this frame. If the frame also referred to the task, only the
            # garbage collector could free this cycle.
            del task

    def start(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> asyncio.Task[_Answer]:
        """Start a call, unless it is in flight already. Do not wait for the answer."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(key, ask))
            self._under_way[key] = task
            task.add_done_callback(_mark_as_read)
        return task

    async def _ask(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            return await ask()
        finally:
            # A callback of the task would do this one turn later. To wait for an ended task takes no turn, so a caller that
            # repeats a call without a result would then repeat it for ever, and the event loop would stand still.
            del self._under_way[key]


def _mark_as_read(done: asyncio.Task[_Answer]) -> None:
    """Mark the exception as read. Otherwise asyncio logs an error if no caller waits for the call any more."""
    if not done.cancelled():
        done.exception()
