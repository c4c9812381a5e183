"""What stands between the role cache and IAM: a budget an account, and a breaker for an account whose IAM is dead."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from app.adapters.breaker import Breaker, Timer
from app.adapters.gate import Gate
from app.adapters.limits import Lane, Lanes, LocalBudget, SharedBudget
from app.adapters.pacing import Pace
from app.authenticator import RoleSource
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.errors import AuthError, UpstreamError
from app.reasons import Reason
from app.trail import KNOWN, NEW, RoleHistory, SharedWait, Trail

IAM_AT_ONCE_PER_ACCOUNT: Final = 4
# Those that are under way at once: the next ones may have too little time left to tell anything about IAM.
IAM_FAILURES: Final = IAM_AT_ONCE_PER_ACCOUNT
IAM_QUEUE_PER_ACCOUNT: Final = 1_000
# Saved up in a pause, as calls.
IAM_BURST: Final = 2
MAX_ACCOUNTS: Final = 10_000


class _AccountLane(Lane):
    """The way to the IAM of one account.

    New roles wait at a gate of their own first. So they are one of two queues on the lane itself, and take at most every
    second turn of the account's budget while known roles wait to be read again. At that gate there are two queues as well:
    one is for roles that were not found a while ago, so that sessions of deleted roles take at most every second turn from
    new roles.
    """

    def __init__(self, account: str, rate: float, shared: SharedBudget, timer: Timer) -> None:
        super().__init__(
            f"IAM in {account}",
            Pace(rate, burst=IAM_BURST, timer=timer),
            burst=IAM_BURST,
            at_once=IAM_AT_ONCE_PER_ACCOUNT,
            queue=IAM_QUEUE_PER_ACCOUNT,
            shared=shared,
        )
        self._first_readings = Gate(
            f"IAM in {account} for roles not read before", at_once=IAM_AT_ONCE_PER_ACCOUNT, queue=IAM_QUEUE_PER_ACCOUNT
        )

    @property
    def idle(self) -> bool:
        """Whether no call waits or is under way."""
        return super().idle and self._first_readings.idle

    @asynccontextmanager
    async def reading(
        self, role: RoleHistory, deadline: float, check: Callable[[], Awaitable[None]], shared_wait: SharedWait
    ) -> AsyncIterator[None]:
        """Wait for a turn to read a role, and hold a place while the context lasts; see `Lane.enter`."""
        if role == KNOWN:
            async with self.turn(deadline, check, KNOWN, shared_wait):
                yield
            return
        waiting = self._first_readings.ahead(role)
        self._require_time(self.wait(NEW) + waiting / self.pace.rate, deadline)
        await self._first_readings.enter(deadline, role)
        is_waiting = True

        def leave() -> None:
            nonlocal is_waiting
            if is_waiting:
                is_waiting = False
                self._first_readings.leave()

        try:
            async with self.turn(deadline, check, NEW, shared_wait, leave):
                yield
        finally:
            leave()


class IamLanes:
    """The way to the IAM of each account; whoever asks IAM for anything goes through it."""

    def __init__(self, rate: float, shared: SharedBudget | None = None, timer: Timer = time.monotonic) -> None:
        """Make a lane when it is needed.

        Args:
            rate: calls a second with the credentials of one account (``KMESH_AWSIAM_IAM_RATE``).
            shared: the budgets that replicas share.
            timer: seconds of a monotonic clock.
        """
        self._lanes: Lanes[str, _AccountLane] = Lanes(
            lambda account: _AccountLane(account, rate, shared or LocalBudget(), timer), most=MAX_ACCOUNTS
        )

    def of(self, account: str) -> _AccountLane:
        """Return the lane of an account."""
        return self._lanes.of(account)


class GuardedRoles:
    """A `RoleSource` that is asked within bounds."""

    def __init__(self, source: RoleSource, lanes: IamLanes, timer: Timer = time.monotonic) -> None:
        self._source = source
        self._lanes = lanes
        self._breaker = Breaker(timer, threshold=IAM_FAILURES)

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        """See `app.authenticator.RoleSource`."""
        account = admitted.principal.account

        async def check() -> None:
            if not self._breaker.is_worth_waiting(account):
                raise _not_asked()
            if trail.iam.elsewhere is not None:
                await trail.iam.elsewhere.before_turn()

        if not self._breaker.is_worth_waiting(account):
            raise _not_asked()
        if trail.iam.elsewhere is not None:
            await trail.iam.elsewhere.before_queue()
        lane = self._lanes.of(account)
        async with lane.reading(trail.iam.role, trail.deadline, check, trail.shared_wait):
            return await self._ask(admitted, trail, lane)

    async def _ask(self, admitted: AdmittedPrincipal, trail: Trail, lane: Lane) -> RoleRecord:
        account = admitted.principal.account
        if not self._breaker.allows(account):
            raise _not_asked()
        try:
            role = await self._source.fetch_role(admitted, trail)
        except AuthError as error:
            self._breaker.learn(account, error)
            if error.reason is Reason.IAM_THROTTLED:
                lane.pace.throttled()
            raise
        self._breaker.succeeded(account)
        return role


def _not_asked() -> UpstreamError:
    return UpstreamError(Reason.IAM_UNAVAILABLE, "IAM is not asked: its last calls failed one after the other")
