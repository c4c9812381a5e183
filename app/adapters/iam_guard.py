"""What stands between the role cache and IAM: a budget an account, and a breaker for an account whose IAM is dead."""

import time
from typing import Final

from app.adapters.breaker import Breaker, Timer
from app.adapters.limits import Lane, Lanes, LocalBudget, SharedBudget
from app.adapters.pacing import Pace
from app.authenticator import RoleSource
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.errors import AuthError, UpstreamError
from app.reasons import Reason
from app.trail import Trail

IAM_AT_ONCE_PER_ACCOUNT: Final = 4
# Those that are under way at once: the next ones may have too little time left to tell anything about IAM.
IAM_FAILURES: Final = IAM_AT_ONCE_PER_ACCOUNT
IAM_QUEUE_PER_ACCOUNT: Final = 1_000
# Saved up in a pause, as calls.
IAM_BURST: Final = 2
MAX_ACCOUNTS: Final = 10_000


class IamLanes:
    """The way to the IAM of each account; whoever asks IAM for anything goes through it."""

    def __init__(self, rate: float, shared: SharedBudget | None = None, timer: Timer = time.monotonic) -> None:
        """Make a lane when it is needed.

        Args:
            rate: calls a second with the credentials of one account (``KMESH_AWSIAM_IAM_RATE``).
            shared: the budgets that replicas share.
            timer: seconds of a monotonic clock.
        """
        self._rate = rate
        self._shared = shared or LocalBudget()
        self._timer = timer
        self._lanes = Lanes(self._lane, most=MAX_ACCOUNTS)

    def of(self, account: str) -> Lane:
        """Return the lane of an account."""
        return self._lanes.of(account)

    def _lane(self, account: str) -> Lane:
        return Lane(
            f"IAM in {account}",
            Pace(self._rate, burst=IAM_BURST, timer=self._timer),
            burst=IAM_BURST,
            at_once=IAM_AT_ONCE_PER_ACCOUNT,
            queue=IAM_QUEUE_PER_ACCOUNT,
            shared=self._shared,
        )


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
        lane = self._lanes.of(account)
        async with lane.turn(trail.deadline, check):
            if trail.iam.elsewhere is not None:
                await trail.iam.elsewhere.before_call()
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
