"""What the service weighs: its cold start, and its memory with nothing and with many identities in its cache."""

import itertools
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.emulator import Emulator
from bench.credentials import call_of, presigned_urls
from bench.load import Generator
from bench.processes import end, free_port, memory_mb
from bench.service import service_environment, start_service

STARTS: Final = 5
CONNECTIONS: Final = 64
# What the service does behind /ready (its own account, clients) has settled by then.
_SETTLE_SECONDS: Final = 1.0
_BATCH: Final = 5_000


@dataclass(frozen=True, slots=True)
class Footprint:
    """What was measured.

    Attributes:
        starts: seconds from the start of the process to the first 200 of ``/ready``.
        idle: resident megabytes of a service that was asked nothing.
        first: identities of the first batch; what buffers and code take is there with it.
        warm: resident megabytes with the first batch.
        identities: how many identities were cached in the end.
        full: resident megabytes then.
    """

    starts: list[float]
    idle: float
    first: int
    warm: float
    identities: int
    full: float

    def lines(self) -> list[str]:
        """Say it."""
        median, fastest, slowest = (round(pick(self.starts) * 1000) for pick in (statistics.median, min, max))
        lines = [
            f"cold start to /ready: {median} ms, median of {len(self.starts)} ({fastest} to {slowest})",
            f"RSS idle: {self.idle:.1f} MB",
        ]
        if self.identities:
            lines.append(f"RSS with {self.identities:,} cached identities: {self.full:.1f} MB")
        if self.identities > self.first:
            each = (self.full - self.warm) * 1e6 / (self.identities - self.first)
            lines[-1] += f"; beyond the first {self.first:,} of them {each:,.0f} bytes each"
        return lines


def measure(
    emulator: Emulator, generator: Generator, core: int, extra: Mapping[str, str], *, identities: int, seconds: float
) -> Footprint:
    """Start the service again and again, then fill one over HTTP, for so many seconds at most."""
    starts = [_cold_start(service_environment(emulator, free_port(), extra), core) for _ in range(STARTS)]
    port = free_port()
    service = start_service(service_environment(emulator, port, extra), core)
    try:
        time.sleep(_SETTLE_SECONDS)
        idle = memory_mb(service.pid)
        filled, first, warm, deadline = 0, 0, idle, time.monotonic() + seconds
        urls = presigned_urls(emulator, identities)
        while filled < identities and time.monotonic() < deadline:
            batch = [call_of(url) for url in itertools.islice(urls, _BATCH)]
            generator.run(port, batch, CONNECTIONS).require(200)
            filled += len(batch)
            if not first:
                first, warm = filled, memory_mb(service.pid)
        return Footprint(starts, idle, first, warm, filled, memory_mb(service.pid))
    finally:
        end(service)


def _cold_start(environment: Mapping[str, str], core: int) -> float:
    began = time.perf_counter()
    service = start_service(environment, core)
    seconds = time.perf_counter() - began
    end(service)
    return seconds
