"""The parent of several workers: it opens the sockets, starts the workers and looks after them. It serves nothing itself."""

import asyncio
import contextlib
import signal
from typing import Final

from app.audit import get_logger
from app.settings import Settings
from app.sockets import Sockets, listening
from app.workers.folder import forget_worker, shared_folder
from app.workers.process import WorkerProcess

# A worker that ended sooner than this is not replaced at once.
STEADY_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.25
LAST_PAUSE_SECONDS: Final = 30.0
# So many in a row on one seat, while no other worker serves, and the parent gives up.
MAX_EARLY_ENDS: Final = 5
# What a worker gets beyond the time that it gives itself, until it is killed.
END_SECONDS: Final = 2.0


class WorkersError(Exception):
    """There is no point in going on; the message says why."""


def supervise(settings: Settings) -> None:
    """Have several workers serve until SIGTERM or SIGINT.

    Raises:
        ListenError: an address cannot be listened on.
        WorkersError: no worker stays up, or one had to be killed at the end.
    """
    with contextlib.ExitStack() as resources:
        sockets = resources.enter_context(listening(settings))
        try:
            folder = resources.enter_context(shared_folder(settings.workers))
        except OSError as error:
            raise WorkersError(
                f"KMESH_AWSIAM_WORKERS: what workers share has no place ({error.strerror}); let the service's user write "
                "to /dev/shm or /tmp (a tmpfs), or unset it"
            ) from error
        asyncio.run(_Crew(settings, sockets, folder).run())
    get_logger().info("stopped")


class _Crew:
    """The workers, each on a seat that is taken again when it ends."""

    def __init__(self, settings: Settings, sockets: Sockets, folder: str) -> None:
        self._seats = range(1, settings.workers + 1)
        # A worker has its grace twice, for decisions and then for connections, as `app.server` has it.
        self._patience = 2 * (settings.decision_timeout + 1) + END_SECONDS
        self._sockets = sockets
        self._folder = folder
        self._workers: dict[int, WorkerProcess] = {}
        self._stopping = asyncio.Event()
        self._problem: str | None = None

    async def run(self) -> None:
        """Keep every seat taken until it is told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        async with asyncio.TaskGroup() as group:
            seats = [group.create_task(self._keep(seat)) for seat in self._seats]
            late = group.create_task(self._kill_late())
            await asyncio.wait(seats)
            late.cancel()
        if self._problem is not None:
            raise WorkersError(self._problem)

    def _told_to_stop(self) -> None:
        if not self._stopping.is_set():
            get_logger().info("draining")
        self._stop()

    def _stop(self) -> None:
        """Have every worker drain; the second time end at once."""
        self._stopping.set()
        # The last worker closes them for good, so that nobody waits in vain to be accepted.
        self._sockets.close()
        for worker in self._workers.values():
            worker.send(signal.SIGTERM)

    def _reload(self) -> None:
        """Pass it on; a worker that does not serve yet is about to read everything anyway."""
        for worker in self._workers.values():
            if worker.serves:
                worker.send(signal.SIGHUP)

    async def _kill_late(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._patience)
        self._problem = (
            self._problem or "KMESH_AWSIAM_WORKERS: a worker did not end when it was told to, and was killed"
        )
        for worker in self._workers.values():
            worker.send(signal.SIGKILL)

    async def _keep(self, seat: int) -> None:
        """Start a worker, and another one whenever it ends."""
        loop = asyncio.get_running_loop()
        early = 0
        while not self._stopping.is_set():
            began = loop.time()
            end = await self._live(seat)
            early = early + 1 if loop.time() - began < STEADY_SECONDS else 0
            if self._stopping.is_set():
                return
            if early >= MAX_EARLY_ENDS and not any(worker.serves for worker in self._workers.values()):
                self._problem = (
                    f"KMESH_AWSIAM_WORKERS: no worker stays up, {early} have ended at once ({end}); see above"
                )
                self._stop()
                return
            pause = _pause_after(early)
            get_logger().error("worker ended", worker=seat, end=end, restart_seconds=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _live(self, seat: int) -> str:
        """Start a worker and wait for its end; returns how it ended."""
        try:
            worker = WorkerProcess(seat, self._sockets, self._folder)
        except OSError as error:
            return f"it could not be started: {error.strerror}"
        self._workers[seat] = worker
        get_logger().info("worker started", worker=seat, pid=worker.pid)
        status = await worker.wait()
        del self._workers[seat]
        with contextlib.suppress(OSError):  # the folder may have been cleaned away; the others go on
            forget_worker(seat, self._folder)
        return f"status {status}" if status >= 0 else f"signal {-status} ({signal.strsignal(-status)})"


def _pause_after(early: int) -> float:
    """Return how long a seat stays empty after so many early ends in a row; none after a long life."""
    if early == 0:
        return 0.0
    return min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(early - 1, 16))
