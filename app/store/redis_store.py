"""A `Store` in Redis or Valkey: sealed records under hashed names, and budgets.

The store is not trusted. `app.store.sealing` opens its records; a record that does not open counts as missing.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final

from redis.exceptions import NoScriptError, ResponseError

from app.local.clock import Clock, Timer
from app.store.budget import SCRIPT, SCRIPT_ID, read_wait, script_arguments
from app.store.keys import StoreKeySource
from app.store.link import NoReply, Reply, StoreLink
from app.store.port import Store, StoreOptions
from app.store.redis_connection import connection_factory, peer_of
from app.store.sealing import (
    MAX_IDENTITY_SECONDS,
    NONCE_BYTES,
    Fault,
    Kind,
    Opened,
    SealError,
    SealingKey,
    open_sealed,
    seal,
)
from app.telemetry.audit import get_logger
from app.telemetry.log_limiter import LogLimiter
from app.telemetry.metrics import Metrics, StoreOperation, StoreResult

# How long the service waits for the connection to the store when it starts.
START_SECONDS: Final = 1.0
# The record of a role with 50 tags of maximal length takes 20 kB.
MAX_RECORD_BYTES: Final = 32 * 1024
LOG_SECONDS: Final = 10.0
_PREFIX: Final = "kuma-aws-iam:"
# A look-up under two keys has two results. The metric counts only the one that comes first in this list.
_BY_WEIGHT: Final[tuple[StoreResult, ...]] = ("hit", "rejected", "failed", "skipped", "miss")


class RedisStore:
    """See `app.store.port.Store`."""

    def __init__(
        self,
        options: StoreOptions,
        keys: StoreKeySource,
        metrics: Metrics,
        clock: Clock,
        timer: Timer = time.monotonic,
    ) -> None:
        new_connection = connection_factory(options.address, options.ca_file)
        self._link = StoreLink(new_connection, peer_of(options.address), answer_seconds=options.answer_seconds)
        self._keys = keys
        self._clock = clock
        self._max_seconds: dict[Kind, float] = {"identity": MAX_IDENTITY_SECONDS, "role": options.max_role_seconds}
        self._count = metrics.store_request
        # Another party could write many bad records.
        self._limiter = LogLimiter(LOG_SECONDS, timer)

    async def start(self) -> None:
        """Start to connect, and wait at most `START_SECONDS` for the connection."""
        self._link.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._link.connected()

    async def connected(self) -> None:
        """Wait until the store answers."""
        await self._link.connected()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._link.aclose()

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        """See `Store`. During a replacement of keys, both keys may have a record. Then this returns the later record."""
        keys = self._keys.keys
        # GETRANGE includes its end, so this asks for one byte more than the limit. That is enough to detect a longer record.
        asked = [self._link.ask("GETRANGE", _name(each, kind, key), 0, MAX_RECORD_BYTES) for each in keys]
        found: list[Opened] = []
        results: set[StoreResult] = set()
        for reply in [await future for future in asked]:
            if isinstance(reply, bytes) and reply:
                try:
                    found.append(self._open(reply, keys, kind, key))
                    results.add("hit")
                except SealError as error:
                    results.add(self._reject(kind, error.fault))
            else:
                results.add(self._result_of(kind, reply))
        self._count("get", next(result for result in _BY_WEIGHT if result in results))
        return max(found, key=lambda opened: opened.written_at, default=None)

    def put(self, kind: Kind, key: bytes, payload: bytes, seconds: float) -> None:
        """See `Store`."""
        seconds = min(seconds, self._max_seconds[kind])
        milliseconds = int(seconds * 1000)
        if milliseconds < 1:
            return
        sealing_key, now = self._keys.keys[0], self._clock().timestamp()
        sealed = seal(
            sealing_key,
            kind,
            key,
            payload,
            written_at=now,
            expires_at=now + seconds,
            nonce=secrets.token_bytes(NONCE_BYTES),
        )
        if len(sealed) > MAX_RECORD_BYTES:
            self._count("put", "skipped")
            return
        self._send("put", "SET", _name(sealing_key, kind, key), sealed, "PX", milliseconds)

    async def delete(self, kind: Kind, key: bytes) -> None:
        """See `Store`."""
        # Shielded, so that the command is sent even if the caller is cancelled meanwhile.
        await asyncio.shield(self._send("delete", "DEL", *(_name(each, kind, key) for each in self._keys.keys)))

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:
        """See `Store`."""
        name = self._claim_name(kind, key)
        reply = await self._link.ask("SET", name, b"", "NX", "PX", max(1, int(seconds * 1000)))
        self._count("claim", "miss" if reply is None else _end_of(reply))
        return reply is not None

    def release(self, kind: Kind, key: bytes) -> None:
        """See `Store`."""
        self._send("delete", "DEL", self._claim_name(kind, key))

    def _claim_name(self, kind: Kind, key: bytes) -> str:
        # During a replacement of keys all replicas have both keys, but perhaps in a different order. So all of them use the
        # name that sorts first.
        return min(_name(each, f"claim of {kind}", key) for each in self._keys.keys)

    async def take(self, budget: str, rate: float, burst: float) -> float:
        """See `Store`. During a replacement of keys the budget has two names, and a turn is taken from both."""
        arguments = script_arguments(rate, burst)
        names = [_name(each, "budget", budget.encode()) for each in self._keys.keys]
        return max(await asyncio.gather(*(self._take(name, arguments) for name in names)))

    async def _take(self, name: str, arguments: tuple[int, int, int]) -> float:
        reply = await self._link.ask("EVALSHA", SCRIPT_ID, 1, name, *arguments)
        if isinstance(reply, NoScriptError):
            reply = await self._link.ask("EVAL", SCRIPT, 1, name, *arguments)
        wait = read_wait(reply)
        self._count("take", "done" if wait is not None else _failure_of(reply))
        return wait or 0.0

    def _send(self, operation: StoreOperation, *command: str | bytes | int) -> asyncio.Future[Reply]:
        """Send a command whose reply no caller needs, and count its result."""
        future = self._link.ask(*command)
        future.add_done_callback(lambda done: self._count(operation, _end_of(done.result())))
        return future

    def _open(self, sealed: bytes, keys: Iterable[SealingKey], kind: Kind, key: bytes) -> Opened:
        if len(sealed) > MAX_RECORD_BYTES:
            raise SealError(Fault.MALFORMED)
        now, max_seconds = self._clock().timestamp(), self._max_seconds[kind]
        return open_sealed(sealed, keys, kind, key, now=now, max_seconds=max_seconds)

    def _result_of(self, kind: Kind, reply: Reply) -> StoreResult:
        if reply == b"":
            return "miss"
        if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
            return self._reject(kind, Fault.MALFORMED)
        return _failure_of(reply)

    def _reject(self, kind: Kind, fault: Fault) -> StoreResult:
        """Return the result for a rejected record.

        A record that has just expired by this host's clock is an ordinary miss. Every other fault is logged: no replica with
        these settings and a correct clock writes such a record.
        """
        if fault is Fault.EXPIRED:
            return "miss"
        unlogged = self._limiter.note()
        if unlogged is not None:
            get_logger().error(
                "store record rejected",
                kind=kind,
                fault=fault.value,
                remedy="another party writes to the store, or a replica has other settings or a wrong clock",
                more_since_last_line=unlogged,
            )
        return "rejected"


def _name(key: SealingKey, kind: str, cache_key: bytes) -> str:
    return _PREFIX + key.name(kind, cache_key)


def _end_of(reply: Reply) -> StoreResult:
    """Return the result of a command whose reply is a word or a number."""
    return "done" if isinstance(reply, bytes | int) else _failure_of(reply)


def _failure_of(reply: Reply) -> StoreResult:
    """Return the result for a reply that does not fit its command."""
    if reply is NoReply.SKIPPED:
        return "skipped"
    return "failed" if isinstance(reply, NoReply | ResponseError) else "rejected"


@contextlib.asynccontextmanager
async def open_store(
    options: StoreOptions, keys: StoreKeySource, metrics: Metrics, clock: Clock
) -> AsyncIterator[Store]:
    """Connect inside the running event loop, and wait for the connection for at most `START_SECONDS`.

    With a connection, the first decisions of a new replica can use the answers in the store. If the store does not answer,
    the service starts anyway, and the attempts to connect continue.
    """
    store = RedisStore(options, keys, metrics, clock)
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()
