"""Processes of a benchmark: each on a core, with what the kernel says about its processor time and memory."""

import contextlib
import http.client
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

Process = subprocess.Popen[bytes]

# No start takes so long, even on a busy machine: it ends a wait that would otherwise last for ever.
_START_SECONDS: Final = 100.0
_POLL_SECONDS: Final = 0.005
_END_SECONDS: Final = 15.0
_OK: Final = 200


def cores() -> tuple[int, int]:
    """Return the core of the server and that of everything else: the same one where there is only one."""
    known = sorted(os.sched_getaffinity(0))
    return known[0], known[-1]


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run what follows on a core. What is started inside stays there, with every thread it makes."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(
    command: list[str],
    core: int,
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
) -> Process:
    """Start a process on a core; what it writes goes nowhere unless it is told otherwise."""
    with on_core(core):
        return subprocess.Popen(command, env=environment, stdin=stdin, stdout=stdout)


def end(process: Process) -> None:
    """End a process, whatever state it is in, and close the pipes to it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_ready(port: int, process: Process | None = None, path: str = "/ready") -> None:
    """Wait until a server answers 200.

    Raises:
        SystemExit: it does not within 100 s, or has ended.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with status {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, path)[0] == _OK:
                return
        time.sleep(_POLL_SECONDS)
    raise SystemExit(f"nothing is ready on port {port}")


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return the status and body of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, user and system, of all its threads.

    It is what /proc/PID/stat says in hundredths of a second, but in nanoseconds: the process's own clock, whose number the
    C library makes out of the process id in the same way (clock_getcpuclockid).
    """
    return time.clock_gettime((~pid << 3) | 2)


def waiting_seconds(pid: int) -> float:
    """Return for how long threads of a process were ready to run, and something else had their core."""
    waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            waited += int((task / "schedstat").read_text().split()[1])
    return waited / 1e9


def memory_mb(pid: int) -> float:
    """Return the resident megabytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def raise_open_files(wanted: int) -> None:
    """Raise this process's limit of open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
