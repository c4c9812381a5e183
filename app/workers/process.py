"""One worker as its parent sees it: a process, and a line to it that closes when either of the two ends."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from typing import Final

from app.audit import get_logger
from app.sockets import Sockets
from app.workers.seat import Seat

# A worker that serves says so every second. One that has said nothing for so long twice in a row, hangs; once is not
# enough, since a whole container can be paused.
SILENCE_SECONDS: Final = 15.0
_MOST_BYTES: Final = 64


class WorkerProcess:
    """A worker, from its start to its end.

    Attributes:
        pid: of its process.
        serves: it has said so. Before that it may not know what a signal means.
    """

    def __init__(self, number: int, sockets: Sockets, folder: str) -> None:
        """Start it, with the command line and the environment of this process.

        Raises:
            OSError: it cannot be started.
        """
        self.serves = False
        self._number = number
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._lifeline.close)
            seat = Seat(
                number=number,
                lifeline=theirs.fileno(),
                api=sockets.api.fileno(),
                diagnostics=None if sockets.diagnostics is None else sockets.diagnostics.fileno(),
                folder=folder,
            )
            # A group of its own: Ctrl-C reaches the parent alone, which passes it on. Twice would mean "at once".
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, *sys.orig_argv[1:]],
                env=seat.environment(),
                pass_fds=seat.descriptors,
                process_group=0,
            )
            undo.pop_all()
        self.pid = self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns its exit status, or the number of the signal that ended it below zero."""
        with self._lifeline:
            silences = 0
            while (says := await self._listen()) != b"":
                silences = silences + 1 if says is None else 0
                self.serves = self.serves or says is not None
                if self.serves and silences > 1:
                    get_logger().error("worker hangs", worker=self._number, pid=self.pid)
                    self.send(signal.SIGKILL)
        self.serves = False
        # The line closes a moment before the process is gone.
        return await asyncio.to_thread(self._process.wait)

    async def _listen(self) -> bytes | None:
        """Return what it says, nothing when it has ended, and None when it was silent for a while.

        A word that comes at the very end of that while can be lost; the next one is on its way.
        """
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await asyncio.get_running_loop().sock_recv(self._lifeline, _MOST_BYTES)
        except TimeoutError:
            return None
        except OSError:
            return b""
