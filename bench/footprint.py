"""What the service weighs: its cold start, and its memory with nothing, with many identities and with many accounts."""

import itertools
import statistics
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.emulator import Emulator
from bench.credentials import Signer, call_of, claim_of, presigned_urls
from bench.load import Generator
from bench.processes import Process, cpu_seconds, end, free_port, memory_mb
from bench.service import ACCOUNT, OWN_ROLE, service_environment, start_service

STARTS: Final = 5
CONNECTIONS: Final = 64
READ_ACCOUNTS: Final = 200
# So many identities fill the largest cache that holds one entry or key for each (docs/reference/limits.md).
FULL: Final = 100_000
_READER_ROLE: Final = "kuma-aws-iam-reader"
# What the service does behind /ready (its own account, clients) has settled by then.
_SETTLE_SECONDS: Final = 1.0
_BATCH: Final = 5_000
_MIB: Final = 1.048576


@dataclass(frozen=True, slots=True)
class Filling:
    """A service whose caches were filled.

    Attributes:
        identities: how many were cached in the end; a sidecar each, with keys of its own.
        first: identities of the first batch; what buffers and code take is there with it.
        warm: resident megabytes with the first batch.
        full: resident megabytes in the end.
    """

    identities: int
    first: int
    warm: float
    full: float

    def __str__(self) -> str:
        words = f"RSS with {self.identities:,} cached identities: {self.full:.1f} MB"
        if self.identities > self.first:
            each = (self.full - self.warm) * 1e6 / (self.identities - self.first)
            words += f"; beyond the first {self.first:,} of them {each:,.0f} bytes each"
        return words


@dataclass(frozen=True, slots=True)
class ReadAccounts:
    """What accounts that are read through reader roles take.

    Attributes:
        accounts: how many.
        memory: resident MiB that they add.
        cpu: processor seconds of each one's first decision: AssumeRole, STS and GetRole.
    """

    accounts: int
    memory: float
    cpu: float

    def __str__(self) -> str:
        return (
            f"{self.accounts} listed accounts, read through reader roles: {self.memory:.1f} MiB more, "
            f"{self.cpu * 1000:.1f} ms of processor time for the first decision of each"
        )


def cold_starts(emulator: Emulator, core: int, extra: Mapping[str, str]) -> list[float]:
    """Return the seconds from the start of the process to the first 200 of ``/ready``, several times."""
    return [_cold_start(service_environment(emulator, free_port(), extra), core) for _ in range(STARTS)]


def words_of_starts(starts: Iterable[float]) -> str:
    """Say them."""
    starts = list(starts)
    median, fastest, slowest = (round(pick(starts) * 1000) for pick in (statistics.median, min, max))
    return f"cold start to /ready: {median} ms, median of {len(starts)} ({fastest} to {slowest})"


def idle_memory(emulator: Emulator, core: int, extra: Mapping[str, str], hidden: Collection[str] = ()) -> float:
    """Return the resident megabytes of a service that was asked nothing, and that cannot import the hidden modules."""
    service = start_service(service_environment(emulator, free_port(), extra), core, hidden=hidden)
    try:
        time.sleep(_SETTLE_SECONDS)
        return memory_mb(service.pid)
    finally:
        end(service)


def fill(
    emulator: Emulator, generator: Generator, service: Process, port: int, *, identities: int, seconds: float
) -> Filling:
    """Fill the caches of a service over HTTP, for so many seconds at most.

    Every identity has keys of its own, as every sidecar has, so that what is remembered for each key is full as well.
    """
    filled, first, warm, deadline = 0, 0, memory_mb(service.pid), time.monotonic() + seconds
    urls = presigned_urls(emulator, identities, per_session=1)
    while filled < identities and time.monotonic() < deadline:
        batch = [call_of(url) for url in itertools.islice(urls, _BATCH)]
        generator.run(port, batch, CONNECTIONS).require(200)
        filled += len(batch)
        if not first:
            first, warm = filled, memory_mb(service.pid)
    return Filling(filled, first, warm, memory_mb(service.pid))


def read_accounts(
    emulator: Emulator, generator: Generator, core: int, extra: Mapping[str, str], accounts: int = READ_ACCOUNTS
) -> ReadAccounts:
    """Let a service decide about one sidecar in each of many accounts, all of them new to it."""
    others = [f"{200_000_000_000 + number}" for number in range(accounts)]
    trusted = (f"arn:aws:iam::{ACCOUNT}:role/{OWN_ROLE}",)
    for account in others:
        emulator.world.add_role(account, _READER_ROLE, trusted=trusted)
        tags = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": "demo-app"}
        emulator.world.add_role(account, "demo-app", tags=tags)
    port = free_port()
    reader = {"KMESH_AWSIAM_READER_ROLE_NAME": _READER_ROLE}
    service = start_service(service_environment(emulator, port, {**extra, **reader}, [ACCOUNT, *others]), core)
    try:
        # The code and the buffers that the first decisions of any account bring.
        warm = [call_of(url) for url in presigned_urls(emulator, CONNECTIONS * 4)]
        generator.run(port, warm, CONNECTIONS).require(200)
        time.sleep(_SETTLE_SECONDS)
        memory, cpu = memory_mb(service.pid), cpu_seconds(service.pid)
        generator.run(port, _calls_of(emulator, others), CONNECTIONS).require(200)
        added = (memory_mb(service.pid) - memory) / _MIB
        return ReadAccounts(accounts, added, (cpu_seconds(service.pid) - cpu) / accounts)
    finally:
        end(service)


def _calls_of(emulator: Emulator, accounts: Iterable[str]) -> list[bytes]:
    now = datetime.now(UTC)
    return [
        call_of(Signer(emulator.issue(account, "demo-app", "bench").frozen(), now).sign(), claim_of())
        for account in accounts
    ]


def _cold_start(environment: Mapping[str, str], core: int) -> float:
    began = time.perf_counter()
    service = start_service(environment, core)
    seconds = time.perf_counter() - began
    end(service)
    return seconds
