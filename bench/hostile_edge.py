"""Hostile clients of the HTTP edge beside one valid caller: ``make bench-hostile``. About a minute, on loopback alone.

Three floods, with default settings: idle connections and eager scrapers on the diagnostics, callers without a token, and
bodies that are made to be expensive. The service has a core of its own. The hostile clients run in a process of their own,
at a lower priority, on the other core, which they share with the valid caller. Machines differ and drift: read the ratios.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import uvloop

from app.emulator.server import Emulator
from bench.hostile import _call, _new_task, _sign
from bench.load import PATH, post
from bench.processes import cpu_seconds, end, free_port, raise_open_files
from bench.service import service_environment, start_service

IDLE: Final = 500
SCRAPERS: Final = 60
UNKNOWN: Final = 300
HITS: Final = 400
PROBES: Final = 20
MOST_PROBE_SECONDS: Final = 1.0
MOST_P50_RATIO: Final = 2.0
MOST_HITS: Final = 10.0

_ROUNDS: Final = 7
_BODIES: Final = 8
_PAUSE: Final = 0.005
_SETTLE_SECONDS: Final = 3.0
_REOPEN_SECONDS: Final = 0.5
_PATIENCE: Final = 10.0
_OPEN_FILES: Final = 8_192
_NICE: Final = 5
_BODY_BYTES: Final = 60_000
_OK: Final = b"http/1.1 200 "
_UNAUTHORIZED: Final = b"http/1.1 401 "
_GET: Final = "GET {} HTTP/1.1\r\nHost: service\r\n\r\n"

Verdict = tuple[str, str, str, bool]  # what, the measured value, its bound, whether the value is within the bound
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def main() -> int:
    """Measure, print each value beside its bound, and return the exit status."""
    began = time.monotonic()
    raise_open_files(_OPEN_FILES)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    verdicts: list[Verdict] = []
    with Emulator() as emulator:
        hit = post(PATH, _call(_sign(_new_task(emulator), 900)).encode())
        for words, own_listener in (("diagnostics on their own", True), ("diagnostics beside the API", False)):
            port, diagnostics = free_port(), free_port()
            extra = {"KMESH_AWSIAM_DIAGNOSTICS_LISTEN": f"127.0.0.1:{diagnostics}"} if own_listener else {}
            with _serving(emulator, port, cores[0], extra):
                verdicts += uvloop.run(_diagnostics(words, port, diagnostics if own_listener else port, hit))
        with _token_file() as token_file:
            port, extra = free_port(), {"KMESH_AWSIAM_CALLER_TOKEN_FILE": token_file}
            with _serving(emulator, port, cores[0], extra):
                verdicts.append(uvloop.run(_unknown_callers(port)))
        port = free_port()
        with _serving(emulator, port, cores[0], {}) as pid:
            verdicts += uvloop.run(_bodies(port, pid, hit))
    print(f"\n{'':16}{'':52}{'measured':>18}{'bound':>18}")
    for what, measured, bound, holds in verdicts:
        print(f"{'as promised' if holds else 'NOT AS PROMISED':16}{what:52}{measured:>18}{bound:>18}")
    print(f"\n{time.monotonic() - began:.0f} s, load average {os.getloadavg()[0]:.1f}")
    return 0 if all(holds for *_, holds in verdicts) else 1


@contextlib.contextmanager
def _serving(emulator: Emulator, port: int, core: int, extra: dict[str, str]) -> Iterator[int]:
    environment = service_environment(emulator, port, extra)
    ready_at = environment.get("KMESH_AWSIAM_DIAGNOSTICS_LISTEN", environment["KMESH_AWSIAM_LISTEN"])
    service = start_service(environment, core, ready_at=int(ready_at.rpartition(":")[2]))
    try:
        yield service.pid
    finally:
        end(service)


@contextlib.contextmanager
def _token_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokens")
        path.write_text(f"{'t' * 40}\n", encoding="ascii")
        path.chmod(0o600)
        yield str(path)


# Diagnostics.


async def _diagnostics(words: str, port: int, diagnostics: int, hit: bytes) -> list[Verdict]:
    """Measure hits and probes, alone and beside the flood."""
    async with _caller(port) as caller:
        await _hits(caller, hit)  # the first ones fill the caches
        quiet = await _hits(caller, hit)
        flood = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.hostile_edge", str(diagnostics))
        try:
            await asyncio.sleep(_SETTLE_SECONDS)
            probing = asyncio.create_task(_probe(diagnostics))
            mixed = await _hits(caller, hit)
            slowest = await probing
        finally:
            flood.kill()
            await flood.wait()
    ratio = mixed / quiet
    bound = f"{MOST_PROBE_SECONDS:.0f} s"
    return [
        (f"{words}: slowest probe", f"{slowest:.3f} s", bound, slowest <= MOST_PROBE_SECONDS),
        (
            f"{words}: p50 of a hit",
            f"{ratio:.2f} x {quiet * 1000:.2f} ms",
            f"{MOST_P50_RATIO:.0f} x",
            ratio <= MOST_P50_RATIO,
        ),
    ]


async def _hits(caller: Stream, hit: bytes) -> float:
    """Return the median seconds of a hit; the measurement of all hits takes 10 s at most."""
    seconds = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            for _ in range(HITS):
                began = time.perf_counter()
                if not (await _answer(caller, hit)).startswith(_OK):
                    raise SystemExit("a hit was not answered 200")
                seconds.append(time.perf_counter() - began)
                await asyncio.sleep(_PAUSE)
    return statistics.median(seconds) if seconds else _PATIENCE


async def _probe(port: int) -> float:
    """Return the time of the slowest of some probes, each over a new connection, like a health check."""
    seconds = []
    for _ in range(PROBES):
        began = time.perf_counter()
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PATIENCE), _caller(port) as probe:
                await _answer(probe, _GET.format("/healthy").encode())
                seconds.append(time.perf_counter() - began)
                await asyncio.sleep(_PAUSE)
                continue
        return _PATIENCE
    return max(seconds)


def flood(port: int) -> None:
    """Open the idle connections and run the scrapers, until the process is killed."""
    os.nice(_NICE)
    raise_open_files(_OPEN_FILES)
    uvloop.run(_flood(port))


async def _flood(port: int) -> None:
    idle = [_stay_idle(port, asked=bool(number % 2)) for number in range(IDLE)]
    await asyncio.gather(*idle, *(_scrape(port) for _ in range(SCRAPERS)))


async def _stay_idle(port: int, *, asked: bool) -> None:
    """Keep a connection open, and open a new one when it is closed."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with _caller(port) as connection:
                if asked:
                    await _answer(connection, _GET.format("/healthy").encode())
                await connection[0].read()
        await asyncio.sleep(_REOPEN_SECONDS)


