"""Accept connections: many at a time, up to a limit, with a short pause when accepting fails.

The event loop's own server accepts one connection in each turn of the loop. In a flood of new connections, a caller would
wait for many turns, and in each turn the loop also does the work of all other connections.
"""

import asyncio
import contextlib
import heapq
import math
import resource
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sized
from typing import Any, Final, Protocol

from app.telemetry.audit import get_logger
from app.telemetry.log_limiter import LogLimiter

# A connection whose body is incomplete takes up to 64 KiB for the body and 15 KiB for the rest. 8192 such connections take
# 650 MB; 8192 idle connections take 36 MB.
MAX_CONNECTIONS: Final = 8192
# Accepting one connection takes about 100 us; a larger number would delay established connections.
MAX_ACCEPTED_AT_ONCE: Final = 64
# The pause in accepting after an error, or at the limit.
PAUSE_SECONDS: Final = 0.1
# While a state lasts, it is logged at most once in this time.
LOG_SECONDS: Final = 10.0

# File descriptors that are not for connections of callers: 384 connections to STS, 288 to STS hosts that do not answer, 64
# to IAM, 1024 to the listener for diagnostics, and those for DNS and the log.
MAX_RESERVED_FILES: Final = 2048
MAX_OPEN_FILES: Final = 65_536

Begin = Callable[[socket.socket], Coroutine[Any, Any, object]]


class Connection(Protocol):
    """An established connection."""

    @property
    def idleness(self) -> tuple[int, float] | None:
        """Return the rank for closing idle connections, lowest first; None while the connection is needed."""

    def make_room(self) -> None:
        """Close at once, and leave the set of established connections."""


def find_idle(connections: Iterable[Connection]) -> list[Connection]:
    """Return a few connections that can be closed for new ones, in the order to close them.

    This iterates over all connections.
    """
    ranks = ((connection.idleness, connection) for connection in connections)
    idle = [(rank, connection) for rank, connection in ranks if rank is not None]
    return [connection for _, connection in heapq.nsmallest(MAX_ACCEPTED_AT_ONCE, idle, key=lambda each: each[0])]


class Listener:
    """Accepts connections until it is closed. It has the methods that uvicorn expects of a server."""

    def __init__(
        self,
        listening: socket.socket,
        begin: Begin,
        connections: Sized,
        most: int,
        find_idle: Callable[[], Iterable[Connection]] = tuple,
        most_beginning: int = MAX_CONNECTIONS,
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Start accepting, in the running event loop.

        Args:
            listening: the listening socket. Its creator closes it, after `close`.
            begin: handles an accepted connection, and closes the connection on failure. If the handshake fails because of
                the client, ``begin`` raises an `OSError`, which is not logged. ``begin`` may call `established`.
            connections: the established connections. `begin` must add its connection before it ends, and the connection must
                be removed when it is lost.
            most: the limit of connections. Beyond it, an idle connection is closed for each new one, or the new one waits in
                the kernel's backlog.
            find_idle: returns some idle connections, in the order to close them; called at most once per pause.
            most_beginning: how many connections may be in a handshake at the same time; a further one ends the oldest
                handshake.
            pause_seconds: how long accepting pauses after an error or at the limit, and the time between two calls of
                ``find_idle``.
        """
        self._listening = listening
        self._begin = begin
        self._connections = connections
        self._most = most
        self._find_idle = find_idle
        self._idle: Iterator[tuple[Connection, tuple[int, float] | None]] = iter(())
        self._find_idle_at = -math.inf
        self._most_beginning = most_beginning
        self._pause_seconds = pause_seconds
        self._loop = asyncio.get_running_loop()
        # The connections in a handshake, in the order in which their handshakes began.
        self._beginning: dict[asyncio.Task[object], None] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._limiter = LogLimiter(LOG_SECONDS, self._loop.time)
        listening.setblocking(False)
        self._go_on()

    def close(self) -> None:
        """Stop accepting. Open connections are not closed, including those in a handshake."""
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """End the handshakes that are still in progress. A connection in a handshake has no call yet."""
        if self._beginning:
            for task in self._beginning:
                task.cancel()
            await asyncio.wait(self._beginning)

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _rest(self, why: str) -> None:
        """Stop accepting for a moment: otherwise the waiting connections would wake the event loop all the time."""
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(self._pause_seconds, self._go_on)
        if self._limiter.note() is not None:
            get_logger().warning("not accepting", problem=why)

    def _next_idle(self) -> Connection | None:
        """Return an idle connection to close, or None. Only a few are closed per pause, because that work delays callers."""
        if self._loop.time() >= self._find_idle_at:
            self._find_idle_at = self._loop.time() + self._pause_seconds
            self._idle = iter([(connection, connection.idleness) for connection in self._find_idle()])
        # Since `find_idle` returned a connection, a call may have arrived on it. Even if that call was answered, others have
        # been idle for longer by now, and the transport may still be sending the answer.
        unused = (each for each, found in self._idle if found is not None and each.idleness == found)
        return next(unused, None)

    def _accept(self) -> None:
        """Accept waiting connections, up to a limit. The event loop calls this again if there are more."""
        for number in range(MAX_ACCEPTED_AT_ONCE):
            count = len(self._connections) + len(self._beginning)
            # At the limit of handshakes, the oldest handshake ends, and no established connection is closed.
            is_full = count >= self._most and len(self._beginning) < self._most_beginning
            if is_full and number:
                return  # if no further connection waits, none has to be closed
            idle = self._next_idle() if is_full else None
            if is_full and idle is None:
                self._rest(f"{self._most} connections are open")
                return
            if not self._accept_one(idle):
                return

    def _accept_one(self, idle: Connection | None) -> bool:
        """Accept one connection. At the limit, close an idle one first. Return whether another connection may wait."""
        try:
            connection, _ = self._listening.accept()
        except BlockingIOError:
            return False
        except ConnectionError:
            return True  # the client disconnected while it waited
        except OSError as error:
            # For example, no file descriptor or no memory is left. Both become free when connections end.
            self._rest(error.strerror or "the operating system refuses, without a reason")
            return False
        connection.setblocking(False)
        if idle is not None:
            idle.make_room()
            if self._limiter.note() is not None:
                get_logger().warning("closing idle connections", problem=f"{self._most} connections are open")
        self._start(connection)
        return True

    def _start(self, connection: socket.socket) -> None:
        if len(self._beginning) >= self._most_beginning:
            oldest = next(iter(self._beginning))
            oldest.cancel()
            del self._beginning[oldest]
        task = self._loop.create_task(self._begin(connection))
        self._beginning[task] = None
        task.add_done_callback(self._begun)

    def established(self, task: asyncio.Task[object] | None) -> None:
        """Stop counting a connection as a handshake, because it is established now and would be counted twice.

        Args:
            task: the task in which the connection began.
        """
        if task is not None:
            self._beginning.pop(task, None)

    def _begun(self, task: asyncio.Task[object]) -> None:
        self._beginning.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):
            self._loop.call_exception_handler({"message": "a connection could not be begun", "exception": error})


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one, as Go's runtime does: ECS sets the soft limit to 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    # Some kernels and sandboxes allow less than they report. Then the soft limit stays, and fewer connections are allowed.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Return the limit of connections in this process: `MAX_CONNECTIONS`, or less if the limit of open files is low."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(soft - MAX_RESERVED_FILES, soft // 2))
