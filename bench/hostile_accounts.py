"""Invented key ids beside valid callers, with default settings: ``python -m bench.hostile_accounts``, in 2.5 minutes.

Anybody who reaches the service can present well-formed credentials with invented key ids. The key id names an account, and
the credential names a host of STS. So each attack sends 1,000 of them a second: all of one listed account, of fifty, of no
listed account, and of one account at all hosts of STS but one, which hang. Meanwhile valid callers renew credentials of
known keys, of the attacked account and of another one, and new tasks of that other account come for the first time. None of
their calls may be refused, and the p99 of each kind may be no more than the larger of 60 ms and three times its quiet value.

STS answers within 20 ms. The service has a core of its own; the emulated AWS, the valid callers and the attacker share the
other one, each of the last two in a process of its own. Each call is sent when it is due, whatever earlier calls do (open
loop), and its latency counts from the moment when it was due. The output says how late the valid callers' timers were.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import httptools
import uvloop

from app.core.base64_text import decode_base64url
from app.core.credential import encode_native
from app.emulator import Emulator
from app.emulator.identities import new_access_key_id
from app.emulator.world import World
from app.sts.endpoints import load_sts_endpoints
from bench.credentials import HOST, LONGEST, PER_SESSION, REGION, Signer, call_of, claim_of
from bench.load import PATH, post
from bench.processes import cores, cpu_seconds, end, free_port, memory_mb, on_core, raise_open_files
from bench.service import ACCOUNT, OWN_ROLE, service_environment, start_service

ATTACKS_A_SECOND: Final = 1_000
STS_LATENCY: Final = 0.02
LONG_SECONDS: Final = 60.0
SHORT_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 15.0
PAUSE_SECONDS: Final = 3.0
MOST_MILLISECONDS: Final = 60.0
MOST_RATIO: Final = 3.0
OTHER: Final = "444455556666"
STRANGER: Final = "999988887777"
FIFTY: Final = (ACCOUNT, *(f"{number:012}" for number in range(300_000_000_001, 300_000_000_050)))
ROLE: Final = "app-000"

# Calls a second of each kind of valid callers.
RENEWED, RENEWED_OTHER, NEW_OTHER, KNOWN = (
    "renewed, the attacked account",
    "renewed, another account",
    "new task, another account",
    "known credential",
)
RATES: Final = {RENEWED: 20, RENEWED_OTHER: 20, NEW_OTHER: 10, KNOWN: 50}
_TASKS: Final = 40
_READER_ROLE: Final = "kuma-aws-iam-reader"
_EXTERNAL_ID: Final = "kuma-control-plane"
_OK: Final = 200
_UNDECIDED: Final = 503
_OPEN_FILES: Final = 16_384
_MOST_CONNECTIONS: Final = 6_000
_TICK: Final = 0.005
_PATIENCE: Final = 12.0
_NICE: Final = 5


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile_accounts")
    parser.add_argument(
        "--seconds", type=float, default=LONG_SECONDS, help="of the first attack (default: %(default)s)"
    )
    parser.add_argument(
        "--others", type=float, default=SHORT_SECONDS, help="of each other attack (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=int, default=ATTACKS_A_SECOND, help="of an attack (default: %(default)s a second)"
    )
    options = parser.parse_args()
    raise_open_files(_OPEN_FILES)
    service_core, own_core = cores()
    attacks = _attacks(options.rate, options.seconds, options.others)
    with on_core(own_core), Emulator(_world()) as emulator, _Front(emulator.url) as front:
        emulator.faults.sts.latency = STS_LATENCY
        seconds = QUIET_SECONDS + sum(seconds for _, _, seconds in attacks) + 10
        calls = {kind: list(itertools.islice(made, int(RATES[kind] * seconds))) for kind, made in _calls(emulator)}
        port = free_port()
        settings = {
            "AWS_ENDPOINT_URL_STS": front.url,
            "KMESH_AWSIAM_READER_ROLE_NAME": _READER_ROLE,
            "KMESH_AWSIAM_READER_EXTERNAL_ID": _EXTERNAL_ID,
        }
        service = start_service(service_environment(emulator, port, settings, accounts=[*FIFTY, OTHER]), service_core)
        try:
            return _measure(service.pid, port, calls, attacks, emulator)
        finally:
            end(service)


def _attacks(rate: int, first: float, others: float) -> list[tuple[str, dict[str, Any], float]]:
    here = [(HOST, REGION)]
    elsewhere = [
        (each.host, each.signing_region)
        for each in load_sts_endpoints()
        if each.partition == "aws" and each.host != HOST
    ]
    kinds: list[tuple[str, Sequence[str], list[tuple[str, str]], float]] = [
        ("one listed account", [ACCOUNT], here, first),
        ("fifty listed accounts", FIFTY, here, others),
        ("no listed account", [STRANGER], here, others),
        (f"{len(elsewhere)} hosts that hang", [ACCOUNT], elsewhere, others),
    ]
    return [
        (name, {"accounts": accounts, "hosts": hosts, "rate": rate}, seconds)
        for name, accounts, hosts, seconds in kinds
    ]


def _world() -> World:
    world = World()
    world.add_role(ACCOUNT, OWN_ROLE)
    trusted = (f"arn:aws:iam::{ACCOUNT}:role/{OWN_ROLE}",)
    world.add_role(OTHER, _READER_ROLE, external_id=_EXTERNAL_ID, trusted=trusted)
    for account in (ACCOUNT, OTHER):
        tags = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": ROLE}
        world.add_role(account, ROLE, tags=tags)
    return world


def _calls(emulator: Emulator) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the bodies of each kind of valid calls; the first ones make the tasks' keys known to the service."""
    now = datetime.now(UTC)
    known = {
        account: [Signer(emulator.issue(account, ROLE, f"task-{n}").frozen(), now) for n in range(_TASKS)]
        for account in (ACCOUNT, OTHER)
    }
    yield KNOWN, itertools.cycle(_body(task.sign()) for tasks in known.values() for task in tasks)
    yield RENEWED, _renewed(known[ACCOUNT])
    yield RENEWED_OTHER, _renewed(known[OTHER])
    yield (
        NEW_OTHER,
        (_body(Signer(emulator.issue(OTHER, ROLE, f"new-{n}").frozen(), now).sign()) for n in itertools.count()),
    )


