"""The rounds of ``make bench``: each row once a round, so that the rows of one run can be compared."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from typing import Final

from app.core.base64_text import decode_base64url
from app.emulator import EXAMPLE, Emulator
from app.emulator.world import World
from bench.credentials import Signer, call_of, claim_of, presigned_urls, target_of
from bench.load import PATH, Generator
from bench.processes import Process, cpu_seconds, memory_mb, on_core
from bench.refusals import LongSessions, add_roles, refusals
from bench.rows import Row
from bench.service import ACCOUNT

CONNECTIONS: Final = 64
TRIVIAL_REQUESTS: Final = 20_000
HIT_REQUESTS: Final = 15_000
MISS_REQUESTS: Final = 3_000
ROLE_REQUESTS: Final = 400
HTTPX_REQUESTS: Final = 400
HIT_CREDENTIALS: Final = 200
TOKEN_REQUESTS: Final = 1_000
REFUSED_REQUESTS: Final = 3_000
# Services that are asked for the same misses as the first one, and how their rows are called.
OTHER_MISSES: Final = {"full": "  the same, caches filled", "tls": "  the same, TLS to STS"}
_OK: Final = 200
TOKEN_PATH: Final = "/v1/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test."""

    process: Process
    port: int


@dataclass(frozen=True, slots=True)
class Bodies:
    """What is posted. A round takes its own part of the misses, the same one for the service and for Go."""

    hits: list[bytes]
    misses: Iterator[bytes]
    roles: Iterator[bytes]


