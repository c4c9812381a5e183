"""What AWS answered, remembered for a short while: caching versions of the two ports, and nothing else knows.

Verdicts of AWS are remembered, never final decisions; errors never are (I18), but for `iam_access_denied`, 30 s as
undecided. The key of an identity is a keyed digest of every byte that STS would see (I16), so no two credentials and no
two audiences share an entry, and a dump of the keys gives nothing away. The key of a role holds its unique id.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from cachetools import TLRUCache

from app.authenticator import AccountList, Clock, IdentitySource, RoleSource
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.errors import AuthenticationError, AuthorizationError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.trail import Trail

# About 700 bytes an entry: 70 MB when full. A proxy has one credential at a time.
MAX_IDENTITIES: Final = 100_000
MAX_ROLES: Final = 10_000
MAX_UNREADABLE_ROLES: Final = 10_000
MAX_STRANGERS: Final = 10_000
MAX_DENIALS: Final = 20_000
# STS's definite denial of one exact credential. Short: a key that was just issued may not be known everywhere yet.
DENIAL_SECONDS: Final = 10.0
# A role outside the policy's path costs one call in this time, not one per proxy and reconnect (contract, section 4).
ACCESS_DENIED_SECONDS: Final = 30.0

Timer = Callable[[], float]
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_Value]):
    value: _Value
    expires_at: float


class ExpiringCache(Generic[_Value]):
    """A bounded mapping whose entries have each their own end; the least recently used goes first when it is full."""

    def __init__(self, max_entries: int, timer: Timer) -> None:
        self._entries: TLRUCache[Hashable, _Entry[_Value]] = TLRUCache(
            max_entries, ttu=lambda _key, entry, _now: entry.expires_at, timer=timer
        )
        self._timer = timer

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> _Value | None:
        """Return the value of a live entry."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def drop(self, key: Hashable) -> None:
        """Forget an entry, if it is there."""
        self._entries.pop(key, None)

    def put(self, key: Hashable, value: _Value, seconds: float) -> None:
        """Remember a value for so many seconds; not at all if there are none left."""
        if seconds > 0:
            self._entries[key] = _Entry(value, self._timer() + seconds)


class CachingIdentities:
    """An `IdentitySource` that remembers what STS vouched for, until the end of the signature's life (I17).

    STS's definite denials are remembered apart and briefly, each for its exact credential (I18): whoever repeats a forged
    one costs no call, fills a store of its own, and cannot make a denial for anybody else.
    """

    def __init__(
        self,
        source: IdentitySource,
        accounts: AccountList,
        metrics: Metrics,
        clock: Clock,
        timer: Timer = time.monotonic,
    ) -> None:
        self._source = source
        self._accounts = accounts
        self._metrics = metrics
        self._clock = clock
        self._strangers: ExpiringCache[CallerIdentity] = ExpiringCache(MAX_STRANGERS, timer)
        self._cache: ExpiringCache[CallerIdentity] = ExpiringCache(MAX_IDENTITIES, timer)
        self._denials: ExpiringCache[tuple[Reason, str]] = ExpiringCache(MAX_DENIALS, timer)
        self._key = secrets.token_bytes(32)

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        """See `app.authenticator.IdentitySource`. Local rules and the clock ran before: holding the argument proves it."""
        digest = request_digest(request.request, self._key)
        identity = self._cache.get(digest) or self._strangers.get(digest)
        if identity is not None:
            trail.sts.cache = "hit"
            trail.sts.request_id = identity.request_id
            return identity
        denial = self._denials.get(digest)
        if denial is not None:
            trail.sts.cache = "hit"
            raise AuthenticationError(denial[0], f"{denial[1]} (remembered)")
        trail.sts.cache = "miss"
        try:
            identity = await self._source.identify(request, trail)
        except AuthenticationError as error:
            self._denials.put(digest, (error.reason, error.detail), DENIAL_SECONDS)
            raise
        # Anybody with an AWS account can be vouched for; those who are not listed push nobody else out.
        listed = identity.account in self._accounts.current()
        store = self._cache if listed else self._strangers
        store.put(digest, identity, _seconds_until(request.expires_at, self._clock()))
        self._metrics.cache_size("identity", len(self._cache))
        return identity


@dataclass(frozen=True, slots=True)
class _KnownRole:
    role: RoleRecord
    fresh_until: float


class CachingRoles:
    """A `RoleSource` that remembers roles for a time, which is the delay of a tag change (I17).

    While IAM is down a known role is believed longer, up to ``max_stale``: the bound of a revocation in an outage. What IAM
    decides (no such role, no access) ends that at once.
    """

    def __init__(
        self, source: RoleSource, metrics: Metrics, *, ttl: float, max_stale: float, timer: Timer = time.monotonic
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._ttl = ttl
        self._max_stale = max(ttl, max_stale)
        self._timer = timer
        self._cache: ExpiringCache[_KnownRole] = ExpiringCache(MAX_ROLES, timer)
        self._unreadable: ExpiringCache[str] = ExpiringCache(MAX_UNREADABLE_ROLES, timer)

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        """See `app.authenticator.RoleSource`."""
        principal = admitted.principal
        # The name stands in the key as well: the id alone is unique in AWS, but the record must be that of both.
        key = (principal.partition, principal.account, principal.role_id, principal.role)
        known = self._cache.get(key)
        if known is not None and self._timer() < known.fresh_until:
            trail.iam.cache = "hit"
            trail.iam.request_id = known.role.request_id
            return known.role
        detail = self._unreadable.get(key)
        if detail is not None:
            trail.iam.cache = "hit"
            raise UpstreamError(Reason.IAM_ACCESS_DENIED, f"{detail} (remembered for 30 s)")
        trail.iam.cache = "miss"
        try:
            role = await self._source.fetch_role(admitted, trail)
        except UpstreamError as error:
            if error.reason is Reason.IAM_ACCESS_DENIED:
                self._cache.drop(key)
                self._unreadable.put(key, error.detail, ACCESS_DENIED_SECONDS)
            elif known is not None:
                trail.iam.cache = "stale"
                trail.iam.request_id = known.role.request_id
                return known.role
            raise
        except AuthorizationError:
            self._cache.drop(key)
            raise
        self._cache.put(key, _KnownRole(role, self._timer() + self._ttl), self._max_stale)
        self._metrics.cache_size("role", len(self._cache))
        return role


def request_digest(request: ValidatedRequest, key: bytes) -> bytes:
    """Digest every byte of a rebuilt request, each part with its length, so that no two requests share a digest."""
    digest = hashlib.blake2b(key=key, digest_size=32)
    parts = [request.form.value, request.method, request.endpoint.host, request.target]
    for name, value in request.headers:
        parts += (name, value)
    for part in (*(text.encode("ascii") for text in parts), request.body):
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def _seconds_until(moment: datetime, now: datetime) -> float:
    return (moment - now).total_seconds()
