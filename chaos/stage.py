"""What a fault is played on: an emulated AWS in a thread, and the real service as a process of its own."""

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.emulator import Emulator
from chaos.aws import AUDIENCE, HOME, OTHERS, OWN_ROLE, READER_ROLE, Tasks, free_port
from chaos.calls import ALLOWED, Caller
from chaos.liar import Liar

START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_IN_FLIGHT: Final = re.compile(r"^kuma_aws_iam_in_flight_decisions ([0-9.]+)", re.MULTILINE)


class StageError(Exception):
    """The stage could not be built; the message holds what the service printed."""


@dataclass(slots=True)
class Service:
    """A service that was started.

    Attributes:
        caller: calls it.
        process: runs it.
        log: everything that it prints.
    """

    caller: Caller
    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status; None if it still runs after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.terminate()
            if self.wait(2.0) is None:
                self.process.kill()
        self.process.wait()

    def until_ready(self) -> None:
        """Wait until ``/ready`` answers 200.

        Raises:
            StageError: it does not.
        """
        if (
            self.poll(lambda: self.process.poll() is not None or self.caller.get("/ready") == 200, START_SECONDS)
            is None
        ):
            raise StageError(f"the service did not become ready:\n{self.printed()}")

    def until_own_account(self) -> None:
        """Wait until it knows whose it is: what it asks of AWS for itself is over then."""
        self.poll(lambda: '"own account"' in self.printed(), START_SECONDS)

    def printed(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")

    def memory(self) -> float:
        """Return the resident megabytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def without_core(self) -> float:
        """Return for how many seconds threads of it, or of this process, could have run but had no core."""
        return sum(_seconds_without_core(pid) for pid in (self.process.pid, os.getpid()))

    def in_flight(self) -> float:
        """Return how many decisions are under way, as ``/metrics`` says; NaN without an answer."""
        found = _IN_FLIGHT.search(self.caller.read("/metrics"))
        return float(found.group(1)) if found else float("nan")

    @staticmethod
    def poll(holds: Callable[[], bool], seconds: float) -> float | None:
        """Return how long it took until something held; None if it did not in so many seconds."""
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > seconds:
                return None
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - started


@dataclass(slots=True)
class Stage:
    """An emulated AWS, and a service that uses it.

    Attributes:
        folder: for files; it goes with the stage.
        emulator: AWS.
        tasks: whoever presents credentials.
        environment: what a service is started with.
        is_shared: rows share one service; else each one starts what it needs.
        liar: stands before its IAM, on some stages.
    """

    folder: Path
    emulator: Emulator
    tasks: Tasks
    environment: dict[str, str]
    is_shared: bool
    liar: Liar | None = None
    _services: list[Service] = field(default_factory=list)

    @property
    def service(self) -> Service:
        """The service that was started last."""
        return self._services[-1]

    @property
    def caller(self) -> Caller:
        """Calls that service."""
        return self.service.caller

    def start(self, **variables: str) -> Service:
        """Start a service, on a port of its own unless one is given, without waiting for it."""
        environment = {**self.environment, "KMESH_AWSIAM_LISTEN": f"127.0.0.1:{free_port()}", **variables}
        log = self.folder / f"service-{len(self._services)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"], env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        atexit.register(_kill, process)  # also when a row hangs
        service = Service(Caller(int(environment["KMESH_AWSIAM_LISTEN"].rpartition(":")[2])), process, log)
        self._services.append(service)
        return service

    def restart(self, **variables: str) -> Service:
        """End the service, and start another one that is ready and idle."""
        self.service.end()
        service = self.start(**variables)
        service.until_ready()
        service.until_own_account()
        return service

    def known(self, account: str = HOME) -> str:
        """Return a credential that was accepted a moment ago.

        Raises:
            StageError: it is not accepted.
        """
        credential = self.tasks.credential(account)
        answer = self.caller.ask(credential)
        if not answer.allowed:
            raise StageError(f"a good credential was answered {answer.outcome} before the fault")
        return credential

    def recovery(self, make: Callable[[], str], seconds: float, outcome: str = ALLOWED) -> float | None:
        """Return how long it took until a credential was answered so; a new one is made for each try."""
        return self.service.poll(lambda: self.caller.ask(make()).outcome == outcome, seconds)

    @contextlib.contextmanager
    def probing(self) -> Iterator["Probe"]:
        """Ask ``/healthy`` again and again while the context lasts."""
        probe = Probe(self.caller)
        probe.start()
        try:
            yield probe
        finally:
            probe.end()

    def recover(self) -> None:
        """Make the stage good for another row, whatever the last one left: no faults, and a service that lives."""
        self.emulator.faults.clear()
        if self.liar is not None:
            self.liar.lie = None
        if self.is_shared and (self.service.process.poll() is not None or self.caller.get("/healthy", 2.0) == 0):
            self.restart()

    def end(self) -> None:
        """End every service."""
        for service in self._services:
            service.end()


class Probe(threading.Thread):
    """Asks ``/healthy`` four times a second, as an orchestrator would, but more often.

    Attributes:
        slowest: seconds that the slowest answer took, or the whole wait for one that did not come.
    """

    def __init__(self, caller: Caller) -> None:
        super().__init__(daemon=True)
        self.slowest = 0.0
        self._caller = caller
        self._ended = threading.Event()

    def run(self) -> None:
        """Ask until it is ended."""
        while not self._ended.wait(0.25):
            started = time.monotonic()
            self._caller.get("/healthy")
            self.slowest = max(self.slowest, time.monotonic() - started)

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join()


def _seconds_without_core(pid: int) -> float:
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            nanoseconds += int((task / "schedstat").read_text().split()[1])
    return nanoseconds / 1e9


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()


@contextlib.contextmanager
def open_stage(variables: Mapping[str, str] | None = None, *, start: bool = True) -> Iterator[Stage]:
    """Build a stage, and take it down in the end.

    Args:
        variables: settings of every service of this stage.
        start: start a service at once, and wait until it is ready and knows its own account.
    """
    tasks = Tasks()
    with tempfile.TemporaryDirectory(prefix="kuma-aws-iam-chaos-") as folder, Emulator(tasks.world) as emulator:
        stage = Stage(Path(folder), emulator, tasks, _environment(emulator, variables or {}), start)
        try:
            if start:
                stage.start().until_ready()
                stage.service.until_own_account()
            yield stage
        finally:
            emulator.faults.clear()
            stage.end()


def _environment(emulator: Emulator, variables: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMESH_", "KUMA_", "PYTEST"))
    }
    return {
        **inherited,
        **emulator.environment(HOME, OWN_ROLE),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
        "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ",".join((HOME, *OTHERS)),
        "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
        "KMESH_AWSIAM_READER_ROLE_NAME": READER_ROLE,
        **variables,
    }
