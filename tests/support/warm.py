"""Start ``serve`` in a process that is forked from one with the imports done.

The imports are 1.0 of the 1.2 s of processor time that a start takes, and the tests start many services. The process
is one of its own: it has its own environment, standard streams, signals and exit status. `tests.support.process.run` starts
commands with an interpreter of their own, as an operator does; tests/cli/test_serve.py starts the service likewise.
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
    """``kuma-aws-iam serve``, with the part of `subprocess.Popen` that tests use; stderr goes to stdout."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        output, writer = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_serve, args=(writer, str(folder), dict(environment)))
        self._process.start()
        writer.close()
        self.pid: int = self._process.pid or 0
        self.stdout: TextIO = os.fdopen(os.dup(output.fileno()), encoding="utf-8")
        output.close()

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, once the process has ended."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("serve", timeout or 0.0)
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
        """Wait for the end, and close the log."""
        self._process.join()
        self.stdout.close()
        self._process.close()


def _serve(output: Connection, folder: str, environment: dict[str, str]) -> None:
    """Become the service: in the child."""
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["kuma-aws-iam", "serve"]
    from app.cli import main  # noqa: PLC0415 - the tests' own process needs none of it

    main(prog_name="kuma-aws-iam")
