"""What IAM answered, for the role's time to live: a caching version of its port, and nothing else knows.

Roles are remembered, never decisions. Of the errors two are remembered (I18), for a short time and for exactly one role id:
`iam_access_denied`, 30 s as undecided, and `role_not_found`, 10 s. The key holds the role's unique id and its name; a record
of another role than the key's is kept in a separate cache, and briefly.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from app.adapters.bulkhead import MAX_WAITING_KNOWN, Bulkhead, Share
from app.adapters.expiring import ExpiringCache, Timer
from app.adapters.flights import Flights
from app.adapters.replicas import AnsweredElsewhereError, Question
from app.adapters.store import NoStore, Store
from app.authenticator import RoleSource
from app.core.principal import AdmittedPrincipal, Principal
from app.core.records import RecordError, decode_role, encode_role, frame
from app.core.role_tags import RoleRecord, require_same_record, require_same_role
from app.errors import AuthorizationError, OutOfTimeError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.sealing import Opened
from app.trail import COALESCED, HIT, KNOWN, MISS, MISSING, NEW, SHARED, STALE, RoleHistory, Trail

MAX_ROLES: Final = 10_000
MAX_UNREADABLE_ROLES: Final = 10_000
MAX_MISMATCHED_ROLES: Final = 10_000
MAX_MISSING_ROLES: Final = 10_000
# A role outside the policy's path costs one call in this time, not one per proxy and reconnect (contract, section 4).
ACCESS_DENIED_SECONDS: Final = 30.0
# IAM answered with another role than the caller's: one that was made anew under its name, which IAM may tell with a delay.
# Short, since the caller may be the new one; but not nothing, or each try of the old one's proxies would cost a call.
MISMATCH_SECONDS: Final = 10.0
# A session outlives its role by hours, and each try of its proxies would cost a call. Short, since a role that was made a
# moment ago may not be visible yet.
NOT_FOUND_SECONDS: Final = 10.0
# For this time, a role that was not found waits in the second queue, which gets every second turn of new roles.
MISSING_SECONDS: Final = 600.0
# A role that is asked for after so much of its time is read again, while nobody waits for it.
REFRESH_AFTER: Final = 0.75
# If that fails, the next try comes after so much of its time.
REFRESH_PAUSE: Final = 0.05
# Shorter than a decision's time: nobody waits for it, and there is another try.
REFRESH_SECONDS: Final = 3.0


class RoleKey(NamedTuple):
    """One role for ever. The id alone is unique in AWS, but the record must be that of the name as well (I16)."""

    partition: str
    account: str
    role_id: str
    name: str

    def digest(self) -> bytes:
        """Return it as bytes that no other role has."""
        return frame(*self)


@dataclass(slots=True)
class _KnownRole:
    role: RoleRecord
    fresh_until: float
    refresh_at: float


class _MissingRole(NamedTuple):
    detail: str
    answered_until: float


class CachingRoles:
    """A `RoleSource` that remembers roles for a time, which is the delay of a tag change (I17).

    Roles in use are read again before that time is over, so that no decision waits for it. While IAM is down a known role is
    believed longer, up to ``max_stale``: the bound of a revocation in an outage. What IAM decides (no such role, no access)
    ends that at once.
    """

    def __init__(
        self,
        source: RoleSource,
        metrics: Metrics,
        *,
        ttl: float,
        max_stale: float,
        timer: Timer = time.monotonic,
        store: Store | None = None,
        waiting: Bulkhead | None = None,
    ) -> None:
        """Stand in front of a source.

        Args:
            source: is asked what is not known.
            metrics: shows the size.
            ttl: seconds for which a role is believed.
            max_stale: seconds for which it is believed while IAM cannot be asked; at least ``ttl``.
            timer: seconds of a monotonic clock.
            store: what replicas know.
            waiting: the places of decisions about callers that STS has vouched for; None: places of its own.
        """
        self._source = source
        self._metrics = metrics
        self._ttl = ttl
        self._max_stale = max(ttl, max_stale)
        self._timer = timer
        self._store = store or NoStore()
        self._cache: ExpiringCache[_KnownRole] = ExpiringCache(MAX_ROLES, timer)
        self._unreadable: ExpiringCache[str] = ExpiringCache(MAX_UNREADABLE_ROLES, timer)
        self._mismatched: ExpiringCache[RoleRecord] = ExpiringCache(MAX_MISMATCHED_ROLES, timer)
        self._missing: ExpiringCache[_MissingRole] = ExpiringCache(MAX_MISSING_ROLES, timer)
        self._flights: Flights[RoleRecord] = Flights()
        self._waiting = waiting or Bulkhead("IAM", MAX_WAITING_KNOWN)

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        """See `app.authenticator.RoleSource`."""
        principal = admitted.principal
        key = RoleKey(principal.partition, principal.account, principal.role_id, principal.role)
        known, now = self._cache.get(key), self._timer()
        if known is not None and now < known.fresh_until:
            if now >= known.refresh_at:
                self._refresh(key, admitted, known)
            remembered: RoleRecord | None = known.role
        else:
            remembered = self._mismatched.get(key)
        if remembered is not None:
            trail.iam.cache = HIT
            trail.iam.request_id = remembered.request_id
            return remembered
        self._raise_remembered(key, trail)
        try:
            with Share(self._waiting, key.account):
                return await self._join(key, admitted, trail)
        except UpstreamError as error:
            known = None if error.reason is Reason.IAM_ACCESS_DENIED else self._cache.get(key)
            if known is None:
                raise
            trail.iam.cache = STALE
            trail.iam.request_id = known.role.request_id
            return known.role

    def _raise_remembered(self, key: RoleKey, trail: Trail) -> None:
        """Raise what IAM said of this role a moment ago, if that was an error."""
        missing = self._missing.get(key)
        if missing is not None and self._timer() < missing.answered_until:
            trail.iam.cache = HIT
            raise AuthorizationError(Reason.ROLE_NOT_FOUND, f"{missing.detail} (remembered for 10 s)")
        detail = self._unreadable.get(key)
        if detail is not None:
            trail.iam.cache = HIT
            raise UpstreamError(Reason.IAM_ACCESS_DENIED, f"{detail} (remembered for 30 s)")

    def _history_of(self, key: RoleKey) -> RoleHistory:
        if self._cache.get(key) is not None:
            return KNOWN
        return NEW if self._missing.get(key) is None else MISSING

    def learn(self, key: RoleKey, role: RoleRecord) -> None:
        """Remember a role that was read without anybody asking for it.

        Raises:
            AuthorizationError: ``role_id_mismatch``: it is not the key's.
        """
        require_same_record(key.partition, key.account, key.name, key.role_id, role)
        self._put(key, role, age=0.0)

    async def _join(self, key: RoleKey, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        is_first = key not in self._flights
        trail.iam.cache = MISS if is_first else COALESCED
        started = time.perf_counter()
        try:
            role = await self._wait(key, admitted, trail)
        except OutOfTimeError:
            if is_first:
                raise
            # It was the time of whoever asked; once more, with ours.
            role = await self._wait(key, admitted, trail)
        trail.iam.request_id = role.request_id
        if not is_first:
            trail.iam.seconds = time.perf_counter() - started
        return role

    async def _wait(self, key: RoleKey, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        try:
            return await self._flights.join(
                key, lambda: self._ask(key, admitted, trail, max_age=self._ttl), trail.deadline
            )
        except TimeoutError as error:
            raise UpstreamError(Reason.IAM_UNAVAILABLE, "no answer of IAM before the deadline") from error

    def _refresh(self, key: RoleKey, admitted: AdmittedPrincipal, known: _KnownRole) -> None:
        """Read a role again while it is still believed."""
        known.refresh_at = self._timer() + self._ttl * REFRESH_PAUSE
        trail = Trail(request_id="", deadline=asyncio.get_running_loop().time() + REFRESH_SECONDS)
        self._flights.start(key, lambda: self._ask(key, admitted, trail, max_age=self._ttl * REFRESH_AFTER))

    async def _ask(self, key: RoleKey, admitted: AdmittedPrincipal, trail: Trail, *, max_age: float) -> RoleRecord:
        question = Question(
            self._store,
            "role",
            key.digest(),
            lambda opened: self._read(opened, key, admitted.principal, max_age),
            trail.shared_wait,
        )
        trail.iam.elsewhere = question
        trail.iam.role = self._history_of(key)
        try:
            await question.look()
            role = await self._source.fetch_role(admitted, trail)
        except AnsweredElsewhereError as found:
            trail.iam.cache = SHARED
            return cast("RoleRecord", found.answer)
        except UpstreamError as error:
            if error.reason is Reason.IAM_ACCESS_DENIED:
                await self._forget(key)
                self._unreadable.put(key, error.detail, ACCESS_DENIED_SECONDS, owner=key.account)
            raise
        except AuthorizationError as error:
            await self._forget(key)
            missing = _MissingRole(error.detail, self._timer() + NOT_FOUND_SECONDS)
            self._missing.put(key, missing, MISSING_SECONDS, owner=key.account)
            raise
        else:
            if await self._is_of(key, admitted.principal, role):
                self._put(key, role, age=0.0)
                self._store.put("role", key.digest(), encode_role(role), self._max_stale)
                question.answered()
            return role
        finally:
            question.end()

    async def _is_of(self, key: RoleKey, principal: Principal, role: RoleRecord) -> bool:
        try:
            require_same_role(principal, role)
        except AuthorizationError:  # step 7 says so as well, of what is returned
            await self._forget(key)
            self._mismatched.put(key, role, min(MISMATCH_SECONDS, self._ttl), owner=key.account)
            return False
        return True

    def _read(self, opened: Opened, key: RoleKey, principal: Principal, max_age: float) -> RoleRecord | None:
        """Return what a replica was answered, if it is no older than that; keep an older one for an outage."""
        try:
            role = decode_role(opened.payload)
            require_same_role(principal, role)
        except (RecordError, AuthorizationError):
            return None
        age = max(0.0, opened.opened_at - opened.written_at)
        known = self._cache.get(key)
        if known is None or self._timer() + self._ttl - age > known.fresh_until:
            self._put(key, role, age=age)
        return role if age < max_age else None

    def _put(self, key: RoleKey, role: RoleRecord, *, age: float) -> None:
        written = self._timer() - age
        known = _KnownRole(role, fresh_until=written + self._ttl, refresh_at=written + self._ttl * REFRESH_AFTER)
        self._cache.put(key, known, self._max_stale - age, owner=key.account)
        for error in (self._mismatched, self._unreadable, self._missing):
            error.drop(key)
        self._metrics.cache_size("role", len(self._cache))

    async def _forget(self, key: RoleKey) -> None:
        self._cache.drop(key)
        self._metrics.cache_size("role", len(self._cache))
        await self._store.delete("role", key.digest())
