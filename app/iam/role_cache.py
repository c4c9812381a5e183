"""The roles that IAM answered, and how long each may be used. This table makes no calls.

A role is in one of these states. The table checks them in this order. IAM's next answer ends the previous state.

===============  ==============================================  ====================================================
state            holds                                           a decision gets
===============  ==============================================  ====================================================
fresh            until the time to live is over                  the role
due for refresh  fresh, and 75 % of that time is over            the role; one call each 5 % of that time reads it again
mismatched       10 s, or the time to live if that is shorter    the other role that IAM sent, which step 7 rejects
missing          10 s                                            ``role_not_found``; then for 600 s a call among those
                                                                 of missing roles, which have every second turn
denied           30 s                                            ``iam_access_denied``, which is undecided
stale            from the time to live until ``max_stale``       the answer of a call; the role if IAM cannot be asked
unknown          otherwise                                       the answer of a call
===============  ==============================================  ====================================================

The table stores roles, never decisions. Of IAM's errors it stores two, missing and denied (I18), each for exactly one role
id. The key contains the role's unique id and its name. Mismatched records have a separate cache.
"""

import time
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.core.errors import AuthError, AuthorizationError, UpstreamError
from app.core.principal import Principal
from app.core.reasons import Reason
from app.core.records import frame
from app.core.role_tags import RoleRecord, require_same_record, require_same_role
from app.limits.ttl_cache import TtlCache
from app.local.clock import Timer
from app.telemetry.metrics import Metrics

MAX_ROLES: Final = 10_000
MAX_DENIED_ROLES: Final = 10_000
MAX_MISMATCHED_ROLES: Final = 10_000
MAX_MISSING_ROLES: Final = 10_000
# A role outside the policy's path costs one call in this time, not one per proxy and reconnect (contract, section 4).
ACCESS_DENIED_SECONDS: Final = 30.0
# IAM answered with another role than the caller's: the role was recreated under its name, and IAM may report that with a
# delay. The time is short, because the caller may have the new role. It is not zero, because each retry of the old role's
# proxies would cost a call.
MISMATCH_SECONDS: Final = 10.0
# A session outlives its deleted role by hours, and each retry of its proxies would cost a call. The time is short, because a
# role that was created a moment ago may not be visible yet.
NOT_FOUND_SECONDS: Final = 10.0
# During this time, the calls for a role that was not found wait in a separate queue, which gets every second turn of new
# roles.
MISSING_SECONDS: Final = 600.0
# A role that a decision uses after this fraction of its time to live is read again in the background.
REFRESH_AFTER: Final = 0.75
# If that fails, the next attempt comes after this fraction of the time to live.
REFRESH_PAUSE: Final = 0.05


class RoleKey(NamedTuple):
    """The key of one role. The id alone is unique in AWS, but the record must have the same name as well (I16)."""

    partition: str
    account: str
    role_id: str
    name: str

    @classmethod
    def of(cls, principal: Principal) -> "RoleKey":
        """Return the key of a caller's role."""
        return cls(principal.partition, principal.account, principal.role_id, principal.role)

    def digest(self) -> bytes:
        """Return the key as bytes that no other role has."""
        return frame(*self)


@dataclass(slots=True)
class _Known:
    role: RoleRecord
    fresh_until: float
    refresh_at: float


class _Missing(NamedTuple):
    detail: str
    answered_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSizes:
    """How many roles a table remembers in each kind of state; the least recently used goes.

    Attributes:
        known: fresh, due for refresh or stale.
        denied: denied.
        mismatched: mismatched.
        missing: missing.
    """

    known: int = MAX_ROLES
    denied: int = MAX_DENIED_ROLES
    mismatched: int = MAX_MISMATCHED_ROLES
    missing: int = MAX_MISSING_ROLES


_SIZES: Final = TableSizes()


