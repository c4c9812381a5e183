"""What surrounds a storm: the emulated AWS in a thread, the sidecars and Redis as processes, and a sampler of them all."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from app.emulator import Emulator
from bench.processes import Process, cpu_seconds, end, on_core, start, waiting_seconds
from bench.service import service_environment
from bench.storm.sampler import Sample, Sampler, emulator_seconds
from bench.storm.shape import Shape
from bench.storm.world import (
    EXTERNAL_ID,
    READER_ROLE,
    Sidecar,
    accounts_of,
    build_world,
    make_impostors,
    make_sidecars,
)
from bench.upstream import Upstream, open_upstream

STS_LATENCY: Final = 0.02
IAM_LATENCY: Final = 0.04
# AWS's own, for each account (and region): https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html for
# STS; that of IAM is not published.
STS_QUOTA: Final = 600.0
IAM_QUOTA: Final = 10.0
_HANDSHAKES: Final = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What a storm showed.

    Attributes:
        clients: what the sidecars' process tells.
        samples: over time.
        cpu: processor seconds of all processes of the service.
        waited: seconds for which their threads could have run, and another thread had the core.
        emulator: the share of its core that the emulated AWS took.
    """

    clients: dict[str, Any]
    samples: list[Sample]
    cpu: float
    waited: float
    emulator: float


@dataclass(frozen=True, slots=True)
class HandshakeCost:
    """Processor seconds of a client, on the service's core.

    Attributes:
        tls: to open a connection with its handshake, and to close it.
        tcp: the same without TLS.
    """

    tls: float
    tcp: float


@dataclass(slots=True)
class Stage:
    """Everything but the service.

    Attributes:
        upstream: the emulated AWS.
        sidecars: who presents credentials.
        accounts: that the service has to list.
        folder: for files; it goes with the stage.
        cores: that of the service and that of everything else.
        handshake: what one costs; None without TLS.
    """

    upstream: Upstream
    sidecars: list[Sidecar]
    accounts: tuple[str, ...]
    folder: Path
    cores: tuple[int, int]
    handshake: HandshakeCost | None = None
    _clients: Process | None = None

    @property
    def emulator(self) -> Emulator:
        """STS and IAM."""
        return self.upstream.emulator

    def environment(self, port: int, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a service on this stage."""
        reader = {"KMESH_AWSIAM_READER_ROLE_NAME": READER_ROLE, "KMESH_AWSIAM_READER_EXTERNAL_ID": EXTERNAL_ID}
        return service_environment(self.emulator, port, {**reader, **self.upstream.variables, **extra}, self.accounts)

    def __enter__(self) -> Self:
        """Start the sidecars' process, on the core of everything but the service."""
        command = [sys.executable, "-m", "bench.storm.clients"]
        self._clients = start(command, self.cores[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._tell(
            {
                "calls": [sidecar.call.decode() for sidecar in self.sidecars],
                "expected": [(sidecar.role, sidecar.session) for sidecar in self.sidecars],
                "impostors": [call.decode() for call in make_impostors(self.sidecars)],
            }
        )
        return self

    def __exit__(self, *_error: object) -> None:
        if self._clients is not None:
            end(self._clients)

    def behave_like_aws(self) -> None:
        """Give AWS its latencies and full budgets."""
        self.emulator.faults.clear()
        for service, latency, rate in (("sts", STS_LATENCY, STS_QUOTA), ("iam", IAM_LATENCY, IAM_QUOTA)):
            faults = self.emulator.faults.sts if service == "sts" else self.emulator.faults.iam
            faults.latency, faults.rate = latency, rate

    def play(
        self,
        services: Sequence[Process],
        ports: Sequence[int],
        shape: Shape,
        seconds: float,
        watch: Callable[[Sample], None] | None = None,
    ) -> Seen:
        """Let the storm loose, for so many seconds at most."""
        pids = [service.pid for service in services]
        sampler = Sampler(self.emulator, pids, watch)
        sampler.look()
        before = sum(map(cpu_seconds, pids)), sum(map(waiting_seconds, pids)), emulator_seconds()
        began = time.monotonic()
        sampler.start()
        self._tell(
            {
                "ports": list(ports),
                "connections": shape.connections,
                "presentations": shape.presentations,
                "gives_up_after": shape.gives_up_after,
                "comes_again_after": shape.comes_again_after,
                "seconds": seconds,
            }
        )
        clients = self._hear()
        sampler.stop()
        return Seen(
            clients,
            sampler.samples,
            sum(map(cpu_seconds, pids)) - before[0],
            sum(map(waiting_seconds, pids)) - before[1],
            (emulator_seconds() - before[2]) / (time.monotonic() - began),
        )

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._clients is not None
        assert self._clients.stdin is not None
        self._clients.stdin.write(json.dumps(message).encode() + b"\n")
        self._clients.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._clients is not None
        assert self._clients.stdout is not None
        line = self._clients.stdout.readline()
        if not line:
            raise SystemExit("the sidecars' process ended early")
        heard: dict[str, Any] = json.loads(line)
        return heard


@contextlib.contextmanager
def open_stage(shape: Shape, cores: tuple[int, int]) -> Iterator[Stage]:
    """Build a stage on the core of everything but the service, and take it down in the end.

    The credentials are signed now, and live for 15 minutes.
    """
    world = build_world(shape)
    with (
        tempfile.TemporaryDirectory(prefix="storm-") as name,
        on_core(cores[1]),
        open_upstream(world, Path(name), tls=shape.tls) as upstream,
    ):
        handshake = (
            None if upstream.root is None else _measure_handshakes(upstream.emulator.url, upstream.root, cores[0])
        )
        sidecars = make_sidecars(world, shape)
        with Stage(upstream, sidecars, accounts_of(shape), Path(name), cores, handshake) as stage:
            yield stage


def _measure_handshakes(url: str, root: Path, core: int) -> HandshakeCost:
    """Open connections from a process on the service's core."""
    parts = urlsplit(url)
    command = [
        sys.executable,
        "-m",
        "bench.handshakes",
        str(parts.hostname),
        str(parts.port),
        str(root),
        str(_HANDSHAKES),
    ]
    with on_core(core):
        ran = subprocess.run(command, capture_output=True, check=True)
    measured = json.loads(ran.stdout)
    return HandshakeCost(measured["tls"], measured["tcp"])
