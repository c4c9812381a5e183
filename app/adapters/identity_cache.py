"""What STS answered, until the end of the signature's life: a caching version of its port, and nothing else knows.

Verdicts of AWS are remembered, never final decisions; errors never are (I18). The key is a keyed digest of every byte that
STS would see (I16), so no two credentials and no two audiences share an entry, and a dump of the keys gives nothing away.
"""

import hashlib
import secrets
import time
from datetime import datetime
from typing import Final, cast

from app.adapters.expiring import ExpiringCache, Timer
from app.adapters.flights import Flights
from app.adapters.replicas import AnsweredElsewhereError, Question
from app.adapters.store import NoStore, Store
from app.authenticator import AccountList, Clock, IdentitySource
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.records import RecordError, decode_identity, encode_identity, frame
from app.errors import AuthenticationError, OutOfTimeError, UpstreamError
from app.reasons import Reason
from app.sealing import Opened
from app.trail import COALESCED, HIT, MISS, SHARED, Trail

# Few: a text that STS has vouched for is known by itself (`app.adapters.known_credentials`). These are for the same request
# in another text.
MAX_IDENTITIES: Final = 10_000
MAX_STRANGERS: Final = 10_000
MAX_DENIALS: Final = 20_000
# STS's definite denial of one exact credential. Short: a key that was just issued may not be known everywhere yet.
DENIAL_SECONDS: Final = 10.0
_DIGEST_BYTES: Final = 32


class CachingIdentities:
    """An `IdentitySource` that remembers what STS vouched for, until the end of the signature's life (I17).

    STS's definite denials are remembered apart and briefly, each for its exact credential (I18): whoever repeats a forged
    one costs no call, fills a store of its own, and cannot make a denial for anybody else. Equal requests at the same time
    are one call.
    """

    def __init__(
        self,
        source: IdentitySource,
        accounts: AccountList,
        clock: Clock,
        timer: Timer = time.monotonic,
        store: Store | None = None,
    ) -> None:
        """Stand in front of a source.

        Args:
            source: is asked what is not known.
            accounts: the identities of others are kept apart.
            clock: tells how long a signature lives.
            timer: seconds of a monotonic clock.
            store: what replicas know.
        """
        self._source = source
        self._accounts = accounts
        self._clock = clock
        self._store = store or NoStore()
        self._strangers: ExpiringCache[CallerIdentity] = ExpiringCache(MAX_STRANGERS, timer)
        self._cache: ExpiringCache[CallerIdentity] = ExpiringCache(MAX_IDENTITIES, timer)
        self._denials: ExpiringCache[tuple[Reason, str]] = ExpiringCache(MAX_DENIALS, timer)
        self._flights: Flights[CallerIdentity] = Flights()
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
            raise AuthenticationError(denial[0], f"{denial[1]} (remembered)")
        return await self._join(key, digest, request, trail)

    async def _join(self, key: bytes, digest: bytes, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        if key not in self._flights:
            trail.sts.cache = MISS
            return await self._wait(key, digest, request, trail)
        trail.sts.cache = COALESCED
        started = time.perf_counter()
        try:
            identity = await self._wait(key, digest, request, trail)
        except OutOfTimeError:
            # It was the time of whoever asked; once more, with ours.
            identity = await self._wait(key, digest, request, trail)
        trail.sts.request_id, trail.sts.seconds = identity.request_id, time.perf_counter() - started
        return identity

    async def _wait(self, key: bytes, digest: bytes, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        try:
            return await self._flights.join(key, lambda: self._ask(key, digest, request, trail), trail.deadline)
        except TimeoutError as error:
            raise UpstreamError(Reason.STS_UNAVAILABLE, "no answer of STS before the deadline") from error

    async def _ask(self, key: bytes, digest: bytes, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        partition = request.request.endpoint.partition
        question = Question(self._store, "identity", digest, lambda opened: _read(opened, partition))
        trail.sts.elsewhere = question
        try:
            await question.look()
            identity = await self._source.identify(request, trail)
        except AnsweredElsewhereError as found:
            identity = cast("CallerIdentity", found.answer)
            trail.sts.cache = SHARED
            trail.sts.request_id = identity.request_id
            self._remember(key, identity, _seconds_until(request.expires_at, self._clock()))
            return identity
        except AuthenticationError as error:
            self._denials.put(key, (error.reason, error.detail), DENIAL_SECONDS)
            raise
        else:
            left = _seconds_until(request.expires_at, self._clock())
            if self._remember(key, identity, left):
                self._store.put("identity", digest, encode_identity(identity), left)
                question.answered()
            return identity
        finally:
            question.end()

    def _remember(self, key: bytes, identity: CallerIdentity, seconds: float) -> bool:
        """Keep it; return whether its account may come in. Others are kept apart, and push nobody out."""
        listed = identity.account in self._accounts.current()
        (self._cache if listed else self._strangers).put(key, identity, seconds)
        return listed


def _read(opened: Opened, partition: str) -> CallerIdentity | None:
    """Return what a replica was answered about exactly this request."""
    try:
        return decode_identity(opened.payload, partition=partition)
    except RecordError:
        return None


def request_digest(request: ValidatedRequest) -> bytes:
    """Digest every byte of a rebuilt request, each part with its length, so that no two requests share a digest."""
    parts = [request.form.value, request.method, request.endpoint.host, request.target]
    for name, value in request.headers:
        parts += (name, value)
    return hashlib.blake2b(frame(*parts, request.body), digest_size=_DIGEST_BYTES).digest()


def _seconds_until(moment: datetime, now: datetime) -> float:
    return (moment - now).total_seconds()
