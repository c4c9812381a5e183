"""STS as its queue uses it: the content of a call, the check when the call has its turn, and the caching of the answer.

The service caches answers of AWS, never decisions. It caches no errors (I18), with one exception: STS's denial of one exact
credential is cached for a short time. The cache key is the digest of the credential's text (I16), which reveals nothing
about the text.
"""

import asyncio
import functools
import hashlib
from dataclasses import dataclass
from typing import Final

from app.calls.limits import CallLimits
from app.calls.options import CallOptions
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthenticationError, AuthorizationError
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.known_credential import KnownCredential, know, refuse
from app.core.principal import read_principal
from app.core.reasons import Reason
from app.core.records import RecordError, decode_identity, encode_identity
from app.core.request_policy import require_fresh
from app.decision.authenticator import AccountList, IdentitySource
from app.decision.record import UpstreamCall
from app.limits.rate_limiter import RateLimiter
from app.local.clock import Clock
from app.store.replicas import STS_PATIENCE_SECONDS, Replicas, SharedCall
from app.store.sealing import Opened
from app.sts.allowance import Allowances
from app.sts.known_credentials import KnownCredentials, share_texts
from app.sts.known_keys import KnownKeys

# The deadline of one call, both attempts included.
STS_CALL_SECONDS: Final = 8.0
# The time of two attempts to connect to a host that cannot be reached.
STS_SILENCE_SECONDS: Final = 2.0

# All accounts whose new keys STS mostly rejects share this fraction of one account's rate. A call with an invented key takes
# 1 ms of processor time; if the call is refused, it takes 0.25 ms.
STS_DOUBTFUL_SHARE: Final = 0.5  # no bound: the half of the rate that the row of `MIN_ALLOWED` names

_DIGEST_BYTES: Final = 32


@dataclass(slots=True)
class IdentityQuery:
    """The content of a call to STS.

    Attributes:
        key: the cache key of the credential's text.
        request: the rebuilt request.
        account: the account whose limits apply; `app.sts.known_keys.OTHERS` if the key id names no listed account.
        region: the region of the call's budget.
        is_new: True if STS has not accepted the call's access key before.
    """

    key: bytes
    request: ForwardableRequest
    account: str
    region: str
    is_new: bool


class StsUpstream:
    """The `Upstream` for STS; see `app.calls.upstream`."""

    name: Final = "STS"
    unavailable: Final = Reason.STS_UNAVAILABLE
    silence_seconds: Final = STS_SILENCE_SECONDS
    has_verified_callers: Final = False

    def __init__(
        self,
        source: IdentitySource,
        known: KnownCredentials,
        keys: KnownKeys,
        accounts: AccountList,
        clock: Clock,
        options: CallOptions,
        limits: CallLimits,
    ) -> None:
        self.clock = clock
        self.attempt_seconds = options.attempt_seconds
        self._replicas = (
            None
            if options.store is None
            else Replicas(
                options.store, "identity", patience=STS_PATIENCE_SECONDS, rate=limits.rate, burst=limits.burst
            )
        )
        self._source = source
        self._known = known
        self._keys = keys
        self._accounts = accounts
        # A flood can name many accounts, so all accounts whose new keys STS mostly rejects share one limiter.
        limiter = RateLimiter(
            limits.rate * STS_DOUBTFUL_SHARE, burst=limits.burst, timer=lambda: asyncio.get_running_loop().time()
        )
        self.allowances = Allowances(limits.new_queued, limiter)

    def seconds_for(self, _query: IdentityQuery) -> float:
        """See `Upstream`."""
        return STS_CALL_SECONDS

    def recheck(self, query: IdentityQuery) -> KnownCredential | None:
        """Check the credential's age again (I7): the call may have waited for a minute."""
        require_fresh(query.request.request, self.clock())
        return None

    def share(self, query: IdentityQuery) -> SharedCall[KnownCredential] | None:
        """Return a call as replicas share it, or None without a shared store."""
        if self._replicas is None:
            return None
        digest, budget = request_digest(query.request.request), f"STS ({query.account}, {query.region})"
        return SharedCall(self._replicas, digest, budget, functools.partial(self._read, query))

    async def call(
        self, query: IdentityQuery, seen: UpstreamCall, deadline: float, shared: SharedCall[KnownCredential] | None
    ) -> KnownCredential:
        """Call STS, and cache the answer or the denial (I18)."""
        try:
            identity = await self._source.identify(query.request, seen, deadline)
        except AuthenticationError as error:
            if query.is_new:
                self.allowances.rejected(query.account)
            self._known.deny(refuse(query.key, query.request, error), owner=query.account)
            raise
        if query.is_new:
            self.allowances.vouched(query.account)
        known = self._remember(query, identity)
        if shared is not None and identity.account in self._accounts.current():
            shared.share(encode_identity(identity), self._seconds_left(query))
        return known

    def _read(self, query: IdentityQuery, opened: Opened) -> KnownCredential | None:
        """Return the identity in a record of another replica, and cache it."""
        try:
            identity = decode_identity(opened.payload, partition=query.request.request.endpoint.partition)
        except RecordError:
            return None
        return self._remember(query, identity)

    def _remember(self, query: IdentityQuery, identity: CallerIdentity) -> KnownCredential:
        left = self._seconds_left(query)
        try:
            principal = read_principal(identity)
        except AuthorizationError as error:
            self._known.remember_stranger(refuse(query.key, query.request, error), left)
            raise
        self._keys.vouch(query.request.request.access_key_id, identity.account)
        if principal.account in self._accounts.current():
            # Only texts of listed accounts are interned: Python 3.12 never frees an interned text, and everybody can have
            # roles.
            known = know(query.key, query.request, share_texts(principal))
            self._known.remember(known)
        else:
            known = know(query.key, query.request, principal)
            self._known.remember_stranger(known, left)
        return known

    def _seconds_left(self, query: IdentityQuery) -> float:
        return (query.request.expires_at - self.clock()).total_seconds()


def request_digest(request: ValidatedRequest) -> bytes:
    """Return the digest of the lengths of a rebuilt request's parts and of all its bytes. No other request has it (I16).

    Every replica computes the same digest.
    """
    parts = [request.form.value, request.method, request.endpoint.host, request.target]
    for header in request.headers:
        parts += header
    lengths = ",".join(map(str, map(len, parts)))
    data = "\n".join((lengths, *parts)).encode() + b"\n" + request.body
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
