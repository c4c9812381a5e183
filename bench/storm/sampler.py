"""Looks at a storm while it goes on: AWS's calls, and what the processes of the service take."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.emulator import Emulator
from bench.processes import memory_mb

_SAMPLE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of a storm: calls so far, and what the processes of the service take.

    Attributes:
        at: seconds of the monotonic clock.
        sts: calls of GetCallerIdentity that were answered.
        iam: calls to IAM.
        memory: resident megabytes of the largest one.
    """

    at: float
    sts: int
    iam: int
    memory: float


class Sampler(threading.Thread):
    """Looks every tenth of a second, until it is stopped; ``watch`` may act on what it sees."""

    def __init__(self, emulator: Emulator, pids: Sequence[int], watch: Callable[[Sample], None] | None) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._emulator = emulator
        self._pids = pids
        self._watch = watch
        self._stopped = threading.Event()

    def run(self) -> None:
        """See `threading.Thread`."""
        while not self._stopped.wait(_SAMPLE_SECONDS):
            self.look()

    def look(self) -> None:
        """Take one sample."""
        calls = self._emulator.calls
        memory = max(memory_mb(pid) for pid in self._pids)
        sample = Sample(time.monotonic(), calls.count("sts", "GetCallerIdentity"), calls.count("iam"), memory)
        self.samples.append(sample)
        if self._watch is not None:
            self._watch(sample)

    def stop(self) -> None:
        """Stop, with a last look."""
        self._stopped.set()
        self.join()
        self.look()


def emulator_seconds() -> float:
    """Return the processor time of the emulators' threads."""
    threads = [thread.ident for thread in threading.enumerate() if thread.name == "emulator"]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in threads if ident is not None)