def measure(
    emulator: Emulator, servers: Mapping[str, Server], generator: Generator, rounds: int, core: int
) -> dict[str, Row]:
    """Run the rounds, each row once a round."""
    rows = _rows(servers)
    bodies = _bodies(emulator, rounds)
    refused = refusals(emulator)
    rows.update({refusal.reason: Row(f"refused again: {refusal.reason}") for refusal in refused})
    deciding = [name for name in ("service", "go") if name in servers]
    others = [name for name in OTHER_MISSES if name in servers]
    for name in (*deciding, *others, "tokens"):
        generator.run(servers[name].port, bodies.hits, CONNECTIONS).require(200)
    overhead: list[float] = []
    for number in range(rounds):
        repeated = [bodies.hits[index % HIT_CREDENTIALS] for index in range(TRIVIAL_REQUESTS)]
        _serve(rows["forwarder"], servers["forwarder"], repeated[:MISS_REQUESTS], generator)
        batches = {
            "hit": repeated[:HIT_REQUESTS],
            "miss": list(islice(bodies.misses, MISS_REQUESTS)),
            "role": list(islice(bodies.roles, ROLE_REQUESTS)),
        }
        overhead.append(_serve(rows["trivial"], servers["trivial"], repeated, generator))
        _serve(rows["own trivial"], servers["own trivial"], repeated, generator)
        for kind, batch in batches.items():
            for name in deciding:
                _serve(rows[f"{name} {kind}"], servers[name], batch, generator)
            for name in others if kind == "miss" else ():
                _serve(rows[f"{name} miss"], servers[name], batch, generator)
        for refusal in refused:
            # The service remembers some refusals for 10 s only.
            generator.run(servers["service"].port, refusal.bodies, CONNECTIONS).require(refusal.status)
            again = [refusal.bodies[index % len(refusal.bodies)] for index in range(REFUSED_REQUESTS)]
            _serve(rows[refusal.reason], servers["service"], again, generator, status=refusal.status)
        _serve(rows["reused token"], servers["tokens"], batches["hit"], generator, TOKEN_PATH)
        named = list(map(named_call, bodies.hits * (TOKEN_REQUESTS // HIT_CREDENTIALS), count(number * TOKEN_REQUESTS)))
        _serve(rows["fresh token"], servers["tokens"], named, generator, TOKEN_PATH)
        _bare(rows["aiohttp"], "aiohttp", emulator.url, batches["miss"], core)
        _bare(rows["httpx"], "httpx", emulator.url, batches["miss"][:HTTPX_REQUESTS], core)
    print(f"the load takes {min(overhead) * 1e6:.0f} us of its own core for a request")
    return rows


def _rows(servers: Mapping[str, Server]) -> dict[str, Row]:
    """Return the empty rows in the order of the table."""
    rows = {"trivial": Row("trivial ASGI handler, uvicorn"), "own trivial": Row("  the same, our protocol")}
    kinds = {"hit": "cache hit", "miss": "cache miss (STS asked)", "role": "miss with role (STS and IAM asked)"}
    for kind, name in kinds.items():
        rows[f"service {kind}"] = Row(name)
        if "go" in servers:
            rows[f"go {kind}"] = Row("  the same in Go's net/http")
            rows[f"service {kind}"].rival = rows[f"go {kind}"]
        if kind == "miss":
            rows.update({f"{name} miss": Row(words) for name, words in OTHER_MISSES.items() if name in servers})
            rows["forwarder"] = Row("  no decision: one STS call alone", rival=rows.get("go miss"))
    rows["reused token"], rows["fresh token"] = Row("token, known credential"), Row("  the same, signed anew")
    rows["aiohttp"], rows["httpx"] = Row("bare client: aiohttp"), Row("bare client: httpx, 64 at once")
    return rows


def named_call(body: bytes, number: int) -> bytes:
    """Return a call of the same credential for a proxy of another name: its token is none that was signed before."""
    call = json.loads(body)
    return json.dumps({**call, "proxy": {**call["proxy"], "name": f"demo-app-{number}"}}).encode()


def _serve(
    row: Row, server: Server, batch: list[bytes], generator: Generator, path: str = PATH, status: int = _OK
) -> float:
    """Measure one round of a server by its own processor time; return the load's own for a request."""
    before = cpu_seconds(server.process.pid)
    load = generator.run(server.port, batch, CONNECTIONS, path).require(status)
    row.add(len(batch), cpu_seconds(server.process.pid) - before, load.seconds, load)
    row.memory = memory_mb(server.process.pid)
    return load.cpu / len(batch)


def _bare(row: Row, name: str, url: str, batch: list[bytes], core: int) -> None:
    """Measure one round of a bare client in a process of its own."""
    with on_core(core):
        ran = subprocess.run(
            [sys.executable, "-m", "bench.clients", name, url, str(CONNECTIONS)],
            input="\n".join(_target(body) for body in batch).encode(),
            capture_output=True,
            check=True,
        )
    measured = json.loads(ran.stdout)
    row.add(len(batch), measured["cpu"], measured["seconds"])


def _target(body: bytes) -> str:
    """Return what the service sends to STS for a call: path and query."""
    return target_of(decode_base64url(json.loads(body)["credential"].partition(".")[2]).decode("ascii"))


def build_world(rounds: int) -> World:
    """Return the example's world, with as many roles as are asked for one by one."""
    world = LongSessions.from_text(EXAMPLE)
    add_roles(world)
    for number in range(rounds * ROLE_REQUESTS):
        tags = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": f"app-{number}"}
        world.add_role(ACCOUNT, f"app-{number}", tags=tags)
    return world


def _bodies(emulator: Emulator, rounds: int) -> Bodies:
    now = datetime.now(UTC)
    calls = [call_of(url) for url in presigned_urls(emulator, HIT_CREDENTIALS + rounds * MISS_REQUESTS)]
    roles = (
        call_of(
            Signer(emulator.issue(ACCOUNT, f"app-{number}", "bench").frozen(), now).sign(), claim_of(f"app-{number}")
        )
        for number in range(rounds * ROLE_REQUESTS)
    )
    return Bodies(calls[:HIT_CREDENTIALS], iter(calls[HIT_CREDENTIALS:]), iter(list(roles)))
