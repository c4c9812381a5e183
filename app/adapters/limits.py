"""Bounds on what is under way at the same time: so many at work, so many in the queue, none beyond its deadline (I20)."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from app.errors import UpstreamError
from app.reasons import Reason


class Gate:
    """Lets so many in at once; others wait in a bounded queue, first come, first served, until their deadline."""

    def __init__(self, name: str, *, at_once: int, queue: int) -> None:
        self._name = name
        self._slots = asyncio.Semaphore(at_once)
        self._queue = queue
        self._waiting = 0

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """Hold a slot while the context lasts.

        Args:
            deadline: when waiting has no sense any more, in seconds of the event loop's clock.

        Raises:
            UpstreamError: ``overloaded``: the queue is full, or the deadline came first.
        """
        if self._slots.locked():
            await self._wait(deadline)
        else:
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def _wait(self, deadline: float) -> None:
        if self._waiting >= self._queue:
            raise UpstreamError(Reason.OVERLOADED, f"the queue of {self._name} is full")
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError as error:
            raise UpstreamError(
                Reason.OVERLOADED, f"no turn in the queue of {self._name} before the deadline"
            ) from error
        finally:
            self._waiting -= 1

    @property
    def idle(self) -> bool:
        """Whether nobody is in or waits."""
        return self._waiting == 0 and not self._slots.locked()


class Gates:
    """A gate a key, so that one slow or hostile account starves no other; made when needed, at most so many."""

    def __init__(self, name: str, *, at_once: int, queue: int, most: int) -> None:
        self._name = name
        self._at_once = at_once
        self._queue = queue
        self._most = most
        self._gates: dict[Hashable, Gate] = {}

    def of(self, key: Hashable) -> Gate:
        """Return the gate of a key."""
        gate = self._gates.get(key)
        if gate is None:
            if len(self._gates) >= self._most:
                self._gates = {key: gate for key, gate in self._gates.items() if not gate.idle}
            gate = self._gates[key] = Gate(f"{self._name} {key}", at_once=self._at_once, queue=self._queue)
        return gate
