"""The calls to STS: find out once who signed a credential, and cache the answer by the credential's text.

A call contains the rebuilt request, not the text. Before STS has answered, the key id of a credential is only a hint about
the credential's account (`app.sts.known_keys`). The hint selects limits and a budget, and has no other effect.
"""

import time
from collections.abc import Hashable
from typing import Final, Protocol

from app.calls.budget import Priority
from app.calls.call_queue import CallQueue
from app.calls.limits import CallLimits
from app.calls.options import CallOptions
from app.calls.upstream import Pending
from app.core.forwarding import ForwardableRequest
from app.core.key_id_hint import hint_key_id
from app.core.known_credential import KnownCredential
from app.core.principal import Principal
from app.decision.authenticator import AccountList, IdentitySource, Judge
from app.decision.record import COALESCED, MISS, SHARED, DecisionRecord
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
        """Create the queue of calls to STS.

        Args:
            source: calls STS.
            known: the cache of credentials that STS accepted.
            keys: the cache of access key ids that STS accepted.
            accounts: the accounts whose credentials are cached.
            clock: returns the time of day, to check the age of a credential again when its call has its turn.
            options: the rate of calls, and the objects that STS and IAM share.
            roles: the roles that decisions need next; None if decisions need no role.
        """
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

    async def introduce(self, key: bytes, credential: str, judge: Judge, trail: DecisionRecord) -> KnownCredential:
        """Return who signed the credential whose text has this key; see `app.decision.authenticator.Introductions`."""
        pending = self._queue.get(key)
        is_first = pending is None
        if pending is None:
            self._require_room_by_hint(credential)
            made = self._pending(key, judge())
            self._require_room(made.owner, made.priority)
            if made.priority is Priority.NEW:
                self._upstream.allowances.added(made.owner)
            trail.sts.cache = MISS
            shared = None if self._upstream.replicas is None else await self._upstream.look(made.payload)
            if shared is not None:
                trail.sts.cache, trail.sts.request_id = SHARED, shared.principal.request_id
                return shared
            pending = self._queue.get(key)
            if pending is None:
                pending = made
                self._queue.submit(made)
            else:
                is_first, trail.sts.cache = False, COALESCED
        else:
            trail.sts.cache = COALESCED
            request = pending.payload.request.request
            trail.saw_signature(request.form, request.signed_at, self._upstream.clock())
        return await self._join(pending, trail, is_first=is_first)

    async def close(self) -> None:
        """End every call."""
        await self._queue.close()

    def _require_room_by_hint(self, credential: str) -> None:
        """Refuse a credential before it is checked, if the queue has no place for a call with its access key id.

        Raises:
            UpstreamError: ``overloaded``.
        """
        if not (self._queue.order.is_full or self._upstream.allowances):
            return
        key_id = hint_key_id(credential)
        if key_id is not None:
            self._require_room(*self._keys.owner_of(key_id))

    def _require_room(self, account: Hashable, priority: Priority) -> None:
        order = self._queue.order
        has_place = order.has_place(account, priority)
        if priority is Priority.NEW:
            has_place = has_place and self._upstream.allowances.has_room(account, order.calls_of(account, priority))
        if not has_place:
            raise self._queue.full(order.seconds_to_place(account, priority))

    def _pending(self, key: bytes, request: ForwardableRequest) -> Pending[IdentityQuery, KnownCredential]:
        endpoint = request.request.endpoint
        account, priority = self._keys.owner_of(request.request.access_key_id)
        # All keys that name no listed account share one budget over all regions. This budget has the rate of one account.
        region = "all regions" if account == OTHERS else endpoint.region
        return Pending(
            key,
            IdentityQuery(key, request, account, region, is_new=priority is Priority.NEW),
            owner=account,
            budget=(account, region),
            circuit=endpoint.host,
            priority=priority,
        )

    async def _join(
        self, pending: Pending[IdentityQuery, KnownCredential], trail: DecisionRecord, *, is_first: bool
    ) -> KnownCredential:
        started = time.perf_counter()
        is_new = pending.priority is Priority.NEW
        settled = None
        try:
            settled = await self._queue.join(pending, trail.deadline, account=pending.owner, is_new=is_new)
        finally:
            made = pending.settled
            if made is not None and made.trail is not None:
                seen, sts = made.trail.sts, trail.sts
                sts.request_id, sts.region = seen.request_id, seen.region
                sts.seconds = seen.seconds if is_first else time.perf_counter() - started
        if settled.is_shared and is_first:
            trail.sts.cache = SHARED
        if settled.answer is None:
            raise AssertionError("unreachable: a call that has not failed has an answer")
        trail.sts.request_id = settled.answer.principal.request_id
        return settled.answer
