"""The cache of the roles from IAM's answers. It decides how long each role may be used, and makes no calls.

A role is in one of these states. The table checks them in this order. Each new answer of IAM about a role sets its state.

===============  ==============================================  ====================================================
state            lasts                                           a decision gets
===============  ==============================================  ====================================================
fresh            until the time to live is over                  the role
due for refresh  fresh, and 75 % of the time to live is over     the role; a background call reads the role again, at most
                                                                 one in each 5 % of the time to live
mismatched       10 s, or the time to live if that is shorter    the other role that IAM sent, which step 7 rejects
missing          10 s                                            ``role_not_found``. Until 600 s are over, later decisions
                                                                 get the answer of a call, which waits in a separate queue
denied           30 s                                            ``iam_access_denied``; the service decides nothing
stale            from the time to live until ``max_stale``       the answer of a call, or the role if IAM does not answer
unknown          otherwise                                       the answer of a call
===============  ==============================================  ====================================================

The table stores roles, never decisions. It stores two of IAM's errors, missing and denied (I18), each for exactly one role
id. The key of a cache entry contains the role's unique id and its name. Mismatched records have a separate cache.
"""

import time
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.core.errors import AuthError, AuthorizationError, UpstreamError
from app.core.principal import Principal
from app.core.reasons import Reason
from app.core.records import frame
from app.core.role_tags import RoleRecord
from app.limits.ttl_cache import TtlCache
from app.local.clock import Timer
from app.telemetry.metrics import Metrics

MAX_ROLES: Final = 10_000
MAX_DENIED_ROLES: Final = 10_000
MAX_MISMATCHED_ROLES: Final = 10_000
MAX_MISSING_ROLES: Final = 10_000
# If the service's policy does not allow reading a role (for example because of the role's path), the service makes one call
# in this time, not one call for each connection of each proxy (contract, section 4).
ACCESS_DENIED_SECONDS: Final = 30.0
# For this time the service caches that IAM returned another role than the caller's. The role was recreated under its name,
# and IAM may return the old one for a while. The time is short, because the caller may have the new role. It is not zero,
# because each retry of the old role's proxies would cost a call.
MISMATCH_SECONDS: Final = 10.0
# For this time the service caches that IAM did not find a role. After a role is deleted, its sessions live on for hours, and
# each retry of their proxies would cost a call. The time is short, because IAM may not show a new role yet.
NOT_FOUND_SECONDS: Final = 10.0
# For this time after IAM did not find a role, calls for this role wait in a separate queue. That queue and the queue of
# other new roles take turns.
MISSING_SECONDS: Final = 600.0
# If a decision uses a role after this fraction of the role's time to live, the service reads the role again in the
# background.
REFRESH_AFTER: Final = 0.75
# If that fails, the next attempt comes after this fraction of the time to live.
REFRESH_PAUSE: Final = 0.05


class RoleKey(NamedTuple):
    """The cache key of one role. The id alone is unique in AWS, but the record must have the same name as well (I16)."""

    partition: str
    account: str
    role_id: str
    name: str

    @classmethod
    def of(cls, principal: Principal) -> "RoleKey":
        """Return the cache key of a caller's role."""
        return cls(*principal.role_identifiers)

    def digest(self) -> bytes:
        """Return the key as bytes. Two different keys never give the same bytes."""
        return frame(*self)


@dataclass(slots=True)
class _Known:
    role: RoleRecord
    fresh_until: float
    refresh_at: float


class _Refusal(NamedTuple):
    detail: str
    said_at: float


class _Mismatch(NamedTuple):
    role: RoleRecord
    said_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSizes:
    """The largest number of roles in each state. If there are more, the least recently used role is evicted.

    Attributes:
        known: roles that are fresh, due for refresh or stale.
        denied: roles that are denied.
        mismatched: roles that are mismatched.
        missing: roles that are missing.
    """

    known: int = MAX_ROLES
    denied: int = MAX_DENIED_ROLES
    mismatched: int = MAX_MISMATCHED_ROLES
    missing: int = MAX_MISSING_ROLES


_SIZES: Final = TableSizes()