def _renewed(tasks: list[Signer]) -> Iterator[str]:
    for age in range(1, PER_SESSION):
        for task in tasks:
            yield _body(task.sign(LONGEST - age))


def _body(url: str) -> str:
    return call_of(url, claim_of(ROLE)).decode()


def _measure(
    pid: int,
    port: int,
    calls: dict[str, list[str]],
    attacks: list[tuple[str, dict[str, Any], float]],
    emulator: Emulator,
) -> int:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load average "
        f"{os.getloadavg()[0]:.1f}; {attacks[0][1]['rate']:,} invented key ids a second, STS answers within "
        f"{STS_LATENCY * 1000:.0f} ms\n"
    )
    with _Worker("valid", 0) as valid, _Worker("attacker", _NICE) as attacker:
        valid.tell({"port": port, "calls": calls})
        attacker.tell({"port": port, "call": calls[KNOWN][0]})
        valid.hear()
        attacker.hear()
        valid.tell({"seconds": 3.0})  # warm: keys, roles and connections
        valid.hear()
        valid.tell({"seconds": QUIET_SECONDS})
        quiet = valid.hear()
        _print("quiet", quiet, {}, 0.0, memory_mb(pid), 0)
        holds = not quiet["refused"]
        for name, attack, seconds in attacks:
            emulator.calls.clear()
            cpu, began = cpu_seconds(pid), time.monotonic()
            attacker.tell({**attack, "seconds": seconds})
            valid.tell({"seconds": seconds})
            seen, hostile = valid.hear(), attacker.hear()
            used = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
            _print(name, seen, hostile, used, memory_mb(pid), emulator.calls.count("sts"))
            holds &= _verdicts(quiet, seen)
            time.sleep(PAUSE_SECONDS)
    return 0 if holds else 1


