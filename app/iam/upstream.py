"""IAM as its queue uses it: the content of a call, the checks when the call has its turn, and the caching of the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from app.calls.limits import CallLimits
from app.calls.options import CallOptions
from app.core.errors import AuthorizationError, UpstreamError
from app.core.iam_documents import RolePage
from app.core.principal import AdmittedPrincipal, admit
from app.core.reasons import Reason
from app.core.records import RecordError, decode_role, encode_role
from app.core.role_tags import RoleRecord
from app.decision.authenticator import AccountList, RoleSource
from app.decision.record import DecisionRecord
from app.iam.role_cache import REFRESH_AFTER, RoleKey, RoleTable
from app.store.replicas import IAM_PATIENCE_SECONDS, ComeAgain, Found, Replicas, ReplicaWait
from app.store.sealing import Opened

# The time limits of one GetRole call and of one page, both attempts included.
IAM_CALL_SECONDS: Final = 8.0
PAGE_SECONDS: Final = 30.0


class RolePages(Protocol):
    """Reads the roles of an account from IAM in pages."""

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


IamQuery = RoleQuery | PageQuery
Answer = RoleRecord | RolePage


class IamUpstream:
    """The `Upstream` for IAM; see `app.calls.upstream`."""

    name: Final = "IAM"
    unavailable: Final = Reason.IAM_UNAVAILABLE

    def __init__(
        self,
        source: RoleSource,
        pages: RolePages | None,
        table: RoleTable,
        accounts: AccountList,
        options: CallOptions,
        limits: CallLimits,
    ) -> None:
        self.attempt_seconds = self.silence_seconds = options.attempt_seconds
        store = self._store = options.store
        self.replicas: Replicas[RoleRecord] | None = (
            None if store is None else Replicas(store, "role", IAM_PATIENCE_SECONDS)
        )
        self.patience = None if self.replicas is None else self.replicas.patience
        self._source = source
        self._pages = pages
        self._table = table
        self._accounts = accounts
        self._limits = limits

    def seconds_for(self, query: IamQuery) -> float:
        """See `Upstream`."""
        return IAM_CALL_SECONDS if isinstance(query, RoleQuery) else PAGE_SECONDS

    def recheck(self, query: IamQuery) -> Answer | None:
        """Check that the account is still listed (I12), and that the role has not been cached meanwhile."""
        if isinstance(query, PageQuery):
            return None
        admit(query.admitted.principal, self._accounts.current())
        return None if query.is_refresh else self._table.fresh(query.key)

    async def look(self, query: RoleQuery) -> RoleRecord | None:
        """Return the answer that another replica stored, and cache it."""
        if self.replicas is None:
            return None
        return await self.replicas.look(query.key.digest(), self._reader(query))

    async def ask_replicas(self, query: IamQuery, wait: ReplicaWait) -> Found[Answer] | ComeAgain | None:
        """See `Upstream`. Replicas do not share pages."""
        if self.replicas is None or isinstance(query, PageQuery):
            return None
        result = await self.replicas.ask(query.key.digest(), self._reader(query), wait)
        return Found(result.answer) if isinstance(result, Found) else result

    async def take_shared_turn(self, query: IamQuery, wait: ReplicaWait) -> float:
        """See `Upstream`."""
        if self.replicas is None:
            return 0.0
        account = query.account if isinstance(query, PageQuery) else query.key.account
        return await self.replicas.take_turn(f"IAM in {account}", self._limits.rate, self._limits.burst, wait)

    def give_up_claim(self, query: IamQuery, wait: ReplicaWait) -> None:
        """See `Upstream`."""
        if self.replicas is not None and isinstance(query, RoleQuery):
            self.replicas.give_up_claim(query.key.digest(), wait)

    async def call(self, query: IamQuery, trail: DecisionRecord, wait: ReplicaWait | None) -> Answer:
        """Call IAM, and cache the role or the error (I18)."""
        if isinstance(query, PageQuery):
            if self._pages is None:
                raise TypeError("roles cannot be read by pages")
            return await self._pages.read_page(query.account, query.marker, trail.deadline)
        key = query.key
        try:
            role = await self._source.fetch_role(query.admitted, trail)
        except UpstreamError as error:
            if error.reason is Reason.IAM_ACCESS_DENIED:
                self._table.note_denied(key, error.detail)
                await self._delete(key)
            raise
        except AuthorizationError as error:
            self._table.note_missing(key, error.detail)
            await self._delete(key)
            raise
        if role.identifiers != key:
            # Step 7 of `app.decision.authenticator` rejects the returned role for the same reason.
            self._table.note_mismatched(key, role)
            await self._delete(key)
            return role
        self._table.put(key, role, age=0.0)
        if self.replicas is not None and wait is not None:
            self.replicas.share(key.digest(), encode_role(role), self._table.max_stale, wait)
        return role

    async def _delete(self, key: RoleKey) -> None:
        if self._store is not None:
            await self._store.delete("role", key.digest())

    def _reader(self, query: RoleQuery) -> Callable[[Opened], RoleRecord | None]:
        def read(opened: Opened) -> RoleRecord | None:
            """Return the record of another replica, if it is young enough. Cache it in any case, for an outage of IAM."""
            try:
                role = decode_role(opened.payload)
            except RecordError:
                return None
            if role.identifiers != query.key:
                return None
            age = max(0.0, opened.opened_at - opened.written_at)
            self._table.put(query.key, role, age=age)
            # A refresh call needs a record that is not itself due for refresh.
            max_age = self._table.ttl * (REFRESH_AFTER if query.is_refresh else 1.0)
            return role if age < max_age else None

        return read
