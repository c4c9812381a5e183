"""Decisions per second and core: a cache hit and a cache miss, beside a trivial ASGI handler and a bare upstream client.

Everything is measured in one run, in turns, since machines drift: read the ratios. The server has a core of its own where
there are two; the load and the emulated AWS share the other one. What counts is processor time per request, so that a
slow neighbour changes the wall time and not the result.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import uvloop
from botocore.credentials import ReadOnlyCredentials

from app.adapters.signer import find_endpoint, presign
from app.adapters.sts_endpoints import load_sts_endpoints
from app.core.credential import encode_native
from app.emulator.server import Emulator
from bench.load import Load, post, run_load

ROUNDS: Final = 3
CONNECTIONS: Final = 64
TRIVIAL_REQUESTS: Final = 20_000
HIT_REQUESTS: Final = 15_000
MISS_REQUESTS: Final = 3_000
HTTPX_REQUESTS: Final = 400
HIT_CREDENTIALS: Final = 200

_ACCOUNT: Final = "111122223333"
_SERVICE_PORT: Final = 15_690
_TRIVIAL_PORT: Final = 15_691
_PATH: Final = "/v1/authenticate"
_CLAIM: Final = {"type": "dataplane", "mesh": "default", "tags": {"kuma.io/service": ["demo-app"]}}


@dataclass(slots=True)
class Row:
    """The rounds of one row: processor microseconds a request, requests a second, and latencies."""

    name: str
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, requests: int, cpu: float, seconds: float, load: Load | None = None) -> None:
        """Add a round."""
        self.cpu.append(cpu / requests * 1e6)
        self.rate.append(requests / seconds)
        if load is not None:
            self.p50.append(load.percentile(0.5))
            self.p99.append(load.percentile(0.99))

    def line(self, trivial: float) -> str:
        """Return the row of the table, beside the trivial handler's processor time."""
        cpu = statistics.median(self.cpu)
        latency = f"{statistics.median(self.p50):8.2f} {statistics.median(self.p99):8.2f}" if self.p50 else f"{'':17}"
        rates = f"{1e6 / cpu:10,.0f} {cpu:9.1f} {trivial / cpu:7.2f} {statistics.median(self.rate):9,.0f}"
        return f"{self.name:34} {rates} {latency}"


