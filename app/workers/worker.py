"""A process that serves beside others like it: what it has been handed by its parent, and what binds it to that."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

from app.audit import get_logger
from app.readiness import Readiness
from app.sockets import Sockets
from app.workers.balance import Connections
from app.workers.folder import remove_folder
from app.workers.metrics import PUBLISH_SECONDS, WorkerMetrics
from app.workers.seat import Seat

# What a worker says to its parent, again and again: it heeds signals and accepts connections.
SERVING: Final = b"1"


class Worker:
    """This process as one of several.

    Attributes:
        sockets: what all of them listen on.
        metrics: count for all of them.
        connections: of the API, of each of them.
    """

    def __init__(self, seat: Seat) -> None:
        """Take what was handed over."""
        self.sockets = Sockets(_adopt(seat.api), None if seat.diagnostics is None else _adopt(seat.diagnostics))
        self.metrics = WorkerMetrics(seat.number, seat.folder)
        self.connections = Connections(seat.folder, seat.number)
        self._lifeline = _adopt(seat.lifeline)
        self._lifeline.setblocking(False)
        self._folder = seat.folder
        self._is_orphan = False

    @contextlib.asynccontextmanager
    async def attending(self, readiness: Readiness, stop: Callable[[], None]) -> AsyncIterator[None]:
        """Tell the parent that we serve and everybody how we are, and call ``stop`` when the parent ends."""
        loop = asyncio.get_running_loop()

        def parent_ended() -> None:
            loop.remove_reader(self._lifeline)
            self._is_orphan = True
            get_logger().error("parent ended", remedy="none is needed: this worker ends too, and so do the others")
            stop()

        loop.add_reader(self._lifeline, parent_ended)
        publishing = loop.create_task(self._publish(readiness))
        try:
            yield
        finally:
            publishing.cancel()
            loop.remove_reader(self._lifeline)

    def leave(self) -> None:
        """Remove what the parent cannot remove any more."""
        if self._is_orphan:
            remove_folder(self._folder)

    async def _publish(self, readiness: Readiness) -> None:
        while True:
            with contextlib.suppress(OSError):  # it has ended, or does not listen at the moment
                self._lifeline.send(SERVING)
            self.metrics.publish(ready=readiness.ready)
            await asyncio.sleep(PUBLISH_SECONDS)


def _adopt(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
