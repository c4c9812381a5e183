"""Bounds on what goes to AWS: so many at once, so many a second, so many in the queue, none beyond its deadline (I20)."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, Protocol, TypeVar

from app.adapters.pacing import Pace
from app.adapters.store_budget import MAX_WAIT_SECONDS
from app.errors import OutOfTimeError, UpstreamError
from app.reasons import Reason

_Key = TypeVar("_Key", bound=Hashable)

MAX_SHARED_WAITS: Final = 3
# Of ``Retry-After``: who comes again later than this may find nobody in the queue.
MAX_RETRY_SECONDS: Final = 30


class Gate:
    """Lets so many in at once; others wait in a bounded queue, first come, first served, until their deadline."""

    def __init__(self, name: str, *, at_once: int, queue: int) -> None:
        self._name = name
        self._slots = asyncio.Semaphore(at_once)
        self._queue = queue
        self._inside = 0
        self.waiting = 0

    async def enter(self, deadline: float) -> None:
        """Take a slot, which `leave` gives back.

        Args:
            deadline: when waiting has no sense any more, in seconds of the event loop's clock.

        Raises:
            UpstreamError: ``overloaded``: the queue is full, or the deadline came first.
        """
        if self._slots.locked():
            await self._wait(deadline)
        else:
            await self._slots.acquire()
        self._inside += 1

    def leave(self) -> None:
        """Give a slot back."""
        self._inside -= 1
        self._slots.release()

    async def _wait(self, deadline: float) -> None:
        if self.waiting >= self._queue:
            raise UpstreamError(Reason.OVERLOADED, f"the queue of {self._name} is full")
        self.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError as error:
            raise OutOfTimeError(
                Reason.OVERLOADED, f"no turn in the queue of {self._name} before the deadline"
            ) from error
        finally:
            self.waiting -= 1

    @property
    def idle(self) -> bool:
        """Whether nobody is in or waits."""
        return self.waiting == 0 and self._inside == 0


class SharedBudget(Protocol):
    """A budget that replicas share; it can only add to a wait."""

    async def take(self, budget: str, rate: float, burst: float) -> float:
        """Take one call out of it; return the seconds until it may go out. Never raises; 0 while it cannot be asked.

        `MAX_WAIT_SECONDS` is the longest wait, and means that nothing was taken.
        """


class LocalBudget:
    """The budget of a process that shares none."""

    async def take(self, _budget: str, _rate: float, _burst: float) -> float:
        """See `SharedBudget`."""
        return 0.0


class Lane:
    """The way to one budget of AWS: a `Gate`, and behind it a `Pace`.

    Attributes:
        name: of the budget, the same in every replica.
        pace: so many calls a second.
    """

    def __init__(self, name: str, pace: Pace, *, burst: float, at_once: int, queue: int, shared: SharedBudget) -> None:
        self.name = name
        self.pace = pace
        self._burst = burst
        self._gate = Gate(name, at_once=at_once, queue=queue)
        self._shared = shared

    @property
    def idle(self) -> bool:
        """Whether nobody is on it."""
        return self._gate.idle

    def wait(self) -> float:
        """Return the seconds that a call coming now would wait for its turn, as far as this process knows."""
        return self.pace.wait() + self._gate.waiting / self.pace.rate

    @asynccontextmanager
    async def turn(self, deadline: float, check: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Wait for a turn, and hold a place while the context lasts; see `enter`."""
        await self.enter(deadline, check)
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Give a place back."""
        self._gate.leave()

    async def enter(self, deadline: float, check: Callable[[], Awaitable[None]]) -> None:
        """Wait for a turn, and take a place, which `leave` gives back.

        Args:
            deadline: when waiting has no sense any more, in seconds of the event loop's clock.
            check: raises when the call must not go out after all; asked when waiting in the queue is over, so that a queue
                behind a dead upstream ends at once and spends no turns.

        Raises:
            UpstreamError: ``overloaded``, with the seconds to wait: there is no turn before the deadline.
        """
        self._require_time(self.wait(), deadline)
        await self._gate.enter(deadline)
        try:
            await check()
            self._require_time(self.pace.wait(), deadline)
            wait = self.pace.reserve()
            if wait > 0:
                await asyncio.sleep(wait)
                await check()
            await self._wait_for_others(deadline, check)
        except BaseException:
            self._gate.leave()
            raise

    async def _wait_for_others(self, deadline: float, check: Callable[[], Awaitable[None]]) -> None:
        """Take a turn in the budget that replicas share; where the longest wait comes back none was kept, so ask again.

        Not for ever: whoever can write to the store could keep everybody waiting. Then it is our own pace that counts.
        """
        for _ in range(MAX_SHARED_WAITS):
            wait = await self._shared.take(self.name, self.pace.base, self._burst)
            if wait <= 0:
                return
            self._require_time(wait, deadline)
            await asyncio.sleep(wait)
            await check()
            if wait < MAX_WAIT_SECONDS:
                return

    def _require_time(self, wait: float, deadline: float) -> None:
        if asyncio.get_running_loop().time() + wait > deadline:
            raise OutOfTimeError(
                Reason.OVERLOADED,
                f"no turn towards {self.name} before the deadline: {wait:.1f} s to wait",
                retry_after=retry_seconds(wait),
            )


def retry_seconds(wait: float) -> int:
    """Return whole seconds for ``Retry-After``: rather a little early than to find nobody in the queue."""
    return max(1, min(MAX_RETRY_SECONDS, math.floor(wait)))


class Lanes(Generic[_Key]):
    """A lane a key, so that one slow or hostile account starves no other; made when needed.

    At most so many are kept beyond those in use: the longest unused one goes first.
    """

    def __init__(self, make: Callable[[_Key], Lane], *, most: int) -> None:
        self._make = make
        self._most = most
        self._lanes: OrderedDict[_Key, Lane] = OrderedDict()

    def of(self, key: _Key) -> Lane:
        """Return the lane of a key."""
        lane = self._lanes.get(key)
        if lane is not None:
            self._lanes.move_to_end(key)
            return lane
        if len(self._lanes) >= self._most:
            self._drop_idle()
        lane = self._lanes[key] = self._make(key)
        return lane

    def _drop_idle(self) -> None:
        for key, lane in self._lanes.items():
            if lane.idle:
                del self._lanes[key]
                return
