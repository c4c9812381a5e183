"""Valid callers beside as many hostile ones: ``make bench-hostile``. At most a minute, on loopback alone.

The service has a core of its own. The emulated AWS, the valid and the hostile callers share the other one, each kind of
caller in a process of its own; AWS and the hostile ones run at a lower priority, so that they do not hold up the clock of
the valid ones. How late that clock's own timers were is printed: what it measured is no better than that.

Both loops are closed and think, as control planes do: a connection asks, waits for the answer, and pauses. The pause is
chosen from what a remembered decision costs the service here and now, so that the valid callers alone take `QUIET_SHARE` of
its core at the price of full load; paced, a call costs a third more. A hostile connection is as eager as a valid one. The
same valid connections are measured in both phases, and in the same run, since machines differ and drift: read the ratio.
"""

import asyncio
import itertools
import json
import os
import platform
import random
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from socket import IPPROTO_TCP, SO_LINGER, SOL_SOCKET, TCP_NODELAY, socket
from typing import Any, Final, Self, cast

import httptools
import uvloop
from botocore.credentials import ReadOnlyCredentials

from app.core.base64_text import decode_base64url
from app.core.credential import encode_native
from app.emulator.server import Emulator
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import find_endpoint, presign
from bench.load import post, run_load
from bench.processes import cpu_seconds, end, memory_mb, raise_open_files
from bench.service import service_environment, start_service

VALID: Final = 1_000
QUIET_SHARE: Final = 0.13
WARM_SECONDS: Final = 12.0
QUIET_SECONDS: Final = 10.0
MIXED_SECONDS: Final = 18.0
MOST_RATIO: Final = 3.0
MOST_GROWTH_MB: Final = 20.0
# Of the valid calls, these shares are new signatures of a known task, and first ones of a new task.
FRESH_SHARE: Final = 0.02
NEW_SHARE: Final = 0.003
FRESH: Final = 2_000
NEW: Final = 400
# Beside the lasting connections, callers that open a new one for each call; they come more often.
NEWCOMERS: Final = 20
NEWCOMER_PAUSE: Final = 0.25
# Hostile connections by what they do: 1,000.
HOSTILE: Final = {
    "garbage": 150,
    "invalid credential": 200,
    "forged, made-up keys": 120,
    "forged, a known key": 80,
    "deep JSON": 100,
    "200 MB announced": 70,
    "slow head": 100,
    "idle": 100,
    "half closed": 80,
}

_ACCOUNT: Final = "111122223333"
_PORT: Final = 15_690
_PATH: Final = "/v1/authenticate"
_CLAIM: Final = {"type": "dataplane", "mesh": "default", "tags": {"kuma.io/service": ["demo-app"]}}
_AUDIENCE: Final = "kuma-control-plane"
_KEY_CHARS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_OPEN_FILES: Final = 8_192
_TICK: Final = 0.01
_OK: Final = 200
_NICE: Final = 5
_PATIENCE: Final = 5.0