def _print(name: str, seen: dict[str, Any], hostile: dict[str, int], cpu: float, memory: float, sts_calls: int) -> None:
    print(f"{name:32}{'calls':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}   refused")
    for kind, found in seen["kinds"].items():
        refused = seen["refused"].get(kind) or "none"
        print(f"  {kind:30}{found['calls']:8,}{found['p50']:9.1f}{found['p99']:9.1f}{found['max']:9.1f}   {refused}")
    print(f"  its own timers were late by {seen['lag']:.1f} ms (p99); resident {memory:.0f} MB", end="")
    if hostile:
        answers = ", ".join(f"{number:,} {words}" for words, number in sorted(hostile.items()))
        print(f"; core {cpu:.0%}; {sts_calls:,} calls to STS\n  attacker: {answers}", end="")
    print("\n")


def _verdicts(quiet: dict[str, Any], seen: dict[str, Any]) -> bool:
    refused = sum(sum(reasons.values()) for reasons in seen["refused"].values())
    verdicts = [(f"{refused:,} valid calls were refused (none)", not refused)]
    for kind, found in seen["kinds"].items():
        bound = max(MOST_MILLISECONDS, MOST_RATIO * quiet["kinds"][kind]["p99"])
        verdicts.append((f"{kind}: p99 {found['p99']:.1f} ms (at most {bound:.0f})", found["p99"] <= bound))
    for words, holds in verdicts:
        print(f"  {'as promised' if holds else 'NOT AS PROMISED':16} {words}")
    print()
    return all(holds for _, holds in verdicts)


class _Front:
    """A proxy in the place of STS: it passes calls for one host on to the emulator, and never answers calls for others."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rpartition("/")[2].split(":")
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing: the thread ends with the process."""

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port, backlog=1024)
        self._ready.set()
        await server.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._upstream
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            upstream_reader, upstream = await asyncio.open_connection(host, int(port))
            try:
                while True:
                    request = await _read_message(reader)
                    named = request.lower().partition(b"\r\nhost:")[2].split(b"\r\n", 1)[0].strip().decode()
                    if named.startswith("sts") and named != HOST:
                        await reader.read()  # until the caller gives up
                        break
                    upstream.write(request)
                    writer.write(await _read_message(upstream_reader))
            finally:
                upstream.close()
        writer.close()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
    return head + await reader.readexactly(int(length or b"0"))


