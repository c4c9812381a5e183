"""The service and its commands as processes of their own, as an operator runs them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import httpx

from tests.support.patience import PATIENCE
from tests.support.warm import LoggedProcess, WarmProcess

ROOT: Final = Path(__file__).parents[2]
AWS: Final = Path(sys.executable).with_name("aws")


def clean_environment(**variables: str) -> dict[str, str]:
    """Return an environment without any variable for AWS, a control plane or a proxy."""
    return {
        "PATH": os.defpath,
        "HOME": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


def run(*arguments: str, stdin: str | bytes | None = None, **variables: str) -> Done:
    """Run ``kuma-aws-iam`` to its end, in exactly these variables. Its stdin is empty unless one is given.

    The imports of the process are done already (`tests.support.warm`).
    """
    with _given(stdin) as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = (given.fileno(), out.fileno(), err.fileno())
        with contextlib.closing(WarmProcess(arguments, ROOT, clean_environment(**variables), streams)) as process:
            try:
                status = process.wait(PATIENCE)
            finally:
                stop_group(process)
        return Done(status, _read(out), _read(err))


def run_cold(*arguments: str, stdin: str | bytes | None = None, **variables: str) -> Done:
    """Do as `run` does, with an interpreter of the command's own."""
    return run_program(sys.executable, "-m", "app", *arguments, stdin=stdin, **variables)


def _given(stdin: str | bytes | None) -> IO[bytes]:
    """Return what a command reads: nothing, or a pipe that already contains everything, so at most 64 KiB."""
    if stdin is None:
        return Path(os.devnull).open("rb")
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(stdin.encode() if isinstance(stdin, str) else stdin)
    return os.fdopen(read, "rb")


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def run_program(*command: str, stdin: str | bytes | None = None, **variables: str) -> Done:
    """Run any program in a clean environment."""
    process = subprocess.Popen(  # noqa: S603 - what a test names
        command,
        cwd=ROOT,
        env=clean_environment(**variables),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            out, err = process.communicate(stdin.encode() if isinstance(stdin, str) else stdin, PATIENCE)
        finally:
            stop_group(process)
    return Done(process.returncode, out.decode(), err.decode())


def stop_group(process: subprocess.Popen[Any] | WarmProcess) -> None:
    """Kill the process group of a process: itself, and the processes that it started and did not end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Served:
    """A service that runs: its client, its log as it grows, and its end."""

    process: subprocess.Popen[str] | LoggedProcess
    address: str
    client: httpx.Client
    lines: list[str] = field(default_factory=list)
    _grown: threading.Condition = field(default_factory=threading.Condition)
    _has_whole_log: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        """Read the log until the process ends."""
        assert self.process.stdout
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(line)
                self._grown.notify_all()
        self._has_whole_log.set()

    def events(self) -> list[dict[str, Any]]:
        """Return every JSON line so far."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until so many lines with this text are logged."""
        with self._grown:
            found = self._grown.wait_for(lambda: sum(text in line for line in self.lines) >= times, PATIENCE)
        assert found, f"never logged {text!r} so often:\n{''.join(self.lines)}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status once `lines` has the whole log."""
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        assert self._has_whole_log.wait(PATIENCE), "the process has ended, but not its log"
        return status


def served(
    address: str, *, variable: str = "KMESH_AWSIAM_LISTEN", **variables: str
) -> contextlib.AbstractContextManager[Served]:
    """Run ``kuma-aws-iam serve`` in exactly these variables. Return once it listens on the address.

    The imports of the process are done already (`tests.support.warm`).
    """
    environment = clean_environment(**{variable: address}, **variables)
    return _serving(contextlib.closing(LoggedProcess(("serve",), ROOT, environment)), address)


def served_cold(address: str, **variables: str) -> contextlib.AbstractContextManager[Served]:
    """Do as `served` does, with an interpreter of the service's own, which inherits the limits of this process."""
    return _serving(_cold(clean_environment(KMESH_AWSIAM_LISTEN=address, **variables)), address)


@contextlib.contextmanager
def _serving(
    start: contextlib.AbstractContextManager[LoggedProcess] | contextlib.AbstractContextManager[subprocess.Popen[str]],
    address: str,
) -> Iterator[Served]:
    with start as process, connect(address) as client:
        service = Served(process, address, client)
        reader = threading.Thread(target=service.follow, daemon=True)
        reader.start()
        try:
            service.wait_for("listening")
            yield service
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            reader.join()


@contextlib.contextmanager
def _cold(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process


def connect(address: str) -> httpx.Client:
    """Return a client of a service, by the value of its own setting."""
    path = address.removeprefix("unix:")
    transport = httpx.HTTPTransport(uds=path if path != address else None, trust_env=False)
    base_url = "http://service" if path != address else f"http://{address}"
    return httpx.Client(transport=transport, base_url=base_url, timeout=PATIENCE, trust_env=False)


@contextlib.contextmanager
def socket_address() -> Iterator[str]:
    """The address of a Unix socket; pytest's own folders can be longer than a socket's path may be."""
    with tempfile.TemporaryDirectory(prefix="kuma-") as folder:
        yield f"unix:{folder}/api.sock"


def free_address() -> str:
    """Return a loopback address on which no program listens until the test's own does.

    This process keeps the port bound until it ends, so the kernel gives the port to no other program. A server of the test
    can still listen on the port, because both set SO_REUSEADDR and this process does not listen.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        held.detach()
    return address
