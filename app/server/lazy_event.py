"""An event as asyncio's, without its queue of waiters, which takes 760 bytes even while nobody waits."""

import asyncio


class LazyEvent:
    """Has the methods of `asyncio.Event` that uvicorn uses.

    Each connection has one, and each request another one. Nearly all of them are set before anybody waits.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        # Only while somebody waits.
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether `wait` returns at once."""
        return self._is_set

    def set(self) -> None:
        """Wake up whoever waits."""
        self._is_set = True
        event, self._event = self._event, None
        if event is not None:
            event.set()

    def clear(self) -> None:
        """Reset the event: `wait` blocks until the next call of `set`."""
        self._is_set = False

    async def wait(self) -> bool:
        """Wait until it is set."""
        if self._is_set:
            return True
        if self._event is None:
            self._event = asyncio.Event()
        return await self._event.wait()