def main() -> None:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    os.sched_setaffinity(0, {load_core})
    print(f"{platform.machine()}, {len(cores)} cores, Python {platform.python_version()}; {ROUNDS} rounds, medians")
    with Emulator() as emulator:
        count = HIT_CREDENTIALS + ROUNDS * (2 * MISS_REQUESTS + HTTPX_REQUESTS)
        targets = [encode_target(url) for url in presigned_urls(emulator, count)]
        service = start_service(emulator, server_core)
        trivial = start([sys.executable, "-m", "bench.trivial", str(_TRIVIAL_PORT)], dict(os.environ), server_core)
        try:
            wait_for(_SERVICE_PORT, "/ready")
            wait_for(_TRIVIAL_PORT, "/")
            rows = measure(emulator, service, trivial, targets, server_core)
        finally:
            for process in (service, trivial):
                process.terminate()
                process.wait()
    base = statistics.median(rows[0].cpu)
    print(f"\n{'':34} {'per core/s':>10} {'cpu us':>9} {'ratio':>7} {'wall/s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for row in rows:
        print(row.line(base))
    print("\nper core/s: requests that one core could serve, 1e6 / cpu us. ratio: beside the trivial handler.")


def measure(
    emulator: Emulator,
    service: subprocess.Popen[bytes],
    trivial: subprocess.Popen[bytes],
    targets: list[tuple[str, bytes]],
    core: int,
) -> list[Row]:
    """Run the rounds, each row once a round."""
    rows = [
        Row("trivial ASGI handler"),
        Row("cache hit"),
        Row("cache miss (STS asked)"),
        Row("bare client: aiohttp"),
        Row("bare client: httpx, 64 at once"),
    ]
    pending = iter(targets)
    hits = [post(_PATH, body) for _, body in take(pending, HIT_CREDENTIALS)]
    load(_SERVICE_PORT, hits, expected=200)
    for _ in range(ROUNDS):
        serve_round(rows[0], trivial, _TRIVIAL_PORT, repeat(hits, TRIVIAL_REQUESTS))
        serve_round(rows[1], service, _SERVICE_PORT, repeat(hits, HIT_REQUESTS))
        serve_round(rows[2], service, _SERVICE_PORT, [post(_PATH, body) for _, body in take(pending, MISS_REQUESTS)])
        client_round(rows[3], "aiohttp", emulator.url, [target for target, _ in take(pending, MISS_REQUESTS)], core)
        client_round(rows[4], "httpx", emulator.url, [target for target, _ in take(pending, HTTPX_REQUESTS)], core)
    return rows


def serve_round(row: Row, process: subprocess.Popen[bytes], port: int, requests: list[bytes]) -> None:
    """Measure one round of a server by its own processor time."""
    before = cpu_seconds(process.pid)
    result = load(port, requests, expected=200)
    row.add(len(requests), cpu_seconds(process.pid) - before, result.seconds, result)


def client_round(row: Row, name: str, url: str, targets: list[str], core: int) -> None:
    """Measure one round of a bare client in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "bench.clients", name, url, str(CONNECTIONS)],
        input="\n".join(targets).encode(),
        capture_output=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    measured = json.loads(process.stdout)
    row.add(len(targets), measured["cpu"], measured["seconds"])


def load(port: int, requests: list[bytes], *, expected: int) -> Load:
    """Run a load, and insist on its answers."""
    result = uvloop.run(run_load("127.0.0.1", port, requests, CONNECTIONS))
    if result.statuses != {expected: len(requests)}:
        raise SystemExit(f"unexpected answers: {result.statuses}")
    return result


def presigned_urls(emulator: Emulator, count: int) -> list[str]:
    """Sign so many different requests; X-Amz-Expires and the session tell them apart."""
    endpoint = find_endpoint(load_sts_endpoints(), "us-east-1")
    urls: list[str] = []
    while len(urls) < count:
        session = emulator.issue(_ACCOUNT, "demo-app", f"bench-{len(urls)}")
        credentials = ReadOnlyCredentials(session.access_key_id, session.secret_access_key, session.session_token)
        urls += [
            presign(credentials, endpoint, audience="kuma-control-plane", expires=expires)
            for expires in range(900, max(400, 900 - (count - len(urls))), -1)
        ]
    return urls


def encode_target(url: str) -> tuple[str, bytes]:
    """Return the target for a bare client, and the body for the service."""
    target = url.removeprefix("https://sts.us-east-1.amazonaws.com")
    return target, json.dumps({"credential": encode_native(url), "proxy": _CLAIM}).encode()


def take(items: Any, count: int) -> list[Any]:
    """Take so many from an iterator."""
    return [next(items) for _ in range(count)]


def repeat(items: list[bytes], count: int) -> list[bytes]:
    """Repeat a list up to a length."""
    return [items[index % len(items)] for index in range(count)]


def start_service(emulator: Emulator, core: int) -> subprocess.Popen[bytes]:
    """Start the service as it is shipped: metrics and audit lines on, the lines written to nowhere."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMESH_", "KUMA_"))},
        **emulator.environment(_ACCOUNT, "kuma-aws-iam"),
        "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
        "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": _ACCOUNT,
        "KMESH_AWSIAM_LISTEN": f"127.0.0.1:{_SERVICE_PORT}",
    }
    return start([sys.executable, "-m", "app", "serve"], environment, core)


def start(command: list[str], environment: dict[str, str], core: int) -> subprocess.Popen[bytes]:
    """Start a process on a core."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {core})
    return process


def wait_for(port: int, path: str) -> None:
    """Wait until a server answers; give up after 20 s."""
    for _ in range(400):
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing serves on port {port}")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, all threads, from the kernel's accounting."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
