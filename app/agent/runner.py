"""The agent's process: signals, the proxy's process if the agent starts one, and the exit status.

The main thread reads one pipe. The interpreter writes the number of each signal into the pipe, and the renewal thread writes
a zero after each renewal.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from app.agent.lines import Log
from app.agent.renewal import Renewals
from app.agent.renewal_thread import RenewalThread

# The signals that the agent passes on to the proxy. SIGKILL cannot be passed on: it ends only the agent.
FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# How long the agent waits for the proxy to end. kuma-dp needs 30 s to drain.
END_SECONDS: Final = 45.0
_NOT_FOUND: Final = 127
_NOT_STARTED: Final = 126
_SIGNALLED: Final = 128
_RENEWED: Final = 0


def run_agent(renewals: Renewals, command: Sequence[str], log: Log) -> int:
    """Renew until a signal arrives, the proxy ends, or a failure lasts too long. Return the exit status."""
    fault = _fault_of(command[0]) if command else None
    if fault is not None:
        problem, status = fault
        log.error("proxy not started", program=command[0], problem=problem, exit_status=status)
        return status
    with _events() as (read, write):
        thread = RenewalThread(renewals, lambda: _tell(write))
        thread.start()
        status = _Runner(thread, command, log).run(read)
        thread.stop()
        # One second is enough to finish writing a file. The agent does not wait for a call that hangs.
        thread.join(1.0)
    log.info("stopped", exit_status=status)
    return status


def _fault_of(program: str) -> tuple[str, int] | None:
    """Return why a program cannot be started, with the exit status of a shell for that case; None if no reason is found."""
    if shutil.which(program) is not None:
        return None
    if shutil.which(program, os.F_OK) is not None or (os.sep in program and Path(program).exists()):
        return f"user {os.getuid()} cannot execute it; give a file that has the execute permission", _NOT_STARTED
    return "there is no such program here", _NOT_FOUND


class _Runner:
    def __init__(self, thread: RenewalThread, command: Sequence[str], log: Log) -> None:
        self._thread = thread
        self._command = command
        self._log = log
        self._proxy: subprocess.Popen[bytes] | None = None

    def run(self, read: int) -> int:
        while True:
            select.select([read], [], [])
            for number in os.read(read, 4096):
                status = self._on_renewal() if number == _RENEWED else self._on_signal(signal.Signals(number))
                if status is not None:
                    return status

    def _on_renewal(self) -> int | None:
        self._reap_orphans()
        finished = self._thread.finished
        if finished is not None:
            if self._proxy is not None:
                self._end_proxy(self._proxy)
            return finished.status
        if self._command and self._proxy is None and self._thread.renewals.has_written:
            return self._start_proxy()
        return None

    def _start_proxy(self) -> int | None:
        try:
            # The proxy gets a process group of its own. Otherwise a terminal would also send Ctrl-C to the proxy, and with
            # the agent's own signal the proxy would get it twice.
            self._proxy = subprocess.Popen(list(self._command), process_group=0)  # noqa: S603 - what the operator wrote
        except OSError as error:
            # ENOENT means that the program is missing, or that the interpreter of a script is missing.
            _, status = _fault_of(self._command[0]) or ("", _NOT_STARTED)
            self._log.error("proxy not started", program=self._command[0], problem=error.strerror, exit_status=status)
            return status
        self._log.info("proxy started", program=self._command[0], pid=self._proxy.pid)
        return None

    def _on_signal(self, number: signal.Signals) -> int | None:
        if number == signal.SIGCHLD:
            return self._reap()
        if self._proxy is not None:
            self._proxy.send_signal(number)
            return None
        if number in _ENDING:
            return 0 if self._thread.renewals.has_written else _SIGNALLED + number
        if number == signal.SIGHUP:
            self._thread.renew_now()
        return None

    def _reap(self) -> int | None:
        """Take the proxy's exit status, and those of orphaned processes if the agent is the first process of a container."""
        status = None if self._proxy is None else self._proxy.poll()
        self._reap_orphans()
        if self._proxy is None or status is None:
            return None
        self._end_group(self._proxy)
        code = status if status >= 0 else _SIGNALLED - status
        if code == 0:
            self._log.info("proxy ended", pid=self._proxy.pid, exit_status=code)
        else:
            self._log.error("proxy ended", pid=self._proxy.pid, exit_status=code)
        return code

    def _reap_orphans(self) -> None:
        # During a renewal a child process can belong to the SDK (credential_process), and the SDK waits for that one itself.
        if not self._thread.is_busy.acquire(blocking=False):
            return
        try:
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if self._proxy is not None and ended.si_pid == self._proxy.pid:
                    return  # the status is left for Popen
                os.waitpid(ended.si_pid, 0)
        except ChildProcessError:
            pass
        finally:
            self._thread.is_busy.release()

    def _end_proxy(self, proxy: subprocess.Popen[bytes]) -> None:
        """Stop the proxy, because the agent has given up and its token file is not valid any more."""
        proxy.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            proxy.wait(END_SECONDS)
        self._end_group(proxy)
        proxy.wait()

    @staticmethod
    def _end_group(proxy: subprocess.Popen[bytes]) -> None:
        """Kill all processes of the proxy: without kuma-dp, Envoy would keep running with its last configuration."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(proxy.pid, signal.SIGKILL)


@contextlib.contextmanager
def _events() -> Iterator[tuple[int, int]]:
    """Receive signals through a pipe. This works for every thread that the kernel may deliver a signal to."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    handled = (*FORWARDED, signal.SIGCHLD)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in handled}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read, write
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        # The pipe stays open: a renewal that hangs may still write into it. The process ends soon.


def _tell(write: int) -> None:
    with contextlib.suppress(OSError):
        os.write(write, bytes([_RENEWED]))
