"""IAM as its queue uses it: the content of a call, the checks when the call has its turn, and the caching of the answer."""

import functools
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from app.calls.limits import CallLimits
from app.calls.options import CallOptions
from app.core.errors import AuthorizationError, UpstreamError
from app.core.iam_documents import RolePage
from app.core.principal import AdmittedPrincipal, admit
from app.core.reasons import Reason
from app.core.records import RecordError, decode_role, encode_role
from app.core.role_tags import RoleRecord
from app.decision.authenticator import AccountList, RoleSource
from app.decision.record import UpstreamCall
from app.iam.role_cache import REFRESH_AFTER, RoleKey, RoleTable
from app.store.replicas import IAM_PATIENCE_SECONDS, Replicas, SharedCall
from app.store.sealing import Opened

# The time limits of one GetRole call and of one page, both attempts included.
IAM_CALL_SECONDS: Final = 8.0
PAGE_SECONDS: Final = 30.0


class RoleReader(RoleSource, Protocol):
    """Reads roles from IAM, one by one or in pages."""

    async def read_page(self, account: str, marker: str | None, deadline: float) -> RolePage:
        """Read the page that begins at a marker. The deadline is in seconds of the event loop's clock.

        Raises:
            UpstreamError: there is no usable answer from IAM.
        """


@dataclass(frozen=True, slots=True)
class RoleQuery:
    """The content of a GetRole call.

    Attributes:
        key: the cache key of the role.
        admitted: the caller that has the role.
        is_refresh: True if the call reads a cached role again before its cache entry expires.
    """

    key: RoleKey
    admitted: AdmittedPrincipal
    is_refresh: bool = False


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The content of a call for one page of an account's roles."""

    account: str
    marker: str | None


class ReadPage(NamedTuple):
    """A page, and when IAM was asked for it, in seconds of the timer of the roles' table."""

    page: RolePage
    asked_at: float


IamQuery = RoleQuery | PageQuery
Answer = RoleRecord | ReadPage


class IamUpstream:
    """The `Upstream` for IAM; see `app.calls.upstream`."""

    name: Final = "IAM"
    unavailable: Final = Reason.IAM_UNAVAILABLE
    has_verified_callers: Final = True

    def __init__(
        self,
        source: RoleReader,
        table: RoleTable,
        accounts: AccountList,
        options: CallOptions,
        limits: CallLimits,
    ) -> None:
        self.attempt_seconds = self.silence_seconds = options.attempt_seconds
        self._replicas = (
            None
            if options.store is None
            else Replicas(options.store, "role", patience=IAM_PATIENCE_SECONDS, rate=limits.rate, burst=limits.burst)
        )
        self._source = source
        self._table = table
        self._accounts = accounts

    def seconds_for(self, query: IamQuery) -> float:
        """See `Upstream`."""
        return IAM_CALL_SECONDS if isinstance(query, RoleQuery) else PAGE_SECONDS

    def recheck(self, query: IamQuery) -> Answer | None:
        """Check that the account is still listed (I12), and that the role has not been cached meanwhile."""
        if isinstance(query, PageQuery):
            return None
        admit(query.admitted.principal, self._accounts.current())
        return None if query.is_refresh else self._table.fresh(query.key)

    def share(self, query: IamQuery) -> SharedCall[Any] | None:
        """Return a call as replicas share it, or None without a shared store. Of a page, replicas share only the budget."""
        if self._replicas is None:
            return None
        if isinstance(query, PageQuery):
            return SharedCall(self._replicas, None, f"IAM in {query.account}", lambda _opened: None)
        read = functools.partial(self._read, query)
        return SharedCall(self._replicas, query.key.digest(), f"IAM in {query.key.account}", read)

    async def call(
        self, query: IamQuery, seen: UpstreamCall, deadline: float, shared: SharedCall[Any] | None
    ) -> Answer:
        """Call IAM, and cache the role or the error (I18)."""
        if isinstance(query, PageQuery):
            # IAM can take long for a page of many roles. Meanwhile, a role can be deleted or replaced.
            asked_at = self._table.timer()
            return ReadPage(await self._source.read_page(query.account, query.marker, deadline), asked_at)
        key = query.key
        try:
            role = await self._source.fetch_role(query.admitted, seen, deadline)
        except UpstreamError as error:
            if error.reason is Reason.IAM_ACCESS_DENIED:
                self._table.note_denied(key, error.detail)
                await _withdraw(shared)
            raise
        except AuthorizationError as error:
            self._table.note_missing(key, error.detail)
            await _withdraw(shared)
            raise
        if role.identifiers != key:
            # Step 7 of `app.decision.authenticator` rejects the returned role for the same reason.
            self._table.note_mismatched(key, role)
            await _withdraw(shared)
            return role
        self._table.put(key, role, self._table.timer())
        if shared is not None:
            shared.share(encode_role(role), self._table.max_stale)
        return role

    def _read(self, query: RoleQuery, opened: Opened) -> RoleRecord | None:
        """Return the record of another replica, if it is young enough. Cache it in any case, for an outage of IAM."""
        try:
            role = decode_role(opened.payload)
        except RecordError:
            return None
        sent_at = self._table.timer() - opened.age
        if role.identifiers != query.key or self._table.is_contradicted(query.key, sent_at):
            return None
        self._table.put(query.key, role, sent_at)
        # A refresh call needs a record that is not itself due for refresh.
        max_age = self._table.ttl * (REFRESH_AFTER if query.is_refresh else 1.0)
        return role if opened.age < max_age else None


async def _withdraw(shared: SharedCall[Any] | None) -> None:
    if shared is not None:
        await shared.delete()
