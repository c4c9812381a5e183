"""uvicorn's httptools protocol with bounds on a request's head (bytes, headers, time) and a clock for its body (I20).

llhttp itself bounds none of them, so that a client could feed headers for ever. A request that comes in one piece, as nearly
all do, costs no clock for its body: whoever reads one is woken up from here when the rest does not come.

Each override has its reason and what it costs or saves in docs/decisions/0022-overrides-of-uvicorn.md.
tests/test_private_interfaces.py names what these overrides take for granted of uvicorn.
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
# A body's bytes may come one by one, with six more for each: 384 KiB around the largest. A trailer is in it.
MAX_AROUND_BODY_BYTES: Final = 512 * 1024
# Requests of one connection that wait for the answer to an earlier one.
MAX_PIPELINED: Final = 16
HEAD_TIMEOUT_SECONDS: Final = 10.0
# Whoever reads looks at a clock of its own, which may have begun a moment later.
_WAKE_AGAIN_SECONDS: Final = 0.1  # no bound: when a reader is woken up, once the time for a body is over


class _HeadTooLargeError(ValueError):
    """Becomes httptools' callback error, which uvicorn answers with 400 and the end of the connection."""


class _TooManyWaitError(ValueError):
    """Likewise."""


class _Waiting(list[Any]):
    """The requests that wait for an earlier one, in uvicorn's order. An empty deque, as uvicorn has, takes 760 bytes."""

    __slots__ = ()

    def appendleft(self, request: object) -> None:
        """Add the newest request. There are at most `MAX_PIPELINED`, so it takes no time to move the others."""
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
    """One connection whose request heads are bounded; `app.server.bounded_reads` bounds what is read at once."""

    # Python stores up to 30 attributes of an object compactly, and uvicorn has 28. If ours were among them, each connection
    # would take 1.3 KB more.
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

        First come connections that have not sent a whole head, then those between two calls, then those that do not send
        the rest of their body or do not read their answer; within each kind, those that have been in that state longest.
        """
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None:
            return 0, self._idle_since
        if cycle.response_complete:
            return 1, self._idle_since
        if cycle.more_body or self.flow.write_paused:
            return 2, self._idle_since
        return None

    def make_room(self) -> None:
        """Close the connection at once, to make room for another one."""
        self.connections.discard(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of the first head: a connection that says nothing is closed."""
        super().connection_made(JoinedWrites(cast("asyncio.Transport", transport), Turn.of(self.loop)))
        self.flow = _Flow(self.transport, cast("_Waiting", self.pipeline))
        self._idle_since = self.loop.time()
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks; uvicorn leaves its own running when a connection is reset, and with it all that it holds."""
        self._stop_head_timer()
        self._stop_body_timer()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None:
            # A decision may wait for some seconds longer, and must not keep this connection in memory.
            cycle.on_response = _do_nothing

    def data_received(self, data: bytes) -> None:
        """Process the data that arrived."""
        self._take(data)
        # Any byte stops uvicorn's own clock, also one that begins no request: what nobody waits for has ours.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        waiting = cycle is not None and not cycle.response_complete
        if waiting and self._body_timer is None and not self._in_head and self._has_more_body(cycle):
            self._body_timer = self.loop.call_later(call_bounds.BODY_TIMEOUT_SECONDS, self._wake_reader)
        # A head that came at once, as nearly all do, needs no clock.
        if self._head_timer is None and (self._in_head or not waiting) and not self.transport.is_closing():
            self._start_head_timer()

    def _take(self, data: bytes) -> None:
        """Feed the parser, and bound what it keeps: a head that is not whole yet, and what a body has around it."""
        self._piece_bytes, self._body_bytes, self._ended = len(data), 0, False
        super().data_received(data)
        if self._in_head:
            # A piece in which another message ended is not all head.
            self._head_bytes += 0 if self._ended else len(data)
            too_large = self._head_bytes > MAX_HEAD_BYTES
        else:
            # Sizes of chunks, and a trailer, which the parser adds up although nobody reads it.
            self._around_bytes += len(data) - self._body_bytes
            too_large = self._around_bytes > MAX_AROUND_BODY_BYTES
        if too_large and not self.transport.is_closing():
            self.send_400_response("The request is too large.")

    def on_body(self, body: bytes) -> None:
        """Count what is body."""
        self._body_bytes += len(body)
        HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """Stop the body's clock."""
        self._ended = True
        self._stop_body_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request that waits, or the time for which the connection may be unused.

        As uvicorn does it, but for two things. It reads on when no request waits any more. And its clock, which uvicorn
        makes at each answer and stops at each request, runs on and looks when the connection was used last.
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
        """Close a connection that was not used for its time; look again later at one that was."""
        self.timeout_keep_alive_task = None
        if self._unused_since is None:
            return  # the next answer starts the clock anew
        left = self._unused_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._start_keep_alive(left)
        else:
            super().timeout_keep_alive_handler()

    def _start_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Note that the connection is used: uvicorn calls this where something came."""
        self._unused_since = None

    def on_message_begin(self) -> None:
        """Start the count."""
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
        """Stop the clock, and refuse a head that came at once and is too large all the same."""
        self._in_head = False
        self._stop_head_timer()
        # Added up only where it can be too large: what came with its last part, a body perhaps, is counted in.
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
        """Have ``receive`` come back with nothing, so that whoever waits for the body can look at the time."""
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
    """Take the place of what follows an answer, where there will be none."""
