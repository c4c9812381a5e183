"""Start a command of ``kuma-aws-iam`` in a process that is forked from one with the imports done.

The imports are most of the processor time of a start: 1.0 of 1.2 s for ``serve``, 0.4 of 0.5 s for ``agent``. The tests
start hundreds. The process is one of its own: it has its own session, environment, standard streams, signals and exit
status. `tests.support.process.run_cold` and `served_cold` use an interpreter of the command's own, as an operator does.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TextIO

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


class WarmProcess:
    """A command, with the part of `subprocess.Popen` that tests use. It leads a session of its own.

    Args:
        arguments: the command and its options.
        folder: the working directory.
        environment: exactly the variables of the command.
        streams: the files that become its stdin, stdout and stderr.
    """

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], streams: tuple[int, int, int]
    ) -> None:
        passed = [Connection(os.dup(stream)) for stream in streams]
        self._process = _CONTEXT.Process(target=_become, args=(arguments, str(folder), dict(environment), passed))
        self._process.start()
        for each in passed:
            each.close()
        self.pid: int = self._process.pid or 0

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, once the process has ended."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("kuma-aws-iam", timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Wait for the end."""
        self._process.join()
        self._process.close()


class LoggedProcess(WarmProcess):
    """A command whose stdout and stderr come through one pipe, and whose stdin is nothing."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> None:
        read, write = os.pipe()
        self.stdout: TextIO = os.fdopen(read, encoding="utf-8")
        with Path(os.devnull).open() as nothing, os.fdopen(write):
            super().__init__(arguments, folder, environment, (nothing.fileno(), write, write))

    def close(self) -> None:
        """Wait for the end, and close the log."""
        super().close()
        self.stdout.close()


def _become(arguments: tuple[str, ...], folder: str, environment: dict[str, str], streams: list[Connection]) -> None:
    """Become the command: in the child."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    # As with an interpreter of its own in an environment without a locale.
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["kuma-aws-iam", *arguments]
    from app.cli import main  # noqa: PLC0415 - the tests' own process needs none of it

    main(prog_name="kuma-aws-iam")