def main() -> int:
    """Measure, print, and return the exit status."""
    started = time.monotonic()
    raise_open_files(_OPEN_FILES)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with Emulator() as emulator:
        tasks = [_new_task(emulator) for _ in range(VALID)]
        hits = [_call(_sign(task, 900)) for task in tasks]
        calls = {
            "hit": hits,
            "fresh": [
                _call(_sign(task, 899 - number // VALID))
                for number, task in zip(range(FRESH), itertools.cycle(tasks), strict=False)
            ],
            "new": [_call(_sign(_new_task(emulator), 900)) for _ in range(NEW)],
        }
        service = start_service(service_environment(emulator, _PORT), cores[0])
        try:
            think, cost = _calibrate(service.pid, hits)
            return _measure(emulator, service.pid, calls, think, cost, started)
        finally:
            end(service)


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase showed.

    Attributes:
        valid: what the valid callers' process reports.
        hostile: calls and connections of hostile callers, by what they do and what came of it; empty in the quiet phase.
        cpu: the share of its core that the service used.
        memory: its resident megabytes at the end.
        forged_calls: calls to STS whose signature was refused.
    """

    valid: dict[str, Any]
    hostile: dict[str, dict[str, int]]
    cpu: float
    memory: float
    forged_calls: int


def _measure(
    emulator: Emulator, pid: int, calls: dict[str, list[str]], think: float, cost: float, started: float
) -> int:
    with _Worker("valid", 0) as valid, _Worker("hostile", _NICE) as hostile:
        _lower_priority_of_aws()
        valid.tell({"calls": calls, "think": think})
        hostile.tell({"call": calls["hit"][0], "think": think})
        valid.hear()
        hostile.hear()
        _phase(emulator, pid, WARM_SECONDS, valid, hostile)
        warm = memory_mb(pid)
        quiet = _phase(emulator, pid, QUIET_SECONDS, valid)
        mixed = _phase(emulator, pid, MIXED_SECONDS, valid, hostile)
    return _report(quiet, mixed, warm, think, cost, time.monotonic() - started)


def _phase(emulator: Emulator, pid: int, seconds: float, *workers: "_Worker") -> Phase:
    emulator.calls.clear()
    cpu, began = cpu_seconds(pid), time.monotonic()
    for worker in workers:
        worker.tell({"seconds": seconds})
    heard = [worker.hear() for worker in workers]
    used = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    forged = sum(
        emulator.calls.count("sts", outcome=outcome) for outcome in ("InvalidClientTokenId", "SignatureDoesNotMatch")
    )
    return Phase(heard[0], heard[1] if len(heard) > 1 else {}, used, memory_mb(pid), forged)


def _report(quiet: Phase, mixed: Phase, warm: float, think: float, cost: float, seconds: float) -> int:
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load "
        f"average {load:.1f}; {VALID:,} valid and {sum(HOSTILE.values()):,} hostile connections, each pauses {think:.2f} s; "
        f"a hit costs {cost * 1e6:.0f} us"
    )
    print(f"\n{'valid callers':26}{'quiet':>34}{'mixed':>34}")
    print(f"{'':26}" + f"{'calls':>10}{'p50 ms':>8}{'p99 ms':>8}{'max':>8}" * 2)
    for kind, words in (
        ("all", "all"),
        ("hit", "known"),
        ("fresh", "new signatures"),
        ("new", "first of a new task"),
        ("newcomer", "over a new connection"),
    ):
        print(f"{words:26}{_latencies(quiet.valid['kinds'][kind])}{_latencies(mixed.valid['kinds'][kind])}")
    print(f"{'errors':26}{quiet.valid['errors'] or 'none'!s:>34}{mixed.valid['errors'] or 'none'!s:>34}")
    print(f"{'p99 of its own timers, ms':26}{quiet.valid['lag']:34.2f}{mixed.valid['lag']:34.2f}")
    print(f"{'core of the service':26}{quiet.cpu:34.0%}{mixed.cpu:34.0%}")
    print(f"{'resident MB at the end':26}{quiet.memory:34.1f}{mixed.memory:34.1f}   (warm: {warm:.1f})")
    print("\nhostile connections, mixed phase")
    for kind, outcomes in mixed.hostile.items():
        print(f"  {kind:24} {', '.join(f'{outcome} {number:,}' for outcome, number in outcomes.items())}")
    forged = sum(sum(mixed.hostile[kind].values()) for kind in mixed.hostile if kind.startswith("forged"))
    print(f"  {forged:,} forged credentials cost {mixed.forged_calls:,} STS calls")
    ratio, ratio_new = (
        mixed.valid["kinds"][kind]["p99"] / quiet.valid["kinds"][kind]["p99"] for kind in ("all", "newcomer")
    )
    growth = mixed.memory - warm
    verdicts = [
        (f"p99 of valid callers: {ratio:.2f} times its quiet value (at most {MOST_RATIO:g})", ratio <= MOST_RATIO),
        (f"the same over new connections: {ratio_new:.2f} times", ratio_new <= MOST_RATIO),
        (f"errors of valid callers: {sum(mixed.valid['errors'].values())}", not mixed.valid["errors"]),
        (f"memory grew by {growth:.1f} MB (less than {MOST_GROWTH_MB:g})", growth < MOST_GROWTH_MB),
        ("no hostile call was approved", not any(str(_OK) in outcomes for outcomes in mixed.hostile.values())),
    ]
    print()
    for words, holds in verdicts:
        print(f"{'as promised' if holds else 'NOT AS PROMISED':16} {words}")
    print(f"\n{seconds:.0f} s")
    return 0 if all(holds for _, holds in verdicts) else 1


def _latencies(kind: dict[str, float]) -> str:
    return f"{kind['calls']:10,.0f}{kind['p50']:8.2f}{kind['p99']:8.2f}{kind['max']:8.1f}"


def _calibrate(pid: int, hits: list[str]) -> tuple[float, float]:
    """Fill the caches, and return the pause that leaves the service its share, and what a hit costs."""
    requests = [post(_PATH, hit.encode()) for hit in hits]
    uvloop.run(run_load("127.0.0.1", _PORT, requests, 64))
    before = cpu_seconds(pid)
    load = uvloop.run(run_load("127.0.0.1", _PORT, requests * 3, 64))
    if load.statuses != {_OK: len(requests) * 3}:
        raise SystemExit(f"unexpected answers: {load.statuses}")
    cost = (cpu_seconds(pid) - before) / (len(requests) * 3)
    return VALID * cost / QUIET_SHARE, cost


def _new_task(emulator: Emulator) -> ReadOnlyCredentials:
    return emulator.issue(_ACCOUNT, "demo-app", f"task-{random.getrandbits(64):x}").frozen()


def _sign(task: ReadOnlyCredentials, expires: int) -> str:
    return presign(task, find_endpoint(load_sts_endpoints(), "us-east-1"), audience=_AUDIENCE, expires=expires)


def _call(url: str) -> str:
    return json.dumps({"credential": encode_native(url), "proxy": _CLAIM})


def _lower_priority_of_aws() -> None:
    """Lower the priority of the emulator's thread alone; Linux has one for each thread."""
    for thread in threading.enumerate():
        if thread.name == "emulator" and thread.native_id is not None:
            own = os.getpriority(os.PRIO_PROCESS, thread.native_id)
            os.setpriority(os.PRIO_PROCESS, thread.native_id, own + _NICE)


class _Worker:
    """A process of this module that is told what to do, and tells what it saw, in lines of JSON."""

    def __init__(self, role: str, nice: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hostile", role, str(nice)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, message: dict[str, Any]) -> None:
        """Tell it something."""
        print(json.dumps(message), file=self._process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Wait for what it has to tell."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("a process of callers ended early")
        heard: dict[str, Any] = json.loads(line)
        return heard


# What runs in the processes of callers.


def work(role: str, nice: int) -> None:
    """Be the valid or the hostile callers until stdin ends."""
    os.nice(nice)
    raise_open_files(_OPEN_FILES)
    uvloop.run(_be_valid() if role == "valid" else _be_hostile())


async def _orders() -> AsyncIterator[dict[str, Any]]:
    """Yield what the process is told, to the end."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def _be_valid() -> None:
    orders = _orders()
    setup = await anext(orders)
    callers = _ValidCallers(setup["calls"], setup["think"])
    await callers.connect()
    _tell({})
    async for order in orders:
        _tell(await callers.run(order["seconds"]))


class _ValidCallers:
    """Connections of control planes; each has a proxy of its own whose credential it presents again and again."""

    def __init__(self, calls: dict[str, list[str]], think: float) -> None:
        self.think = think
        self.ends_at = 0.0
        self.seen: dict[str, list[float]] = {}
        self.newcomers: list[float] = []
        self.errors: Counter[str] = Counter()
        self._newcomer = post(_PATH, calls["hit"][0].encode())
        self._rare = {kind: iter([post(_PATH, call.encode()) for call in calls[kind]]) for kind in ("fresh", "new")}
        self._connections = [_ValidConnection(self, post(_PATH, call.encode())) for call in calls["hit"]]
        self._random = random.Random(1)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in self._connections:
            await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", _PORT)  # type: ignore[misc]

    def pause(self) -> float:
        return self.think * self._random.uniform(0.5, 1.5)

    def choose(self) -> tuple[str, bytes | None]:
        """Return what to present next: None for the connection's own."""
        drawn = self._random.random()
        kind = "new" if drawn < NEW_SHARE else "fresh" if drawn < NEW_SHARE + FRESH_SHARE else "hit"
        request = next(self._rare[kind], None) if kind != "hit" else None
        return (kind if request else "hit"), request

    async def _come_anew(self) -> None:
        """Present a known credential over a new connection, again and again."""
        loop = asyncio.get_running_loop()
        while loop.time() < self.ends_at:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(_PATIENCE):
                    reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
                    writer.write(self._newcomer)
                    status = await _read_status(reader)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.errors[f"newcomer {type(error).__name__}"] += 1
            else:
                _drop(writer)
                if status == str(_OK):
                    self.newcomers.append(time.perf_counter() - began)
                else:
                    self.errors[f"newcomer {status}"] += 1
            await asyncio.sleep(self.pause() * NEWCOMER_PAUSE)

    async def run(self, seconds: float) -> dict[str, Any]:
        self.newcomers = []
        self.seen, self.errors = {"hit": [], "fresh": [], "new": []}, Counter()
        loop = asyncio.get_running_loop()
        self.ends_at = loop.time() + seconds
        for connection in self._connections:
            connection.begin(self._random.uniform(0, self.think))
        newcomers = asyncio.gather(*(self._come_anew() for _ in range(NEWCOMERS)))
        lags = []
        while loop.time() < self.ends_at:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            lags.append(loop.time() - due)
        while any(connection.waits for connection in self._connections) and loop.time() < self.ends_at + _PATIENCE:
            await asyncio.sleep(_TICK)
        self.errors["no answer"] += sum(connection.waits for connection in self._connections)
        await newcomers
        seen = {**self.seen, "all": [*itertools.chain(*self.seen.values())], "newcomer": self.newcomers}
        return {
            "kinds": {kind: _summary(seconds) for kind, seconds in seen.items()},
            "errors": {error: number for error, number in self.errors.items() if number},
            "lag": _percentile(sorted(lags), 0.99) * 1000,
        }


class _ValidConnection(asyncio.Protocol):
    def __init__(self, callers: _ValidCallers, own: bytes) -> None:
        self.waits = False
        self._callers = callers
        self._own = own
        self._parser = httptools.HttpResponseParser(self)
        self._kind = "hit"
        self._sent_at = 0.0
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def connection_lost(self, _error: Exception | None) -> None:
        self._callers.errors["connection lost"] += 1

    def begin(self, after: float) -> None:
        """Begin a phase; what the last one has still in mind is forgotten, or there would be two loops."""
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(after, self._ask)

    def _ask(self) -> None:
        if asyncio.get_running_loop().time() >= self._callers.ends_at or self._transport.is_closing():
            return
        self._kind, request = self._callers.choose()
        self.waits = True
        self._sent_at = time.perf_counter()
        self._transport.write(request or self._own)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.waits = False
        status = self._parser.get_status_code()
        if status == _OK:
            self._callers.seen[self._kind].append(time.perf_counter() - self._sent_at)
        else:
            self._callers.errors[f"{self._kind} {status}"] += 1
        self.begin(self._callers.pause())


def _summary(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "calls": len(ordered),
        "p50": _percentile(ordered, 0.5) * 1000,
        "p99": _percentile(ordered, 0.99) * 1000,
        "max": _percentile(ordered, 1.0) * 1000,
    }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def _be_hostile() -> None:
    orders = _orders()
    setup = await anext(orders)
    attacker = _Attacker(setup["call"], setup["think"])
    _tell({})
    async for order in orders:
        _tell(await attacker.run(order["seconds"]))


@dataclass(slots=True)
class _Attacker:
    """Hostile connections.

    Attributes:
        call: a valid call; what is made up is made from it.
        think: seconds between two calls of one connection.
    """

    call: str
    think: float
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(2))

    async def run(self, seconds: float) -> dict[str, dict[str, int]]:
        self.seen = {kind: Counter() for kind in HOSTILE}
        attacks: dict[str, Callable[[str], Awaitable[None]]] = {
            "garbage": self._post(self._garbage()),
            "invalid credential": self._post(self._invalid()),
            "forged, made-up keys": self._post(self._forged(known=False)),
            "forged, a known key": self._post(self._forged(known=True)),
            "deep JSON": self._post(itertools.repeat(b'{"credential":' + b"[" * 30_000)),
            "200 MB announced": self._announce,
            "slow head": self._dribble,
            "idle": self._idle,
            "half closed": self._half_close,
        }
        tasks = [
            asyncio.create_task(self._repeat(kind, attacks[kind]))
            for kind, number in HOSTILE.items()
            for _ in range(number)
        ]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if not isinstance(error, asyncio.CancelledError):
                raise RuntimeError("an attack ended by itself") from error
        return {kind: dict(outcomes) for kind, outcomes in self.seen.items()}

    async def _repeat(self, kind: str, attack: Callable[[str], Awaitable[None]]) -> None:
        await asyncio.sleep(self._random.uniform(0, self.think))
        while True:
            try:
                await attack(kind)
            except (
                OSError,
                asyncio.IncompleteReadError,
                RuntimeError,
            ):  # uvloop raises the last one on a closed transport
                self.seen[kind]["closed"] += 1
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self.think * self._random.uniform(0.5, 1.5))

    def _post(self, bodies: Iterator[bytes]) -> Callable[[str], Awaitable[None]]:
        """Return an attack that posts bodies over one connection for as long as it lasts."""

        async def attack(kind: str) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
            try:
                while not reader.at_eof():
                    writer.write(post(_PATH, next(bodies)))
                    self.seen[kind][await _read_status(reader)] += 1
                    await self._pause()
            finally:
                _drop(writer)

        return attack

    def _garbage(self) -> Iterator[bytes]:
        while True:
            yield self._random.randbytes(self._random.randint(1, 4000))

    def _invalid(self) -> Iterator[bytes]:
        url = _url_of(self.call)
        spoiled = [
            url.replace("sts.us-east-1", "sts.us-east-1.evil"),
            url.replace("GetCallerIdentity", "AssumeRole"),
            url.replace("host%3Bx-kuma-audience", "host"),
            url.replace("X-Amz-Date=20", "X-Amz-Date=19"),
            url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000"),
            url[: len(url) // 2],
        ]
        calls = [_call(text).encode() for text in spoiled]
        calls.append(json.dumps({"credential": "x" * 11_000}).encode())
        return itertools.cycle(calls)

    def _forged(self, *, known: bool) -> Iterator[bytes]:
        url = _url_of(self.call)
        before, key_and_rest = url.split("X-Amz-Credential=", 1)
        key, rest = key_and_rest.split("%2F", 1)
        while True:
            key_id = key if known else "ASIA" + "".join(self._random.choices(_KEY_CHARS, k=16))
            signature = self._random.randbytes(32).hex()
            yield _call(f"{before}X-Amz-Credential={key_id}%2F{rest[:-64]}{signature}").encode()

    async def _announce(self, kind: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
        try:
            writer.write(_head(200_000_000) + b"x" * 262_144)
            self.seen[kind][await _read_status(reader)] += 1
        finally:
            _drop(writer)

    async def _dribble(self, kind: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
        try:
            for byte in _head(100):
                if reader.at_eof():
                    self.seen[kind]["closed"] += 1
                    return
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.5)
        finally:
            _drop(writer)

    async def _idle(self, kind: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
        try:
            await reader.read()
            self.seen[kind]["closed"] += 1
        finally:
            _drop(writer)

    async def _half_close(self, kind: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", _PORT)
        try:
            request = post(_PATH, self.call.encode())
            writer.write(request[: self._random.randint(1, len(request) - 1)])
            writer.write_eof()
            await reader.read()
            self.seen[kind]["closed"] += 1
        finally:
            _drop(writer)


async def _read_status(reader: asyncio.StreamReader) -> str:
    """Read one answer, and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length or b"0"))
    return head.split(b" ", 2)[1].decode()


def _drop(writer: asyncio.StreamWriter) -> None:
    """Close without leaving a port behind that waits: there would be thousands."""
    connection = cast("socket | None", writer.get_extra_info("socket"))
    if connection is not None and not writer.is_closing():
        connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


def _head(length: int) -> bytes:
    return f"POST {_PATH} HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


def _url_of(call: str) -> str:
    credential: str = json.loads(call)["credential"]
    return decode_base64url(credential.partition(".")[2]).decode("ascii")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(main())
