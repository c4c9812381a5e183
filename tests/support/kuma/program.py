"""A program that runs in the background: its log file, and its end by its own process id."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.patience import PATIENCE
from tests.support.process import clean_environment

_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 15.0
_TAIL_LINES: Final = 25


def wait_until(condition: Callable[[], object], otherwise: Callable[[], str]) -> None:
    """Poll a condition until it is true; after `PATIENCE` fail with the given message."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Program:
    """A started program."""

    name: str
    process: "subprocess.Popen[bytes]"
    path: Path

    def log(self) -> str:
        """Return everything that the program printed so far."""
        return self.path.read_text("utf-8", errors="replace")

    def tail(self) -> str:
        """Return the last lines of the log, for a failed test."""
        lines = self.log().splitlines()[-_TAIL_LINES:]
        return f"the last lines of {self.path}:\n" + "\n".join(line[:600] for line in lines)

    def wait_for(self, pattern: str) -> str:
        """Wait until the log contains a match, and return the match."""
        expression = re.compile(pattern)
        wait_until(
            lambda: expression.search(self.log()) or self.process.poll() is not None,
            lambda: f"{self.name} never printed {pattern!r}; {self.tail()}",
        )
        found = expression.search(self.log())
        assert found, f"{self.name} ended with {self.process.poll()} without {pattern!r}; {self.tail()}"
        return found[0]

    def stop(self) -> int:
        """End the program with SIGTERM, and its whole process group with SIGKILL if it does not end in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # what the program started and did not end
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait(_STOP_SECONDS)


def start(folder: Path, name: str, command: Sequence[str | Path], variables: Mapping[str, str]) -> Program:
    """Start a program in exactly these variables, in a process group of its own; its output goes to ``NAME.log``."""
    path = folder / f"{name}.log"
    with path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - the programs of the release
            command,
            env=clean_environment(**variables),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Program(name, process, path)


@contextlib.contextmanager
def running(folder: Path, name: str, command: Sequence[str | Path], variables: Mapping[str, str]) -> Iterator[Program]:
    """Start a program, and stop it at the end of the block."""
    program = start(folder, name, command, variables)
    try:
        yield program
    finally:
        program.stop()
