"""Equal questions at the same time are asked once: who comes while one is under way waits for its answer (I19).

The question belongs to nobody who waits. A waiter that is cancelled, or whose time is over, harms no other, and a failure is
shared by those who waited for it and by nobody who comes later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class Flights(Generic[_Answer]):
    """The questions under way, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[_Answer]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._under_way

    async def join(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]], deadline: float) -> _Answer:
        """Wait for the answer to a question, and ask it if nobody has.

        Args:
            key: of the question; equal keys must mean that any of the answers will do.
            ask: asks it; it bounds itself in time.
            deadline: of this waiter, in seconds of the event loop's clock.

        Raises:
            TimeoutError: the deadline came first; the question goes on for the others.
        """
        task = self.start(key, ask)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        finally:
            # A failure's traceback holds this frame, and the task holds the failure: only the collector could end that.
            del task

    def start(self, key: Hashable, ask: Callable[[], Awaitable[_Answer]]) -> asyncio.Task[_Answer]:
        """Ask a question if nobody has, without waiting for the answer."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(_ask(ask))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: Hashable, done: asyncio.Task[_Answer]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # it may be that nobody waits for it any more


async def _ask(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    return await ask()
