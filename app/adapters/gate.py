"""A concurrency limit with one queue for each key; the queues take turns, so that a long one delays no other (I20)."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable

from app.errors import OutOfTimeError, UpstreamError
from app.reasons import Reason

_Queue = deque[asyncio.Future[None]]


class Gate:
    """A bulkhead: lets a fixed number of calls in at once. Others wait in bounded queues until their deadline.

    There is a queue for each key. Each queue is first come, first served, and the queues take turns. So a long queue of one
    key delays the next call of another key by one call at most.
    """

    def __init__(self, name: str, *, at_once: int, queue: int) -> None:
        """Make an empty bulkhead.

        Args:
            name: for the detail of errors.
            at_once: how many calls may be inside at the same time.
            queue: how many calls may wait for each key.
        """
        self._name = name
        self._at_once = at_once
        self._queue = queue
        self._inside = 0
        self._queues: OrderedDict[Hashable, _Queue] = OrderedDict()
        self._returning: _Queue = deque()
        self.waiting = 0

    async def enter(self, deadline: float, key: Hashable = None) -> None:
        """Take a place, which `leave` gives back.

        Args:
            deadline: until when to wait, in seconds of the event loop's clock.
            key: which queue to wait in.

        Raises:
            UpstreamError: ``overloaded``: the queue is full, or the deadline came first.
        """
        if self._inside < self._at_once:
            self._inside += 1
            return
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        if len(queue) >= self._queue:
            self._forget_if_empty(key)
            raise UpstreamError(Reason.OVERLOADED, f"the queue of {self._name} is full")
        try:
            await self._wait(queue, deadline)
        finally:
            self._forget_if_empty(key)

    async def enter_again(self, deadline: float) -> None:
        """Take a place before all queues: for a call that had its turn, and left its place to wait for other replicas.

        Raises:
            UpstreamError: ``overloaded``: the deadline came first.
        """
        if self._inside < self._at_once:
            self._inside += 1
            return
        await self._wait(self._returning, deadline)

    def leave(self) -> None:
        """Give a place back; the next call in the queues gets it."""
        self._inside -= 1
        while self._inside < self._at_once and (next_in := self._next()) is not None:
            if not next_in.done():
                self._inside += 1
                next_in.set_result(None)

    def ahead(self, key: Hashable = None) -> int:
        """Return how many waiting calls have their turn before a new call with this key."""
        own = len(self._queues.get(key, ()))
        others = sum(min(len(queue), own + 1) for other, queue in self._queues.items() if other != key)
        return len(self._returning) + own + others

    async def _wait(self, queue: _Queue, deadline: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(place)
        self.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except BaseException as error:
            self._give_up(queue, place)
            if isinstance(error, TimeoutError):
                raise OutOfTimeError(
                    Reason.OVERLOADED, f"no turn in the queue of {self._name} before the deadline"
                ) from error
            raise
        finally:
            self.waiting -= 1

    def _give_up(self, queue: _Queue, place: asyncio.Future[None]) -> None:
        """Leave a queue; if this call got a place at the same moment, the next call gets that place (I19)."""
        if place.done() and not place.cancelled():
            self.leave()
        elif place in queue:
            queue.remove(place)

    def _next(self) -> asyncio.Future[None] | None:
        if self._returning:
            return self._returning.popleft()
        for key, queue in self._queues.items():
            if queue:
                self._queues.move_to_end(key)
                return queue.popleft()
        return None

    def _forget_if_empty(self, key: Hashable) -> None:
        if not self._queues.get(key, True):
            del self._queues[key]

    @property
    def idle(self) -> bool:
        """Whether no call is inside and none waits."""
        return self.waiting == 0 and self._inside == 0