async def _scrape(port: int) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with _caller(port) as connection:
                while True:
                    await _answer(connection, _GET.format("/metrics").encode())


# Callers without a token.


async def _unknown_callers(port: int) -> Verdict:
    """Count the connections that are still open after a 401."""
    call = post(PATH, b'{"credential":"x"}')
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(_caller(port)) for _ in range(UNKNOWN)]
        for caller in callers:
            if not (await _answer(caller, call)).startswith(_UNAUTHORIZED):
                raise SystemExit("a caller without a token was not answered 401")
        await asyncio.sleep(1)
        for caller in callers:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(0.001):
                    await caller[0].read()
        held = sum(not reader.at_eof() for reader, _ in callers)
    return "places of unknown callers 1 s behind their 401", f"{held} of {UNKNOWN}", "0", held == 0


# Bodies.


def _fill(item: str, length: int = _BODY_BYTES) -> str:
    return ",".join([item] * (length // (len(item) + 1)))


def _numbered(value: str, number: int) -> str:
    return ",".join(f'"{each:x}":{value}' for each in range(number))


def bodies() -> dict[str, str]:
    """Return bodies that a client can make expensive."""

    def proxy(members: str) -> str:
        return f'{{"credential":"x","proxy":{{"type":"dataplane","mesh":"default",{members}}}}}'

    return {
        "30,000 wrong values of a tag": proxy(f'"tags":{{"k":[{_fill("1")}]}}'),
        "20,000 objects as values": proxy(f'"tags":{{"k":[{_fill("{}")}]}}'),
        "fractions": proxy(f'"tags":{{"k":[{_fill("0.1")}]}}'),
        "tags without a list": proxy(f'"tags":{{{_numbered("1", 5900)}}}'),
        "tags with an empty list": proxy(f'"tags":{{{_numbered("[]", 5300)}}}'),
        "256 tags with wrong values": proxy(f'"tags":{{{_numbered("[" + "1," * 63 + "1]", 256)}}}'),
        "wrong labels": proxy(f'"labels":{{{_numbered("1", 5900)}}}'),
        "labels with objects": proxy(f'"labels":{{{_numbered("{}", 5300)}}}'),
        "labels that are too long": proxy(f'"labels":{{{_numbered(chr(34) + "v" * 254 + chr(34), 225)}}}'),
        "unknown members": f'{{"credential":"x",{_numbered("1", 5900)}}}',
        "unknown members of the proxy": proxy(_numbered("1", 5900)),
        "a member many times": f'{{"credential":"x",{_fill(chr(34) + "a" + chr(34) + ":1")}}}',
        "values behind a second member": proxy(f'"tags":{{"k":[{_fill("1")}]}},"tags":{{}}'),
        "deep lists": '{"credential":' + "[" * 30_000 + "]" * 30_000 + "}",
        "lists of deep lists": f'{{"credential":[{_fill("[" * 400 + "]" * 400)}]}}',
        "a long credential": f'{{"credential":"{"x" * _BODY_BYTES}"}}',
        "a credential of escapes": f'{{"credential":"{chr(92) + "u0041"}{(chr(92) + "n") * 29_000}"}}',
        "256 tags of 60 values, 256 labels": proxy(
            f'"labels":{{{_numbered(chr(34) * 2, 256)}}},"tags":{{{_numbered("[" + _fill(chr(34) * 2, 180) + "]", 256)}}}'
        ),
    }


async def _bodies(port: int, pid: int, hit: bytes) -> list[Verdict]:
    """Return the processor time of each body, as a multiple of a hit's at the same moment."""
    verdicts = []
    for words, body in bodies().items():
        request = post(PATH, body.encode())
        ratios = []
        for _ in range(_ROUNDS):
            cost = await _cost(port, pid, [hit] * 50)
            ratios.append(await _cost(port, pid, [request] * _BODIES) / cost)
        ratio = statistics.median(ratios)
        verdicts.append((f"a body: {words}", f"{ratio:.1f} hits", f"{MOST_HITS:.0f} hits", ratio <= MOST_HITS))
    return verdicts


async def _cost(port: int, pid: int, requests: list[bytes]) -> float:
    """Return the processor seconds of a call, over one connection, or over a new one if the service closes it."""
    before = cpu_seconds(pid)
    pending = iter(requests)
    request = next(pending, None)
    while request is not None:
        async with _caller(port) as caller:
            closes = False
            while request is not None and not closes:
                closes = b"\r\nconnection: close\r\n" in await _answer(caller, request)
                request = next(pending, None)
    return (cpu_seconds(pid) - before) / len(requests)


# A client.


@contextlib.asynccontextmanager
async def _caller(port: int) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _answer(caller: Stream, request: bytes) -> bytes:
    """Send a request, read its answer, and return its head in lower case."""
    reader, writer = caller
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length or b"0"))
    return head


if __name__ == "__main__":
    if len(sys.argv) > 1:
        flood(int(sys.argv[1]))
    else:
        sys.exit(main())
