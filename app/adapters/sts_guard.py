"""What stands between the identity cache and STS: budgets, fairness between accounts, and a breaker for a dead endpoint.

Before STS has answered, the account of a credential is only a hint, decoded from its key id: it picks a lane, and decides
nothing. Whoever makes up key ids of an account gets no further than that account's lane for newcomers, which takes a part of
its budget at most; keys that STS has vouched for go past it.
"""

import time
from typing import Final, NamedTuple

from app.adapters.breaker import Breaker, Timer
from app.adapters.expiring import ExpiringCache
from app.adapters.limits import Gate, Lane, Lanes, LocalBudget, SharedBudget
from app.adapters.pacing import Pace
from app.authenticator import AccountList, IdentitySource
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest
from app.core.key_account import account_of_key_id
from app.errors import AuthError, UpstreamError
from app.reasons import Reason
from app.trail import Trail

# 256 calls at once in all, half of them kept for keys that STS has vouched for.
STS_AT_ONCE_VOUCHED: Final = 128
STS_AT_ONCE_UNVOUCHED: Final = 128
# Of one account in one region: at 500 calls a second it is enough for answers of 130 ms.
STS_AT_ONCE_PER_ACCOUNT: Final = 64
STS_QUEUE: Final = 4_096
# Of those whose key ids name no listed account: they cannot take all places that decisions have.
STS_QUEUE_OF_OTHERS: Final = 512
# What newcomers may take of an account's budget.
STS_NEWCOMERS_SHARE: Final = 0.9
# Saved up in a pause, as seconds of the budget.
STS_BURST_SECONDS: Final = 0.05
MAX_LANES: Final = 10_000
VOUCHED_KEYS: Final = 100_000
VOUCHED_SECONDS: Final = 24 * 3600.0


class _Budget(NamedTuple):
    account: str
    region: str


# One budget, wherever they go: strangers together get the pace of one account.
_OTHERS: Final = _Budget("others", "all regions")


class GuardedIdentities:
    """An `IdentitySource` that is asked within bounds."""

    def __init__(
        self,
        source: IdentitySource,
        accounts: AccountList,
        *,
        rate: float,
        shared: SharedBudget | None = None,
        timer: Timer = time.monotonic,
    ) -> None:
        """Stand in front of STS.

        Args:
            source: asks STS itself.
            accounts: the listed ones have lanes of their own.
            rate: calls a second, of one account in one region (``KMESH_AWSIAM_STS_RATE``).
            shared: the budgets that replicas share.
            timer: seconds of a monotonic clock.
        """
        self._source = source
        self._accounts = accounts
        local = LocalBudget()
        self._timer = timer
        self._vouched_gate = Gate("STS", at_once=STS_AT_ONCE_VOUCHED, queue=STS_QUEUE)
        self._unvouched_gate = Gate("STS for keys not seen before", at_once=STS_AT_ONCE_UNVOUCHED, queue=STS_QUEUE)
        self._lanes: Lanes[_Budget] = Lanes(
            lambda budget: self._lane("STS", budget, rate, shared or local), most=MAX_LANES
        )
        # A part of the account's budget, which replicas share as a whole: what strangers may take is each replica's own.
        self._newcomers: Lanes[_Budget] = Lanes(
            lambda budget: self._lane("STS for keys not seen before", budget, rate * STS_NEWCOMERS_SHARE, local),
            most=MAX_LANES,
        )
        self._vouched: ExpiringCache[str] = ExpiringCache(VOUCHED_KEYS, timer)
        self._breaker = Breaker(timer)

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        """See `app.authenticator.IdentitySource`."""
        endpoint, key_id = request.request.endpoint, request.request.access_key_id

        async def check() -> None:
            if not self._breaker.is_worth_waiting(endpoint.host):
                raise _not_asked()
            if trail.sts.elsewhere is not None:
                await trail.sts.elsewhere.before_turn()

        if not self._breaker.is_worth_waiting(endpoint.host):
            raise _not_asked()
        vouched = self._vouched.get(key_id)
        lanes = self._way(vouched, key_id, endpoint.region)
        gate = self._unvouched_gate if vouched is None else self._vouched_gate
        # Not context managers: three of them, made of generators, cost more than all that is decided here.
        held: list[Lane | Gate] = []
        try:
            for lane in lanes:
                await lane.enter(trail.deadline, check)
                held.append(lane)
            await gate.enter(trail.deadline)
            held.append(gate)
            identity = await self._ask(request, trail, lanes)
        finally:
            for way in reversed(held):
                way.leave()
        # A stranger's key is vouched for as well, and must not come into the lane of those that may come in.
        if identity.account in self._accounts.current():
            self._vouched.put(key_id, identity.account, VOUCHED_SECONDS)
        return identity

    def _way(self, vouched: str | None, key_id: str, region: str) -> list[Lane]:
        """Return the lanes that a call goes through, one after the other."""
        if vouched is not None:
            return [self._lanes.of(_Budget(vouched, region))]
        hint = account_of_key_id(key_id)
        if hint is None or hint not in self._accounts.current():
            return [self._newcomers.of(_OTHERS)]
        return [self._newcomers.of(_Budget(hint, region)), self._lanes.of(_Budget(hint, region))]

    def _lane(self, name: str, budget: _Budget, rate: float, shared: SharedBudget) -> Lane:
        burst = max(1.0, rate * STS_BURST_SECONDS)
        return Lane(
            f"{name} ({budget.account}, {budget.region})",
            Pace(rate, burst=burst, timer=self._timer),
            burst=burst,
            at_once=STS_AT_ONCE_PER_ACCOUNT,
            queue=STS_QUEUE_OF_OTHERS if budget is _OTHERS else STS_QUEUE,
            shared=shared,
        )

    async def _ask(self, request: ForwardableRequest, trail: Trail, lanes: list[Lane]) -> CallerIdentity:
        host = request.request.endpoint.host
        if trail.sts.elsewhere is not None:
            await trail.sts.elsewhere.before_call()
        if not self._breaker.allows(host):
            raise _not_asked()
        try:
            identity = await self._source.identify(request, trail)
        except AuthError as error:
            self._breaker.learn(host, error)
            if error.reason is Reason.STS_THROTTLED:
                for lane in lanes:
                    lane.pace.throttled()
            raise
        self._breaker.succeeded(host)
        return identity


def _not_asked() -> UpstreamError:
    return UpstreamError(Reason.STS_UNAVAILABLE, "STS is not asked: its last calls failed one after the other")
