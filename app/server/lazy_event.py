"""A replacement for `asyncio.Event`, whose queue of waiters takes 760 bytes even if no task waits."""

import asyncio


class LazyEvent:
    """Has the methods of `asyncio.Event` that uvicorn uses.

    Each connection has one, and each request has one. Nearly all of them are set before any task waits.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        # None while no task waits.
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether `wait` returns at once."""
        return self._is_set

    def set(self) -> None:
        """Set the event, and wake all waiting tasks."""
        self._is_set = True
        event, self._event = self._event, None
        if event is not None:
            event.set()

    def clear(self) -> None:
        """Reset the event: `wait` blocks until the next call of `set`."""
        self._is_set = False

    async def wait(self) -> bool:
        """Wait until the event is set."""
        if self._is_set:
            return True
        if self._event is None:
            self._event = asyncio.Event()
        return await self._event.wait()
