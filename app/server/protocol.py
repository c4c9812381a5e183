"""uvicorn's httptools protocol with limits on a request's head (bytes, headers, time) and a timer for its body (I20).

llhttp itself limits none of them, so a client could send headers for ever. Nearly all requests arrive in one piece, and such
a request needs no timer for its body. If the rest of a body does not arrive, the timer wakes the reader of the body.

docs/decisions/0022-overrides-of-uvicorn.md says for each override why it exists and what it costs or saves.
tests/test_private_interfaces.py checks the parts of uvicorn that these overrides depend on.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api import call_bounds
from app.server.joined_writes import JoinedWrites, Turn
from app.server.lazy_event import LazyEvent

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 64
# The bytes of a message after its head that are not its body. Chunk framing can add 6 bytes per body byte, 384 KiB for the
# largest body. Trailers count too.
MAX_AROUND_BODY_BYTES: Final = 512 * 1024
# The number of requests of one connection that may wait for the answer to an earlier request.
MAX_PIPELINED: Final = 16
HEAD_TIMEOUT_SECONDS: Final = 10.0
# The reader of a body measures its own time, which may have started a moment after this timer.
_WAKE_AGAIN_SECONDS: Final = 0.1  # no bound: when a reader is woken up, once the time for a body is over


class _HeadTooLargeError(ValueError):
    """The head is too large. httptools turns this into its callback error, and uvicorn answers 400 and closes."""


class _TooManyWaitError(ValueError):
    """Too many requests wait on one connection. uvicorn answers as for `_HeadTooLargeError`."""


class _Waiting(list[Any]):
    """The requests that wait for an earlier one, in uvicorn's order. uvicorn's own empty deque would take 760 bytes."""

    __slots__ = ()

    def appendleft(self, request: object) -> None:
        """Add the newest request. The list has at most `MAX_PIPELINED` items, so moving the other items takes no time."""
        self.insert(0, request)


class _Flow(FlowControl):
    """Flow control that stays paused while a request waits for an earlier one, even if the application resumes reading."""

    def __init__(self, transport: asyncio.Transport, waiting: _Waiting) -> None:
        super().__init__(transport)
        self._is_writable_event = cast("asyncio.Event", LazyEvent(is_set=True))
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Resume reading, unless a request waits: otherwise each further read could keep another 16 KiB."""
        if not self._waiting:
            super().resume_reading()


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection with limits on its request heads. `app.server.bounded_reads` limits the bytes of each read."""

    # Python stores up to 30 attributes of an object compactly, and uvicorn's class has 28. Without these slots, the ten
    # attributes of this class would exceed 30, and each connection would take 1.3 KB more.
    __slots__ = (
        "_around_bytes",
        "_body_bytes",
        "_body_timer",
        "_ended",
        "_head_bytes",
        "_head_timer",
        "_idle_since",
        "_in_head",
        "_piece_bytes",
        "_unused_since",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline = cast("Any", _Waiting())
        self._in_head = True
        self._head_bytes = 0
        self._piece_bytes = self._body_bytes = self._around_bytes = 0
        self._ended = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._unused_since: float | None = None
        self._idle_since = 0.0

    @property
    def idleness(self) -> tuple[int, float] | None:
        """The order in which idle connections are closed for new ones, lowest first; None while a call is being answered.

        The first number is the kind of connection: 0 has not sent a complete head, 1 is between two calls, 2 does not send
        the rest of its body or does not read its answer. The second number puts the longest idle connection of a kind first.
        """
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None:
            return 0, self._idle_since
        if cast("JoinedWrites", self.transport).is_sending:
            return None  # closing the connection before the end of this turn would lose the answer
        if cycle.response_complete:
            return 1, self._idle_since
        if self.flow.write_paused or (cycle.more_body and not self.pipeline):
            return 2, self._idle_since
        return None  # also if a request waits, whose body may be incomplete: an earlier call is being answered

    def make_room(self) -> None:
        """Close the connection at once, to make room for another one."""
        self.connections.discard(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer for the first head: a connection on which no complete head arrives in time is closed."""
        super().connection_made(JoinedWrites(cast("asyncio.Transport", transport), Turn.of(self.loop)))
        self.flow = _Flow(self.transport, cast("_Waiting", self.pipeline))
        self._idle_since = self.loop.time()
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, including uvicorn's own: uvicorn does not stop its timer when a connection is reset."""
        self._stop_head_timer()
        self._stop_body_timer()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None:
            # The decision may still wait for some seconds, and must not keep this connection in memory.
            cycle.on_response = _do_nothing

    def eof_received(self) -> None:
        """Send what is stored: the event loop closes the connection next, because the client sends nothing more."""
        cast("JoinedWrites", self.transport).flush()

    def data_received(self, data: bytes) -> None:
        """Process the data that arrived."""
        self._take(data)
        # uvicorn cancels its keep-alive timer on any byte, even if the byte starts no request. So a connection without a
        # request in progress gets the timer of this class.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        waiting = cycle is not None and not cycle.response_complete
        if waiting and self._body_timer is None and not self._in_head and self._has_more_body(cycle):
            self._body_timer = self.loop.call_later(call_bounds.BODY_TIMEOUT_SECONDS, self._wake_reader)
        # Nearly all heads arrive in one piece and need no timer.
        if self._head_timer is None and (self._in_head or not waiting) and not self.transport.is_closing():
            self._start_head_timer()

    def _take(self, data: bytes) -> None:
        """Feed the parser, and limit the bytes that it keeps: an incomplete head, chunk sizes and trailers."""
        self._piece_bytes, self._body_bytes, self._ended = len(data), 0, False
        super().data_received(data)
        if self._in_head:
            # If an earlier message ended in these data, not all of them belong to the head.
            self._head_bytes += 0 if self._ended else len(data)
            too_large = self._head_bytes > MAX_HEAD_BYTES
        else:
            # Chunk sizes and trailers: the parser keeps trailers, although no code reads them.
            self._around_bytes += len(data) - self._body_bytes
            too_large = self._around_bytes > MAX_AROUND_BODY_BYTES
        if too_large and not self.transport.is_closing():
            self.send_400_response("The request is too large.")

    def on_body(self, body: bytes) -> None:
        """Count the bytes of the body."""
        self._body_bytes += len(body)
        HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """Stop the timer for the body."""
        self._ended = True
        self._stop_body_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next waiting request, or start the keep-alive time if none waits.

        This differs from uvicorn's method in two points. It resumes reading when no request waits any more. And it keeps one
        keep-alive timer, which checks when the connection was last used. uvicorn makes a new timer for each answer, and
        cancels it at each request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        waiting = self.pipeline.pop() if self.pipeline else None
        # The body of the last request may still be arriving.
        self.flow.resume_reading()
        if waiting is not None:
            self._start_asgi_task(*waiting)
            return
        self._unused_since = self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._start_keep_alive(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was unused for the keep-alive time, else restart the timer for the remaining time."""
        self.timeout_keep_alive_task = None
        if self._unused_since is None:
            return  # the next answer starts the timer again
        left = self._unused_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._start_keep_alive(left)
        else:
            super().timeout_keep_alive_handler()

    def _start_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Note that the connection is in use: uvicorn calls this when data arrive."""
        self._unused_since = None

    def on_message_begin(self) -> None:
        """Start counting the bytes of the head."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._around_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, up to `MAX_HEADERS`. A trailer is dropped: uvicorn would add it to the headers (I26)."""
        if not self._in_head:
            return
        HttpToolsProtocol.on_header(self, name, value)
        if len(self.headers) > MAX_HEADERS:
            raise _HeadTooLargeError

    def on_headers_complete(self) -> None:
        """Stop the timer, and reject a head that is too large, also if it arrived in one piece."""
        self._in_head = False
        self._stop_head_timer()
        # The first sum may include a part of the body, which arrived together with the end of the head. Only if this sum is
        # too large, the exact size is computed.
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            raise _HeadTooLargeError
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooManyWaitError
        super().on_headers_complete()
        self.cycle.message_event = cast("asyncio.Event", LazyEvent())

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    @staticmethod
    def _has_more_body(cycle: RequestResponseCycle | None) -> bool:
        return cycle is not None and cycle.more_body and not cycle.response_complete

    def _wake_reader(self) -> None:
        """Make ``receive`` return without data, so that the reader of the body can check its time limit."""
        self._body_timer = None
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and self._has_more_body(cycle):
            cycle.message_event.set()
            self._body_timer = self.loop.call_later(_WAKE_AGAIN_SECONDS, self._wake_reader)

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _do_nothing() -> None:
    """Replace the callback after an answer, because a lost connection gets no answer."""
