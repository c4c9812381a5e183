"""What STS answered, until the end of the signature's life: a caching version of its port, and nothing else knows.

Verdicts of AWS are remembered, never final decisions; errors never are (I18). The key is a keyed digest of every byte that
STS would see (I16), so no two credentials and no two audiences share an entry, and a dump of the keys gives nothing away.
"""

import hashlib
import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Final, NamedTuple, Protocol, cast

from app.adapters.expiring import ExpiringCache, Timer
from app.adapters.replicas import AnsweredElsewhereError, Question
from app.adapters.store import Store
from app.authenticator import AccountList, Clock, IdentitySource
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.records import RecordError, decode_identity, encode_identity
from app.errors import AuthenticationError
from app.reasons import Reason
from app.sealing import Opened
from app.trail import HIT, MISS, SHARED, Trail

# Few: a text that STS has vouched for is known by itself (`app.adapters.known_credentials`). These are for the same request
# in another text.
MAX_IDENTITIES: Final = 10_000
MAX_STRANGERS: Final = 10_000
MAX_DENIALS: Final = 20_000
# STS's definite denial of one exact credential. Short: a key that was just issued may not be known everywhere yet.
DENIAL_SECONDS: Final = 10.0
_DIGEST_BYTES: Final = 32


class _Denial(NamedTuple):
    reason: Reason
    detail: str


class Waiting(Protocol):
    """The limits on decisions that wait for STS (`app.adapters.known_keys.KnownKeys`)."""

    def share_of(self, request: ForwardableRequest) -> AbstractContextManager[object]:
        """Return the places that a decision about this request waits in; entering them can raise ``overloaded``."""

    def vouch(self, key_id: str, account: str) -> None:
        """Remember that STS has vouched for a key, at this replica or at another one."""


class CachingIdentities:
    """An `IdentitySource` that remembers what STS vouched for, until the end of the signature's life (I17).

    STS's definite denials are remembered apart and briefly, each for its exact credential (I18): whoever repeats a forged
    one costs no call, fills a store of its own, and cannot make a denial for anybody else.
    """

    def __init__(
        self,
        source: IdentitySource,
        accounts: AccountList,
        clock: Clock,
        timer: Timer = time.monotonic,
        store: Store | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        """Stand in front of a source.

        Args:
            source: is asked what is not known.
            accounts: the identities of others are kept apart.
            clock: tells how long a signature lives.
            timer: seconds of a monotonic clock.
            store: what replicas know, if there are any.
            waiting: the places of decisions that wait; None: there is no bound.
        """
        self._source = source
        self._accounts = accounts
        self._clock = clock
        self._store = store
        self._waiting = waiting
        self._strangers: ExpiringCache[CallerIdentity] = ExpiringCache(MAX_STRANGERS, timer)
        self._cache: ExpiringCache[CallerIdentity] = ExpiringCache(MAX_IDENTITIES, timer)
        self._denials: ExpiringCache[_Denial] = ExpiringCache(MAX_DENIALS, timer)
        self._key = secrets.token_bytes(32)

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        """See `app.authenticator.IdentitySource`. Local rules and the clock ran before: holding the argument proves it."""
        digest = request_digest(request.request)
        key = hashlib.blake2b(digest, key=self._key, digest_size=_DIGEST_BYTES).digest()
        identity = self._cache.get(key) or self._strangers.get(key)
        if identity is not None:
            trail.sts.cache = HIT
            trail.sts.request_id = identity.request_id
            return identity
        denial = self._denials.get(key)
        if denial is not None:
            trail.sts.cache = HIT
            raise AuthenticationError(denial.reason, f"{denial.detail} (remembered)")
        trail.sts.cache = MISS
        # Set before the first await: decisions that join this call (same text) take places of the same account.
        trail.sts.share = nullcontext() if self._waiting is None else self._waiting.share_of(request)
        with trail.sts.share:
            return await self._ask(key, digest, request, trail)

    async def _ask(self, key: bytes, digest: bytes, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        if self._store is None:
            return (await self._ask_sts(key, request, trail))[0]
        partition = request.request.endpoint.partition
        question = Question(self._store, "identity", digest, lambda opened: _read(opened, partition), trail.shared_wait)
        trail.sts.elsewhere = question
        try:
            await question.look()
            identity, left = await self._ask_sts(key, request, trail)
        except AnsweredElsewhereError as found:
            identity = cast("CallerIdentity", found.answer)
            trail.sts.cache = SHARED
            trail.sts.request_id = identity.request_id
            self._remember(key, identity, _seconds_until(request.expires_at, self._clock()))
            if self._waiting is not None:
                # Or the proxy's next credential would wait among those whose key ids are made up.
                self._waiting.vouch(request.request.access_key_id, identity.account)
            return identity
        else:
            if identity.account in self._accounts.current():
                self._store.put("identity", digest, encode_identity(identity), left)
                question.answered()
            return identity
        finally:
            question.end()

    async def _ask_sts(self, key: bytes, request: ForwardableRequest, trail: Trail) -> tuple[CallerIdentity, float]:
        """Return who signed, and for how many seconds that holds; remember it, or the denial."""
        try:
            identity = await self._source.identify(request, trail)
        except AuthenticationError as error:
            self._denials.put(key, _Denial(error.reason, error.detail), DENIAL_SECONDS)
            raise
        left = _seconds_until(request.expires_at, self._clock())
        self._remember(key, identity, left)
        return identity, left

    def _remember(self, key: bytes, identity: CallerIdentity, seconds: float) -> None:
        """Cache an identity. Identities of accounts that are not listed have a cache of their own."""
        if identity.account in self._accounts.current():
            self._cache.put(key, identity, seconds, owner=identity.account)
        else:
            self._strangers.put(key, identity, seconds)


def _read(opened: Opened, partition: str) -> CallerIdentity | None:
    """Return what a replica was answered about exactly this request."""
    try:
        return decode_identity(opened.payload, partition=partition)
    except RecordError:
        return None


def request_digest(request: ValidatedRequest) -> bytes:
    """Digest every byte of a rebuilt request, behind the lengths of its parts: no two requests share a digest."""
    parts = [request.form.value, request.method, request.endpoint.host, request.target]
    for header in request.headers:
        parts += header
    lengths = ",".join(map(str, map(len, parts)))
    data = "\n".join((lengths, *parts)).encode() + b"\n" + request.body
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _seconds_until(moment: datetime, now: datetime) -> float:
    return (moment - now).total_seconds()
