"""The calls to IAM: read a role once for all decisions that need it, and read it again before its cache entry expires."""

import contextlib
from typing import Final

from app.calls.budget import Priority
from app.calls.call_order import CallOrder
from app.calls.call_queue import CallQueue
from app.calls.limits import CallLimits
from app.calls.options import CallOptions
from app.calls.upstream import Pending
from app.core.errors import AuthorizationError, UpstreamError
from app.core.principal import AdmittedPrincipal, Principal, admit
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.decision.authenticator import AccountList
from app.decision.record import HIT, STALE, UpstreamCall
from app.iam.role_cache import RoleKey, RoleTable
from app.iam.upstream import Answer, IamQuery, IamUpstream, PageQuery, ReadPage, RoleQuery, RoleReader
from app.store.replicas import SharedCall

IAM_IN_FLIGHT: Final = 4
# The largest number of concurrent calls for all accounts. If IAM stops answering for 60 accounts, their calls are 240 of
# these.
IAM_TOTAL_IN_FLIGHT: Final = 256
IAM_TOTAL_UNPROVEN_IN_FLIGHT: Final = 128
IAM_QUEUED: Final = 20_000
# The number of calls that may go out together after a pause.
IAM_BURST: Final = 2
# Equal to the number of calls that an account may have in flight, because these calls fail together.
IAM_FAILURES: Final = IAM_IN_FLIGHT


class Roles:
    """A `RoleSource` with a cache, which calls IAM within limits."""

    def __init__(
        self,
        source: RoleReader,
        table: RoleTable,
        accounts: AccountList,
        options: CallOptions,
    ) -> None:
        limits = CallLimits(
            rate=options.rate,
            burst=IAM_BURST,
            in_flight=IAM_IN_FLIGHT,
            new_in_flight=IAM_IN_FLIGHT,
            circuit_in_flight=IAM_IN_FLIGHT,
            total_in_flight=IAM_TOTAL_IN_FLIGHT,
            total_new_in_flight=IAM_TOTAL_IN_FLIGHT,
            total_unproven_in_flight=IAM_TOTAL_UNPROVEN_IN_FLIGHT,
            queued=IAM_QUEUED,
            new_queued=IAM_QUEUED,
            failures_to_open=IAM_FAILURES,
        )
        self._table = table
        self._accounts = accounts
        self._upstream = IamUpstream(source, table, accounts, options, limits)
        self._queue: CallQueue[IamQuery, Answer] = CallQueue(self._upstream, limits, options.places)

    @property
    def order(self) -> CallOrder:
        """The calls that wait or are in flight."""
        return self._queue.order

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
        """See `app.decision.authenticator.RoleSource`."""
        key = RoleKey.of(admitted.principal)
        role = self._table.fresh(key)
        if role is not None:
            if self._table.begin_refresh(key):
                self._refresh(key, admitted)
            seen.cache, seen.request_id = HIT, role.request_id
            return role
        failure = self._table.failure(key)
        if failure is not None:
            seen.cache = HIT
            raise failure
        try:
            return await self._ask(key, admitted, seen, deadline)
        except UpstreamError as error:
            stale = None if error.reason is Reason.IAM_ACCESS_DENIED else self._table.stale(key)
            if stale is None:
                raise
            seen.cache, seen.request_id = STALE, stale.request_id
            return stale

    def read_ahead(self, principal: Principal) -> None:
        """Queue the call for a caller's role. No decision waits for the role any more, but the caller will retry.

        This costs no more than a decision that waits. The account must be listed (I12). The role is not read if the role or
        an error about it (denied or not found) is cached (I18).
        """
        key = RoleKey.of(principal)
        if (
            self._table.fresh(key) is not None
            or self._table.failure(key) is not None
            or self._queue.get(key) is not None
        ):
            return
        with contextlib.suppress(AuthorizationError, UpstreamError):
            # An `UpstreamError` means that the queue is full. When the caller retries, the decision asks for the role again.
            query = RoleQuery(key, admit(principal, self._accounts.current()))
            pending = self._role_call(query, self._upstream.share(query))
            self._queue.submit(pending)
            self._queue.abandon(pending)

    def learn(self, key: RoleKey, role: RoleRecord, asked_at: float) -> bool:
        """Cache a role that was read ahead. If the record is of another role than the key, return False."""
        is_same = role.identifiers == key
        if is_same:
            self._table.put(key, role, asked_at)
        return is_same

    async def read_page(self, account: str, marker: str | None, deadline: float) -> ReadPage:
        """Read one page of an account's roles. The call waits in the queue like the calls for single roles.

        Raises:
            UpstreamError: IAM could not be called before the deadline.
        """
        query = PageQuery(account, marker)
        shared = self._upstream.share(query)
        pending: Pending[IamQuery, Answer] = Pending(
            query, query, owner=account, budget=account, circuit=account, priority=Priority.NEW
        )
        pending.shared = shared
        read = await self._queue.ask(query, shared, lambda: pending, UpstreamCall(), deadline)
        if not isinstance(read, ReadPage):
            raise AssertionError("unreachable: a page is answered with a page")  # noqa: TRY004 - no value of a caller's
        return read

    async def close(self) -> None:
        """End every call."""
        await self._queue.close()

    async def _ask(self, key: RoleKey, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
        query = RoleQuery(key, admitted)
        shared = self._upstream.share(query)
        role = await self._queue.ask(key, shared, lambda: self._role_call(query, shared), seen, deadline)
        if not isinstance(role, RoleRecord):
            raise AssertionError("unreachable: a role is answered with a role")  # noqa: TRY004 - no value of a caller's
        seen.request_id = role.request_id
        return role

    def _refresh(self, key: RoleKey, admitted: AdmittedPrincipal) -> None:
        """Read a role again while its cache entry is fresh. No decision waits for this call."""
        if self._queue.get(key) is None:
            query = RoleQuery(key, admitted, is_refresh=True)
            with contextlib.suppress(UpstreamError):  # the queue is full; the service tries again after a pause
                self._queue.submit(self._role_call(query, self._upstream.share(query)))

    def _role_call(self, query: RoleQuery, shared: SharedCall[Answer] | None) -> Pending[IamQuery, Answer]:
        account = query.key.account
        pending: Pending[IamQuery, Answer] = Pending(
            query.key,
            query,
            owner=account,
            budget=account,
            circuit=account,
            priority=Priority.NEW if self._table.stale(query.key) is None else Priority.KNOWN,
            doubtful=self._table.is_missing(query.key),
        )
        pending.shared = shared
        return pending
