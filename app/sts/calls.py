"""The calls to STS: find out once who signed a credential, and cache the answer by the credential's text.

A call contains the rebuilt request, not the text. Before STS has answered, the key id of a credential is only a hint about
the credential's account (`app.sts.known_keys`). The hint selects limits and a budget, and has no other effect.
"""

from collections.abc import Hashable
from typing import Final, Protocol

from app.calls.budget import Priority
from app.calls.call_order import CallOrder
from app.calls.call_queue import CallQueue
from app.calls.limits import CallLimits
from app.calls.options import CallOptions
from app.calls.upstream import Pending
from app.core.key_id_hint import hint_key_id
from app.core.known_credential import KnownCredential, NewCredential
from app.core.principal import Principal
from app.decision.authenticator import AccountList, IdentitySource, Judge
from app.decision.record import DecisionRecord
from app.local.clock import Clock
from app.sts.known_credentials import KnownCredentials
from app.sts.known_keys import OTHERS, KnownKeys
from app.sts.upstream import IdentityQuery, StsUpstream

# For one account in one region. At 500 calls per second these limits suffice if STS answers within 190 ms, or within 128 ms
# for new keys.
STS_IN_FLIGHT: Final = 96
STS_NEW_IN_FLIGHT: Final = 64
STS_HOST_IN_FLIGHT: Final = 160
STS_TOTAL_IN_FLIGHT: Final = 384
STS_TOTAL_NEW_IN_FLIGHT: Final = 256
# Enough for two calls to each host of the largest partition.
STS_TOTAL_UNPROVEN_IN_FLIGHT: Final = 320
STS_QUEUED: Final = 8_192
# After a restart every key is new: the queue has places for 30,000 credentials, each of about 2.5 KB.
STS_NEW_QUEUED: Final = 32_768
# After a pause, as many calls may go out together as the budget allows in this time.
STS_BURST_SECONDS: Final = 0.05
STS_FAILURES: Final = 5


class RolesAhead(Protocol):
    """The roles that decisions need after STS has answered."""

    def read_ahead(self, principal: Principal) -> None:
        """Queue a call for a caller's role, if the caller's account is listed and the role is not cached.

        No decision waits for this call.
        """


class StsIntroductions:
    """Finds out who signed a credential, by calls to STS; see `app.decision.authenticator.Introductions`."""

    def __init__(
        self,
        source: IdentitySource,
        known: KnownCredentials,
        keys: KnownKeys,
        accounts: AccountList,
        clock: Clock,
        options: CallOptions,
        roles: RolesAhead | None = None,
    ) -> None:
        """Create the queue. ``roles`` is None if decisions need no role after STS has answered."""
        limits = CallLimits(
            rate=options.rate,
            burst=max(1.0, options.rate * STS_BURST_SECONDS),
            in_flight=STS_IN_FLIGHT,
            new_in_flight=STS_NEW_IN_FLIGHT,
            circuit_in_flight=STS_HOST_IN_FLIGHT,
            total_in_flight=STS_TOTAL_IN_FLIGHT,
            total_new_in_flight=STS_TOTAL_NEW_IN_FLIGHT,
            total_unproven_in_flight=STS_TOTAL_UNPROVEN_IN_FLIGHT,
            queued=STS_QUEUED,
            new_queued=STS_NEW_QUEUED,
            failures_to_open=STS_FAILURES,
        )
        self._upstream = StsUpstream(source, known, keys, accounts, clock, options, limits)
        self._queue: CallQueue[IdentityQuery, KnownCredential] = CallQueue(
            self._upstream,
            limits,
            options.places,
            None if roles is None else lambda known: roles.read_ahead(known.principal),
        )
        self._keys = keys

    @property
    def order(self) -> CallOrder:
        """The calls that wait or are in flight."""
        return self._queue.order

    async def introduce(
        self, credential: NewCredential, judge: Judge, trail: DecisionRecord, deadline: float
    ) -> KnownCredential:
        """Return who signed a credential; see `app.decision.authenticator.Introductions`."""
        pending = self._queue.get(credential.key)
        if pending is None:
            pending = self._make(credential, judge)
        else:
            request = pending.payload.request.request
            trail.saw_signature(request, self._upstream.clock())
        made = pending
        known = await self._queue.ask(credential.key, made.shared, lambda: made, trail.sts, deadline)
        trail.sts.request_id = known.principal.request_id
        return known

    async def close(self) -> None:
        """End every call."""
        await self._queue.close()

    def _make(self, credential: NewCredential, judge: Judge) -> Pending[IdentityQuery, KnownCredential]:
        """Check a credential, and make the call that finds out who signed it.

        Raises:
            CredentialError: the error that ``judge`` raises.
            UpstreamError: ``overloaded``: the queue has no place for the call.
        """
        if self._queue.order.is_full or self._upstream.allowances:
            # Refuse a credential before it is checked, if the queue has no place for a call with its access key id.
            key_id = hint_key_id(credential.text)
            if key_id is not None:
                self._require_room(*self._keys.owner_of(key_id))
        request = judge()
        endpoint = request.request.endpoint
        account, priority = self._keys.owner_of(request.request.access_key_id)
        self._require_room(account, priority)
        is_new = priority is Priority.NEW
        if is_new:
            self._upstream.allowances.added(account)
        # All keys that name no listed account share one budget over all regions. This budget has the rate of one account.
        region = "all regions" if account == OTHERS else endpoint.region
        query = IdentityQuery(credential.key, request, account, region, is_new=is_new)
        pending: Pending[IdentityQuery, KnownCredential] = Pending(
            query.key, query, owner=account, budget=(account, region), circuit=endpoint.host, priority=priority
        )
        pending.shared = self._upstream.share(query)
        return pending

    def _require_room(self, account: Hashable, priority: Priority) -> None:
        order = self._queue.order
        has_place = order.has_place(account, priority)
        if priority is Priority.NEW:
            has_place = has_place and self._upstream.allowances.has_room(account, order.calls_of(account, priority))
        if not has_place:
            raise self._queue.full(order.seconds_to_place(account, priority))