class RoleTable:
    """Roles by their key, in the states that this module's docstring lists.

    A change of tags takes effect after the time to live at the latest (I17), or after ``max_stale`` if IAM does not answer.

    Attributes:
        timer: returns the seconds of a monotonic clock.
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
        """Make an empty table. ``ttl`` and ``max_stale`` are seconds; ``max_stale`` is at least ``ttl``."""
        self.ttl = ttl
        self.max_stale = max(ttl, max_stale)
        self.timer = timer
        self._known: TtlCache[_Known] = TtlCache(sizes.known, timer)
        self._denied: TtlCache[_Refusal] = TtlCache(sizes.denied, timer)
        self._mismatched: TtlCache[_Mismatch] = TtlCache(sizes.mismatched, timer)
        self._missing: TtlCache[_Refusal] = TtlCache(sizes.missing, timer)
        metrics.watch_cache("role", self.__len__)

    def __len__(self) -> int:
        """Return the number of cached roles, expired ones included."""
        return len(self._known)

    def fresh(self, key: RoleKey) -> RoleRecord | None:
        """Return the role if it is fresh or due for refresh. If it is mismatched, return the role that IAM sent instead."""
        known = self._known.get(key)
        if known is not None and self.timer() < known.fresh_until:
            return known.role
        mismatched = self._mismatched.get(key)
        return None if mismatched is None else mismatched.role

    def stale(self, key: RoleKey) -> RoleRecord | None:
        """Return a role that may be used while IAM does not answer: one that is fresh or stale."""
        known = self._known.get(key)
        return None if known is None else known.role

    def failure(self, key: RoleKey) -> AuthError | None:
        """Return the error for a role that is denied, or that has been missing for less than 10 s; otherwise None."""
        missing = self._missing.get(key)
        if missing is not None and self.timer() < missing.said_at + NOT_FOUND_SECONDS:
            return AuthorizationError(Reason.ROLE_NOT_FOUND, f"{missing.detail} (remembered for 10 s)")
        denied = self._denied.get(key)
        if denied is None:
            return None
        return UpstreamError(Reason.IAM_ACCESS_DENIED, f"{denied.detail} (remembered for 30 s)")

    def is_missing(self, key: RoleKey) -> bool:
        """Return whether IAM answered in the last 600 s that this role does not exist."""
        return self._missing.get(key) is not None

    def begin_refresh(self, key: RoleKey) -> bool:
        """Return whether the role is due for refresh. If it is, the role becomes due again only after a pause."""
        known, now = self._known.get(key), self.timer()
        if known is None or not known.refresh_at <= now < known.fresh_until:
            return False
        known.refresh_at = now + self.ttl * REFRESH_PAUSE
        return True

    def is_contradicted(self, key: RoleKey, moment: float) -> bool:
        """Return whether IAM has said after a moment of the timer that the role is missing, denied or mismatched."""
        answers = self._missing.get(key), self._denied.get(key), self._mismatched.get(key)
        return any(answer is not None and moment < answer.said_at for answer in answers)

    def put(self, key: RoleKey, role: RoleRecord, moment: float) -> None:
        """Cache a role, unless a newer answer is cached.

        ``moment`` is when IAM sent the role or, if that took long, when IAM was asked for it; in seconds of the timer.
        """
        known = self._known.get(key)
        if (known is not None and moment + self.ttl < known.fresh_until) or self.is_contradicted(key, moment):
            return
        self._forget(key)
        entry = _Known(role, fresh_until=moment + self.ttl, refresh_at=moment + self.ttl * REFRESH_AFTER)
        self._known.put(key, entry, moment + self.max_stale - self.timer(), owner=key.account)

    def note_denied(self, key: RoleKey, detail: str) -> None:
        """Set a role's state to denied: IAM denies access to the role."""
        self._forget(key)
        self._denied.put(key, _Refusal(detail, self.timer()), ACCESS_DENIED_SECONDS, owner=key.account)

    def note_missing(self, key: RoleKey, detail: str) -> None:
        """Set a role's state to missing: IAM does not find the role."""
        self._forget(key)
        self._missing.put(key, _Refusal(detail, self.timer()), MISSING_SECONDS, owner=key.account)

    def note_mismatched(self, key: RoleKey, role: RoleRecord) -> None:
        """Set a role's state to mismatched: IAM returned another role with the same name."""
        self._forget(key)
        mismatch = _Mismatch(role, self.timer())
        self._mismatched.put(key, mismatch, min(MISMATCH_SECONDS, self.ttl), owner=key.account)

    def _forget(self, key: RoleKey) -> None:
        """Set a role's state to unknown, because a role must have only one state at a time."""
        for cache in (self._known, self._mismatched, self._missing, self._denied):
            cache.drop(key)
