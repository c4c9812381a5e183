"""Replicas that share a real store, and an intruder who can write to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import redis

from app.store.keys import StoreKeySource, read_store_key_file
from app.store.port import StoreOptions
from app.store.redis_store import RedisStore
from app.store.sealing import Kind
from app.store.url import StoreAddress
from app.telemetry.metrics import Metrics
from tests.support.exposition import Labels, read_samples
from tests.support.patience import PATIENCE
from tests.support.redis_server import RedisServer, write_key_file

SECRET, OTHER_SECRET = bytes(range(32)), bytes(range(32, 64))
MAX_ROLE_SECONDS: Final = 3600.0
REQUESTS: Final = "kuma_aws_iam_store_requests_total"


@dataclass
class Clocks:
    """The clocks of a test's replicas."""

    now: float = 1_795_500_000.0
    timer: float = 100.0

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def monotonic(self) -> float:
        return self.timer


@dataclass
class Replica:
    """The store as one replica uses it."""

    store: RedisStore
    keys: StoreKeySource
    metrics: Metrics = field(repr=False)

    async def put(self, kind: Kind, key: bytes, payload: bytes, seconds: float) -> None:
        """Put a value, and wait until the store has it: requests on one link are processed in order."""
        self.store.put(kind, key, payload, seconds)
        await self.store.delete(kind, b"nothing is called like this")

    async def payload(self, kind: Kind, key: bytes) -> bytes | None:
        opened = await self.store.get(kind, key)
        return None if opened is None else opened.payload

    def counted(self, operation: str) -> dict[str, float]:
        """Return how many requests of an operation ended in which way, without zeros."""
        samples = read_samples(self.metrics.expose().decode())
        found: dict[Labels, float] = {labels: number for (name, labels), number in samples.items() if name == REQUESTS}
        return {
            dict(labels)["result"]: number
            for labels, number in found.items()
            if number and dict(labels)["operation"] == operation
        }


@asynccontextmanager
async def replica(
    folder: Path,
    address: StoreAddress,
    clocks: Clocks,
    *,
    secrets: tuple[bytes, ...] = (SECRET,),
    ca_file: Path | None = None,
    is_up: bool = True,
    answer_seconds: float = PATIENCE,
) -> AsyncIterator[Replica]:
    """Open a replica that waits long for the store's answers, because other tests may use the processors."""
    keys = StoreKeySource(read_store_key_file(str(write_key_file(folder, *secrets))))
    metrics = Metrics()
    options = StoreOptions(
        address=address,
        ca_file=None if ca_file is None else str(ca_file),
        max_role_seconds=MAX_ROLE_SECONDS,
        answer_seconds=answer_seconds,
    )
    store = RedisStore(options, keys, metrics, clocks.clock, clocks.monotonic)
    await store.start()
    try:
        if is_up:
            async with asyncio.timeout(PATIENCE):
                await store.connected()
        yield Replica(store, keys, metrics)
    finally:
        await store.aclose()


class Intruder:
    """Somebody who can read and write everything in the store, but has no key."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def run(self, *command: str | bytes) -> None:
        self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    def names(self) -> list[bytes]:
        return sorted(name for name in self.client.scan_iter() if isinstance(name, bytes))

    def only_name(self) -> bytes:
        (name,) = self.names()
        return name

    def read(self, name: bytes) -> bytes:
        content = self.client.get(name)
        assert isinstance(content, bytes)
        return content


@contextlib.contextmanager
def intruder(server: RedisServer) -> Iterator[Intruder]:
    client = redis.Redis(unix_socket_path=str(server.address.path))
    try:
        yield Intruder(client)
    finally:
        client.close()
