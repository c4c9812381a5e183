"""What surrounds a storm: the emulated AWS in a thread, the sidecars and Redis as processes, and a sampler of them all."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from app.emulator import Emulator
from bench.processes import Process, cpu_seconds, end, start, waiting_seconds
from bench.storm.sampler import Sample, Sampler, emulator_seconds
from bench.storm.world import Sidecar, make_impostors

STS_LATENCY: Final = 0.02
IAM_LATENCY: Final = 0.04
# AWS's own, for each account (and region): https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html for
# STS; that of IAM is not published.
STS_QUOTA: Final = 600.0
IAM_QUOTA: Final = 10.0


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


@dataclass(slots=True)
class Stage:
    """Everything but the service."""

    emulator: Emulator
    sidecars: list[Sidecar]
    connections: int
    folder: Path
    cores: tuple[int, int]
    _clients: Process | None = None

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
        self._tell({"ports": list(ports), "connections": self.connections, "seconds": seconds})
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