class RoleTable:
    """Roles by their key, in the states that this module's docstring lists.

    A tag change takes effect after the time to live at the latest (I17); a revocation while IAM is down, after
    ``max_stale``.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        ttl: float,
        max_stale: float,
        timer: Timer = time.monotonic,
        sizes: TableSizes = _SIZES,
    ) -> None:
        """Make an empty table.

        Args:
            metrics: reports the size.
            ttl: seconds for which a role is fresh.
            max_stale: seconds for which a role may be used while IAM cannot be called; at least ``ttl``.
            timer: seconds of a monotonic clock.
            sizes: how many roles it remembers.
        """
        self.ttl = ttl
        self.max_stale = max(ttl, max_stale)
        self._timer = timer
        self._known: TtlCache[_Known] = TtlCache(sizes.known, timer)
        self._denied: TtlCache[str] = TtlCache(sizes.denied, timer)
        self._mismatched: TtlCache[RoleRecord] = TtlCache(sizes.mismatched, timer)
        self._missing: TtlCache[_Missing] = TtlCache(sizes.missing, timer)
        metrics.watch_cache("role", self._known.__len__)

    def fresh(self, key: RoleKey) -> RoleRecord | None:
        """Return the role if it is fresh or due for refresh. If it is mismatched, return the other role with its name."""
        known = self._known.get(key)
        if known is not None and self._timer() < known.fresh_until:
            return known.role
        return self._mismatched.get(key)

    def stale(self, key: RoleKey) -> RoleRecord | None:
        """Return a role that may be used while IAM cannot be called: fresh or stale."""
        known = self._known.get(key)
        return None if known is None else known.role

    def failure(self, key: RoleKey) -> AuthError | None:
        """Return the error of a role that is missing (in its first 10 s) or denied."""
        missing = self._missing.get(key)
        if missing is not None and self._timer() < missing.answered_until:
            return AuthorizationError(Reason.ROLE_NOT_FOUND, f"{missing.detail} (remembered for 10 s)")
        detail = self._denied.get(key)
        return None if detail is None else UpstreamError(Reason.IAM_ACCESS_DENIED, f"{detail} (remembered for 30 s)")

    def is_missing(self, key: RoleKey) -> bool:
        """Whether IAM did not find this role in the last 600 s."""
        return self._missing.get(key) is not None

    def begin_refresh(self, key: RoleKey) -> bool:
        """Return whether the role is due for refresh. After True, the role is due again only after a pause."""
        known, now = self._known.get(key), self._timer()
        if known is None or not known.refresh_at <= now < known.fresh_until:
            return False
        known.refresh_at = now + self.ttl * REFRESH_PAUSE
        return True

    def learn(self, key: RoleKey, role: RoleRecord) -> None:
        """Cache a role that was read ahead.

        Raises:
            AuthorizationError: ``role_id_mismatch``: the record is of another role than the key.
        """
        require_same_record(key.partition, key.account, key.name, key.role_id, role)
        self.put(key, role, age=0.0)

    def put(self, key: RoleKey, role: RoleRecord, *, age: float) -> None:
        """Make a role fresh, or stale, by its age: the seconds since IAM sent it. A newer cached record stays."""
        written = self._timer() - age
        known = self._known.get(key)
        if known is not None and written + self.ttl < known.fresh_until:
            return
        self._forget(key)
        entry = _Known(role, fresh_until=written + self.ttl, refresh_at=written + self.ttl * REFRESH_AFTER)
        self._known.put(key, entry, self.max_stale - age, owner=key.account)

    def note_denied(self, key: RoleKey, detail: str) -> None:
        """Make a role denied: IAM denies access to it."""
        self._forget(key)
        self._denied.put(key, detail, ACCESS_DENIED_SECONDS, owner=key.account)

    def note_missing(self, key: RoleKey, detail: str) -> None:
        """Make a role missing: IAM does not find it."""
        self._forget(key)
        missing = _Missing(detail, self._timer() + NOT_FOUND_SECONDS)
        self._missing.put(key, missing, MISSING_SECONDS, owner=key.account)

    def note_mismatched(self, key: RoleKey, role: RoleRecord) -> None:
        """Make a role mismatched: IAM answered with another role of the same name."""
        self._forget(key)
        self._mismatched.put(key, role, min(MISMATCH_SECONDS, self.ttl), owner=key.account)

    def _forget(self, key: RoleKey) -> None:
        """Make a role unknown: a role has one state at a time."""
        for cache in (self._known, self._mismatched, self._missing, self._denied):
            cache.drop(key)


def is_of(principal: Principal, role: RoleRecord) -> bool:
    """Whether a record describes the caller's role (I13)."""
    try:
        require_same_role(principal, role)
    except AuthorizationError:
        return False
    return True
