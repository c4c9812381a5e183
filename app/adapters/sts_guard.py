"""The limits on calls from the identity cache to STS: budgets, fairness between accounts, bulkheads, and a circuit breaker.

Calls with invented key ids of an account wait in that account's lane for newcomers, which may use only a part of its budget.
Calls with keys that STS has vouched for (`app.adapters.known_keys`) skip that lane.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.adapters.breaker import Breaker, Timer
from app.adapters.gate import Gate
from app.adapters.host_bulkhead import HostBulkhead
from app.adapters.known_keys import OTHERS, STS_NEWCOMERS_SHARE, KnownKeys
from app.adapters.limits import Lane, Lanes, LocalBudget, SharedBudget
from app.adapters.pacing import Pace
from app.authenticator import AccountList, IdentitySource
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest
from app.errors import AuthError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.reasons import Reason
from app.trail import Trail

# 256 calls at once in all, half of them kept for keys that STS has vouched for.
STS_AT_ONCE_VOUCHED: Final = 128
STS_AT_ONCE_UNVOUCHED: Final = 128
# A call that takes longer gives its place (one of the 128) to the next call; at most `MAX_SLOW` calls may have done so.
SLOW_SECONDS: Final = 1.0
MAX_SLOW: Final = 128
# For one account in one region: as many for keys that STS has vouched for, and as many for others. At 500 calls a second
# this is enough for answers of 130 ms.
STS_AT_ONCE_PER_ACCOUNT: Final = 64
# Fewer turns than a pause saves up (`STS_BURST_SECONDS`) at the default rate.
STS_NEWCOMERS_AT_ONCE: Final = 16
STS_QUEUE: Final = 2_048
# Of those whose key ids name no listed account.
STS_QUEUE_OF_OTHERS: Final = 512
# Saved up in a pause, as seconds of the budget.
STS_BURST_SECONDS: Final = 0.05
MAX_LANES: Final = 10_000

_Leave = Callable[[], None]


class _Budget(NamedTuple):
    account: str
    region: str


# One budget, wherever they go: strangers together get the pace of one account.
_OTHERS: Final = _Budget(OTHERS, "all regions")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lanes:
    """The lanes to the budget of one account in one region. They share its pace.

    Attributes:
        known: for keys that STS has vouched for.
        unknown: for all other keys. Its concurrency limit is separate, so that slow calls of unknown keys delay no known
            key.
        newcomers: the lane that all other keys pass first. It allows only a part of the budget, and so few of its calls
            wait for a turn at the same time that known keys, which may use what a pause has saved up, hardly wait behind
            them.
    """

    known: Lane
    unknown: Lane
    newcomers: Lane

    @property
    def idle(self) -> bool:
        """Whether no call waits or is under way in any of them."""
        return self.known.idle and self.unknown.idle and self.newcomers.idle


class _Way(NamedTuple):
    """The limits that one call to STS passes.

    Attributes:
        newcomers: the lane that the call passes first; None for keys that need not.
        lane: the lane of the call's account and region.
        gate: the concurrency limit over all accounts.
        account: the key of the call's queue at the gate.
    """

    newcomers: Lane | None
    lane: Lane
    gate: Gate
    account: str


class GuardedIdentities:
    """An `IdentitySource` that is asked within bounds."""

    def __init__(
        self,
        source: IdentitySource,
        accounts: AccountList,
        *,
        rate: float,
        keys: KnownKeys | None = None,
        shared: SharedBudget | None = None,
        timer: Timer = time.monotonic,
    ) -> None:
        """Stand in front of STS.

        Args:
            source: asks STS itself.
            accounts: the listed ones have lanes of their own.
            rate: calls a second, of one account in one region (``KMESH_AWSIAM_STS_RATE``).
            keys: those that STS has vouched for; None: none so far.
            shared: the budgets that replicas share.
            timer: seconds of a monotonic clock.
        """
        self._source = source
        self._keys = keys or KnownKeys(accounts, rate=rate, timer=timer)
        self._shared = shared or LocalBudget()
        self._timer = timer
        self._vouched_gate = Gate("STS", at_once=STS_AT_ONCE_VOUCHED, queue=STS_QUEUE)
        self._unvouched_gate = Gate("STS for keys not seen before", at_once=STS_AT_ONCE_UNVOUCHED, queue=STS_QUEUE)
        self._slow = 0
        self._rate = rate
        self._lanes: Lanes[_Budget, _Lanes] = Lanes(self._new_lanes, most=MAX_LANES)
        self._breaker = Breaker(timer)
        self._hosts = HostBulkhead()

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        """See `app.authenticator.IdentitySource`."""
        endpoint, key_id = request.request.endpoint, request.request.access_key_id
        self._require_alive(endpoint.host)
        if trail.sts.elsewhere is not None:
            await trail.sts.elsewhere.before_queue()
        way = self._way(key_id, endpoint.region)
        identity = None
        while identity is None:
            await self._hosts.wait(endpoint.host, trail.deadline)
            identity = await self._try(request, trail, way)
        self._keys.vouch(key_id, identity.account)
        return identity

    async def _try(self, request: ForwardableRequest, trail: Trail, way: _Way) -> CallerIdentity | None:
        """Wait for a turn and ask STS; return None if the host has too many probe calls by then."""
        host = request.request.endpoint.host

        async def check() -> None:
            self._require_alive(host)
            if trail.sts.elsewhere is not None:
                await trail.sts.elsewhere.before_turn()

        # No context managers: those made of generators cost more than everything else in this method.
        held: list[_Leave] = []
        try:
            if way.newcomers is not None:
                await way.newcomers.enter(trail.deadline, check, None, trail.shared_wait)
                held.append(way.newcomers.leave)
            await way.lane.enter(trail.deadline, check, None, trail.shared_wait, functools.partial(_leave, held))
            held.append(way.lane.leave)
            if not self._hosts.answers(host):
                # Probe calls are few and may be slow, so they give back the places that other calls need.
                _leave(held)
            else:
                await way.gate.enter(trail.deadline, way.account)
                held.append(self._until_slow(way.gate))
            if not self._hosts.begin(host):
                return None
            return await self._ask(request, trail, way)
        finally:
            _leave(held)

    def _way(self, key_id: str, region: str) -> _Way:
        account = self._keys.account_of(key_id)
        if account is not None:
            return _Way(None, self._lanes.of(_Budget(account, region)).known, self._vouched_gate, account)
        hint = self._keys.hint_of(key_id)
        if hint == OTHERS:
            return _Way(None, self._lanes.of(_OTHERS).unknown, self._unvouched_gate, OTHERS)
        lanes = self._lanes.of(_Budget(hint, region))
        return _Way(lanes.newcomers, lanes.unknown, self._unvouched_gate, hint)

    def _new_lanes(self, budget: _Budget) -> _Lanes:
        name = f"STS ({budget.account}, {budget.region})"
        part = self._rate * STS_NEWCOMERS_SHARE
        pace = self._pace(part if budget is _OTHERS else self._rate)
        queue = STS_QUEUE_OF_OTHERS if budget is _OTHERS else STS_QUEUE
        return _Lanes(
            known=self._lane(name, pace, STS_AT_ONCE_PER_ACCOUNT, queue),
            unknown=self._lane(name, pace, STS_AT_ONCE_PER_ACCOUNT, queue),
            newcomers=self._lane(f"{name}, for keys not seen before", self._pace(part), STS_NEWCOMERS_AT_ONCE, queue),
        )

    def _pace(self, rate: float) -> Pace:
        return Pace(rate, burst=_burst(rate), timer=self._timer)

    def _lane(self, name: str, pace: Pace, at_once: int, queue: int) -> Lane:
        return Lane(name, pace, burst=_burst(pace.base), at_once=at_once, queue=queue, shared=self._shared)

    def _until_slow(self, gate: Gate) -> _Leave:
        """Give a place back when the call ends or is slow: calls to hosts that begin to hang must not use up all places."""
        is_slow = False

        def step_aside() -> None:
            nonlocal is_slow
            if self._slow < MAX_SLOW:
                is_slow = True
                self._slow += 1
                gate.leave()

        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, step_aside)

        def leave() -> None:
            timer.cancel()
            if is_slow:
                self._slow -= 1
            else:
                gate.leave()

        return leave

    async def _ask(self, request: ForwardableRequest, trail: Trail, way: _Way) -> CallerIdentity:
        """Ask STS; the call is counted at its host already."""
        host = request.request.endpoint.host
        answered: bool | None = None
        try:
            if self._breaker.allows(host):
                identity = await self._source.identify(request, trail)
                answered = True
                self._breaker.succeeded(host)
                return identity
        except AuthError as error:
            answered = _is_answer(error)
            self._breaker.learn(host, error)
            if error.reason is Reason.STS_THROTTLED:
                for lane in filter(None, (way.newcomers, way.lane)):
                    lane.pace.throttled()
            raise
        finally:
            self._hosts.end(host, answered=answered)
        raise _not_asked()

    def _require_alive(self, host: str) -> None:
        if not self._breaker.is_worth_waiting(host):
            raise _not_asked()


def _burst(rate: float) -> float:
    return max(1.0, rate * STS_BURST_SECONDS)


def _is_answer(error: AuthError) -> bool | None:
    """Whether an error is an answer of the host; None if the error tells nothing about the host."""
    return None if isinstance(error, OutOfTimeError) else not isinstance(error, UpstreamDownError)


def _leave(held: list[_Leave]) -> None:
    while held:
        held.pop()()


def _not_asked() -> UpstreamError:
    return UpstreamError(Reason.STS_UNAVAILABLE, "STS is not asked: its last calls failed one after the other")