class _Worker:
    """A process of this module that gets commands and returns results, as lines of JSON."""

    def __init__(self, role: str, nice: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hostile_accounts", role, str(nice)],
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
        """Send a command to the process."""
        print(json.dumps(message), file=self._process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Wait for the next result of the process."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("a process of callers ended early")
        heard: dict[str, Any] = json.loads(line)
        return heard


# What runs in the processes of callers.

_Answered = Callable[[int, bytes], None]


class _Connections:
    """Connections to the service; a call goes over an idle one, or over a new one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[_Connection] = []
        self.unsent: deque[tuple[bytes, _Answered]] = deque()
        self.opened = 0

    def send(self, request: bytes, answered: _Answered) -> None:
        """Send a call now, or as soon as a connection is there."""
        if self.idle:
            self.idle.pop().send(request, answered)
            return
        self.unsent.append((request, answered))
        if self.opened < _MOST_CONNECTIONS:
            self.opened += 1
            task = asyncio.ensure_future(
                asyncio.get_running_loop().create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
            )
            task.add_done_callback(self._connected)

    def free(self, connection: "_Connection") -> None:
        """Use an idle connection."""
        if self.unsent:
            connection.send(*self.unsent.popleft())
        else:
            self.idle.append(connection)

    def _connected(self, task: "asyncio.Task[Any]") -> None:
        if task.exception() is not None:
            self.opened -= 1


class _Connection(asyncio.Protocol):
    def __init__(self, connections: _Connections) -> None:
        self._connections = connections
        self._answered: _Answered | None = None
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self._connections.free(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.opened -= 1
        if self in self._connections.idle:
            self._connections.idle.remove(self)
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(0, b"")

    def send(self, request: bytes, answered: _Answered) -> None:
        self._answered, self._body = answered, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(self._parser.get_status_code(), self._body)
        if self._parser.should_keep_alive():
            self._connections.free(self)


def work(role: str, nice: int) -> None:
    """Run the valid callers or the attacker until stdin ends."""
    os.nice(nice)
    raise_open_files(_OPEN_FILES)
    uvloop.run(_be_valid() if role == "valid" else _attack())


async def _orders() -> dict[str, Any] | None:
    line = await asyncio.to_thread(sys.stdin.readline)
    order: dict[str, Any] | None = json.loads(line) if line else None
    return order


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def _be_valid() -> None:
    setup = await _orders()
    assert setup is not None
    connections = _Connections(setup["port"])
    requests = {kind: iter([post(PATH, body.encode()) for body in bodies]) for kind, bodies in setup["calls"].items()}
    _tell({})
    while (order := await _orders()) is not None:
        _tell(await _call(connections, requests, order["seconds"]))


async def _call(connections: _Connections, requests: dict[str, Iterator[bytes]], seconds: float) -> dict[str, Any]:
    """Send each kind of calls at its rate, at random times, for a number of seconds."""
    latencies: dict[str, list[float]] = {kind: [] for kind in RATES}
    refused: dict[str, Counter[str]] = {}
    under_way = 0
    chance = random.Random(1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    due = sorted(
        (began + chance.uniform(0, seconds), kind) for kind, rate in RATES.items() for _ in range(int(rate * seconds))
    )
    lags = []

    def send(kind: str, at: float) -> None:
        def answered(status: int, body: bytes) -> None:
            nonlocal under_way
            under_way -= 1
            latencies[kind].append(loop.time() - at)
            if status != _OK:
                reason = json.loads(body)["reason"] if body else "connection lost"
                refused.setdefault(kind, Counter())[reason] += 1

        connections.send(next(requests[kind]), answered)

    for at, kind in due:
        while (left := at - loop.time()) > 0:
            await asyncio.sleep(left)
            lags.append(loop.time() - at)
        under_way += 1
        send(kind, at)
    until = loop.time() + _PATIENCE
    while under_way and loop.time() < until:
        await asyncio.sleep(_TICK)
    return {
        "kinds": {kind: _summary(found) for kind, found in latencies.items()},
        "refused": {kind: dict(reasons) for kind, reasons in refused.items()},
        "lag": _percentile(sorted(lags), 0.99) * 1000,
    }


def _summary(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {"calls": len(ordered)} | {name: _percentile(ordered, share) * 1000 for name, share in shares.items()}


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def _attack() -> None:
    setup = await _orders()
    assert setup is not None
    _tell({})
    while (order := await _orders()) is not None:
        connections = _Connections(setup["port"])
        bodies = _invented(setup["call"], order["accounts"], order["hosts"])
        _tell(await _flood(connections, bodies, order["rate"], order["seconds"]))


async def _flood(connections: _Connections, bodies: Iterator[str], rate: int, seconds: float) -> dict[str, int]:
    seen: Counter[str] = Counter()
    loop = asyncio.get_running_loop()

    def answered(status: int, body: bytes) -> None:
        words = json.loads(body)["reason"] if status == _UNDECIDED and body else str(status or "connection lost")
        seen[words] += 1

    began, sent = loop.time(), 0
    while loop.time() < began + seconds:
        while sent < rate * (loop.time() - began):
            connections.send(post(PATH, next(bodies).encode()), answered)
            sent += 1
        await asyncio.sleep(_TICK)
    seen["without an answer yet"] = sent - seen.total()
    return dict(seen)


def _invented(call: str, accounts: list[str], hosts: list[tuple[str, str]]) -> Iterator[str]:
    """Yield calls whose credentials have key ids that AWS never issued."""
    members = json.loads(call)
    url = decode_base64url(members["credential"].partition(".")[2]).decode()
    _, _, query = url.partition("/?")
    before, _, rest = query.partition("X-Amz-Credential=")
    after = rest.partition("%2F")[2]
    frames = [
        (f"https://{host}/?{before}X-Amz-Credential=", "%2F" + after.replace(f"%2F{REGION}%2F", f"%2F{region}%2F"))
        for host, region in hosts
    ]
    for number in itertools.count():
        head, tail = frames[number % len(frames)]
        key_id = new_access_key_id("ASIA", accounts[number % len(accounts)])
        members["credential"] = encode_native(f"{head}{key_id}{tail}")
        yield json.dumps(members)


if __name__ == "__main__":
    if sys.argv[1:2] in (["valid"], ["attacker"]):
        work(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(main())
