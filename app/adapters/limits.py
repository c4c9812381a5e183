"""Bounds on what goes to AWS: so many at once, so many a second, so many in the queue, none beyond its deadline (I20)."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, Protocol, TypeVar

from app.adapters.gate import Gate
from app.adapters.pacing import Pace
from app.adapters.store_budget import MAX_WAIT_SECONDS
from app.errors import OutOfTimeError
from app.reasons import Reason
from app.trail import SharedWait

_Key = TypeVar("_Key", bound=Hashable)
_Lane = TypeVar("_Lane", bound="HasIdle")
_Check = Callable[[], Awaitable[None]]

# Of ``Retry-After``: who comes again later than this may find nobody in the queue.
MAX_RETRY_SECONDS: Final = 30
# The part of a decision's remaining time that a shared budget may delay its call, so never past the deadline.
MAX_SHARED_PART: Final = 0.5
# A shared budget that lets a call wait for longer than this is overspent: replicas that spend it together slow down.
OVERSPENT_SECONDS: Final = 0.25
# A shared budget that contradicts itself is not asked for this time.
DISBELIEVED_SECONDS: Final = 30.0


def _nothing() -> None:
    """Do nothing: the default for ``had_turn``."""


class HasIdle(Protocol):
    """A lane, or several lanes that are created together."""

    @property
    def idle(self) -> bool:
        """Whether nobody is on it."""


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
        self._nothing_kept_since: float | None = None
        self._disbelieved_until = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether nobody is on it."""
        return self._gate.idle

    def wait(self, key: Hashable = None) -> float:
        """Return the seconds that a call coming now would wait for its turn, as far as this process knows."""
        return self.pace.wait() + self._gate.ahead(key) / self.pace.rate

    @asynccontextmanager
    async def turn(
        self,
        deadline: float,
        check: _Check,
        key: Hashable = None,
        shared_wait: SharedWait | None = None,
        had_turn: Callable[[], None] = _nothing,
    ) -> AsyncIterator[None]:
        """Wait for a turn, and hold a place while the context lasts; see `enter`."""
        await self.enter(deadline, check, key, shared_wait, had_turn)
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Give a place back."""
        self._gate.leave()

    async def enter(
        self,
        deadline: float,
        check: _Check,
        key: Hashable = None,
        shared_wait: SharedWait | None = None,
        had_turn: Callable[[], None] = _nothing,
    ) -> None:
        """Wait for a turn, and take a place, which `leave` gives back.

        Args:
            deadline: until when to wait, in seconds of the event loop's clock.
            check: raises if the call must not go out after all; called after the wait in the queue, so that a queue for a
                dead upstream ends at once and spends no turns.
            key: which queue to wait in; the queues take turns.
            shared_wait: what is left of the decision's time to wait for other replicas; None: the whole of it.
            had_turn: called after this call's turn has come, and before the wait for other replicas.

        Raises:
            UpstreamError: ``overloaded``, with the seconds to wait: there is no turn before the deadline.
        """
        self._require_time(self.wait(key), deadline)
        await self._gate.enter(deadline, key)
        try:
            await check()
            self._require_time(self.pace.wait(), deadline)
            wait = self.pace.reserve()
            if wait > 0:
                await asyncio.sleep(wait)
                await check()
            had_turn()
            shared_wait = shared_wait or SharedWait()
            wait = await self._wait_of_others(deadline, shared_wait)
        except BaseException:
            self._gate.leave()
            raise
        if wait > 0:
            await self._wait_outside(wait, deadline, check, shared_wait)

    async def _wait_outside(self, wait: float, deadline: float, check: _Check, shared_wait: SharedWait) -> None:
        """Give the place back, then wait for other replicas: a writer to the store must not block places."""
        self._gate.leave()
        shared_wait.left -= wait
        await asyncio.sleep(wait)
        await check()
        await self._gate.enter_again(deadline)

    async def _wait_of_others(self, deadline: float, shared_wait: SharedWait) -> float:
        """Take a turn in the budget that replicas share; return the seconds to wait for it.

        The wait is no longer than what is left of the decision's `SharedWait`, and it never reaches the deadline: the store
        can delay a call, and make none fail. If the store answers the longest wait, it has reserved no turn, and our own
        rate counts.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        if shared_wait.left <= 0 or began < self._disbelieved_until:
            return 0.0
        wait = await self._shared.take(self.name, self.pace.base, self._burst)
        now = clock()
        shared_wait.left -= now - began
        self._learn_from(wait, now)
        return max(0.0, min(wait, shared_wait.left, (deadline - now) * MAX_SHARED_PART))

    def _learn_from(self, wait: float, now: float) -> None:
        """Slow down while replicas together spend more than the budget has, unless the store contradicts itself.

        A budget that lets nobody have a turn spends nothing, so it is whole again after its longest wait. A store that still
        gives no turn then has been written to by somebody else.
        """
        if wait < MAX_WAIT_SECONDS:
            self._nothing_kept_since = None
        elif self._nothing_kept_since is None:
            self._nothing_kept_since = now
        elif now - self._nothing_kept_since >= MAX_WAIT_SECONDS:
            self._nothing_kept_since = None
            self._disbelieved_until = now + DISBELIEVED_SECONDS
            self.pace.halve_for(0.0)
            return
        if wait > OVERSPENT_SECONDS:
            self.pace.halve_for(wait)

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


class Lanes(Generic[_Key, _Lane]):
    """A lane a key, so that one slow or hostile account starves no other; made when needed.

    At most so many are kept beyond those in use: the longest unused one goes first.
    """

    def __init__(self, make: Callable[[_Key], _Lane], *, most: int) -> None:
        self._make = make
        self._most = most
        self._lanes: OrderedDict[_Key, _Lane] = OrderedDict()

    def of(self, key: _Key) -> _Lane:
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
