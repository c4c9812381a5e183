"""What stands between the caches and AWS: bounds, fairness between accounts, and a breaker for a dead upstream.

Cache hits never come here. Each bound stands in docs/reference/limits.md.
"""

import time
from typing import Final

from aiolimiter import AsyncLimiter

from app.adapters.breaker import Breaker, Timer
from app.adapters.cache import ExpiringCache
from app.adapters.limits import Gate, Gates
from app.authenticator import AccountList, IdentitySource, RoleSource
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.errors import AuthError, UpstreamDownError, UpstreamError
from app.reasons import Reason
from app.trail import Trail

# Towards STS. A key of a listed account that STS has vouched for has a lane of its own: nobody who makes up keys can fill
# it.
STS_AT_ONCE_VOUCHED: Final = 192
STS_AT_ONCE_UNVOUCHED: Final = 64
STS_QUEUE: Final = 2_000
STS_UNVOUCHED_RATE: Final = 500
VOUCHED_KEYS: Final = 100_000
VOUCHED_SECONDS: Final = 24 * 3600.0
# Towards IAM, each account. AWS allows some 10 to 20 calls a second.
IAM_AT_ONCE_PER_ACCOUNT: Final = 4
IAM_QUEUE_PER_ACCOUNT: Final = 200
MAX_ACCOUNTS: Final = 10_000
# Of the breakers: so many failures in a row, then a pause before the next try.
BREAKER_FAILURES: Final = 5
BREAKER_PAUSE_SECONDS: Final = 2.0


class GuardedIdentities:
    """An `IdentitySource` that is asked within bounds."""

    def __init__(self, source: IdentitySource, accounts: AccountList, timer: Timer = time.monotonic) -> None:
        self._source = source
        self._accounts = accounts
        self._vouched_gate = Gate("STS", at_once=STS_AT_ONCE_VOUCHED, queue=STS_QUEUE)
        self._unvouched_gate = Gate("STS for keys not seen before", at_once=STS_AT_ONCE_UNVOUCHED, queue=STS_QUEUE)
        self._unvouched_rate = AsyncLimiter(STS_UNVOUCHED_RATE, 1)
        self._vouched: ExpiringCache[bool] = ExpiringCache(VOUCHED_KEYS, timer)
        self._breaker = Breaker(threshold=BREAKER_FAILURES, pause=BREAKER_PAUSE_SECONDS, most=MAX_ACCOUNTS, timer=timer)

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        """See `app.authenticator.IdentitySource`."""
        host = request.request.endpoint.host
        if not self._breaker.allows(host):
            raise UpstreamError(Reason.STS_UNAVAILABLE, "STS is not asked: its last calls failed one after the other")
        # The key id is the client's text until STS has answered: it picks a lane, and decides nothing.
        key_id = request.request.access_key_id
        if self._vouched.get(key_id) is None:
            async with self._unvouched_gate.slot(trail.deadline), self._unvouched_rate:
                identity = await self._ask(request, trail, host)
            # A stranger's key is vouched for as well, and must not fill the lane of those that may come in.
            if identity.account in self._accounts.current():
                self._vouched.put(key_id, value=True, seconds=VOUCHED_SECONDS)
            return identity
        async with self._vouched_gate.slot(trail.deadline):
            return await self._ask(request, trail, host)

    async def _ask(self, request: ForwardableRequest, trail: Trail, host: str) -> CallerIdentity:
        try:
            identity = await self._source.identify(request, trail)
        except AuthError as error:
            _account_for(self._breaker, host, error)
            raise
        self._breaker.succeeded(host)
        return identity


class GuardedRoles:
    """A `RoleSource` that is asked within bounds."""

    def __init__(self, source: RoleSource, timer: Timer = time.monotonic) -> None:
        self._source = source
        self._gates = Gates("IAM in", at_once=IAM_AT_ONCE_PER_ACCOUNT, queue=IAM_QUEUE_PER_ACCOUNT, most=MAX_ACCOUNTS)
        self._breaker = Breaker(threshold=BREAKER_FAILURES, pause=BREAKER_PAUSE_SECONDS, most=MAX_ACCOUNTS, timer=timer)

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        """See `app.authenticator.RoleSource`."""
        account = admitted.principal.account
        if not self._breaker.allows(account):
            raise UpstreamError(Reason.IAM_UNAVAILABLE, "IAM is not asked: its last calls failed one after the other")
        async with self._gates.of(account).slot(trail.deadline):
            try:
                role = await self._source.fetch_role(admitted, trail)
            except AuthError as error:
                _account_for(self._breaker, account, error)
                raise
        self._breaker.succeeded(account)
        return role


def _account_for(breaker: Breaker, key: str, error: AuthError) -> None:
    """Count an outage as a failure. A denial, throttling and an answer that is not believed show that somebody answers."""
    if isinstance(error, UpstreamDownError):
        breaker.failed(key)
    else:
        breaker.succeeded(key)
