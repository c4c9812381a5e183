"""A bulkhead with queues that take turns: so many calls at once, and a long queue delays no other one for long (I20)."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable

from app.errors import OutOfTimeError, UpstreamError
from app.reasons import Reason

_Queue = deque[asyncio.Future[None]]


class Gate:
    """A bulkhead: lets so many in at once. Others wait in bounded queues until their deadline.

    There is a queue for each key. Within one queue it is first come, first served; the queues take turns. So a long queue of
    one key delays the next call of another key by one call for each key at most.
    """

    def __init__(self, name: str, *, at_once: int, queue: int) -> None:
        """Make it empty.

        Args:
            name: for the detail of errors.
            at_once: so many are let in.
            queue: so many may wait for each key.
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
            deadline: when waiting has no sense any more, in seconds of the event loop's clock.
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
        """Take a place before all others: for a call that had its turn, and left while it waited for somebody else.

        Raises:
            UpstreamError: ``overloaded``: the deadline came first.
        """
        if self._inside < self._at_once:
            self._inside += 1
            return
        await self._wait(self._returning, deadline)

    def leave(self) -> None:
        """Give a place back; the next one in the queues gets it."""
        self._inside -= 1
        while self._inside < self._at_once and (next_in := self._next()) is not None:
            if not next_in.done():
                self._inside += 1
                next_in.set_result(None)

    def ahead(self, key: Hashable = None) -> int:
        """Return how many of those that wait have their turn before a call with this key that comes now."""
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
        """Leave a queue; a place that was given at the same moment goes to the next one (I19)."""
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
        """Whether nobody is in or waits."""
        return self.waiting == 0 and self._inside == 0
