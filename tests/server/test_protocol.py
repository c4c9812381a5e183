"""Limits on a request's head, and only one framing, over raw connections (I20, I26)."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from app.api import call_bounds
from app.api.authenticate import MAX_BODY_BYTES
from app.emulator import FaultKind
from app.server import protocol
from app.server.process import uvicorn_config
from app.server.protocol import (
    HEAD_TIMEOUT_SECONDS,
    MAX_AROUND_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED,
    BoundedHttpProtocol,
)
from tests.support.patience import PATIENCE
from tests.support.service import AUTHENTICATE, RunningService, listening
from tests.support.world import Aws

SECONDS = PATIENCE
BODY = b'{"credential":"x"}'
HEALTHY = b"GET /healthy HTTP/1.1\r\nHost: x\r\n"
POST = f"POST {AUTHENTICATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
UNDECIDED = b"HTTP/1.1 401 "


class Connection:
    """One raw connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> bytes:
        """One whole answer, head and body."""
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
            return head + await self._reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return everything until the other side closes the connection."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(address: tuple[str, int], data: bytes = b"") -> AsyncIterator[Connection]:
    """Connect. The data are there when the service accepts the connection, since this thread is the service's too."""
    raw = socket.create_connection(address)
    raw.sendall(data)
    connection = Connection(*await asyncio.open_connection(sock=raw))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def address(api: ASGIApp) -> AsyncIterator[tuple[str, int]]:
    async with listening(api) as found:
        yield found


@pytest.fixture
async def connection(address: tuple[str, int]) -> AsyncIterator[Connection]:
    async with connected(address) as found:
        yield found


@pytest.fixture
def no_clock_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the timeouts of head and body long, so that on a slow machine none of them ends a connection."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr(call_bounds, "BODY_TIMEOUT_SECONDS", 10 * PATIENCE)


def is_bad_request(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 400 ") and b"connection: close" in answer.lower()


def test_the_bounds_leave_room_for_every_client() -> None:
    assert (MAX_HEAD_BYTES, MAX_HEADERS, HEAD_TIMEOUT_SECONDS) == (32 * 1024, 64, 10.0)


async def test_a_head_within_the_bounds_is_answered(connection: Connection) -> None:
    headers = b"".join(b"X-%d: x\r\n" % number for number in range(MAX_HEADERS - 1))
    await connection.send(HEALTHY + headers + b"\r\n")
    assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


async def test_too_many_headers_end_the_connection(connection: Connection) -> None:
    headers = b"".join(b"X-%d: x\r\n" % number for number in range(MAX_HEADERS))
    await connection.send(HEALTHY + headers + b"\r\n")
    assert is_bad_request(await connection.rest())


async def test_too_long_a_head_ends_the_connection(connection: Connection) -> None:
    headers = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 4096) for number in range(9))
    await connection.send(HEALTHY + headers + b"\r\n")
    assert is_bad_request(await connection.rest())


async def test_too_long_a_target_ends_the_connection(connection: Connection) -> None:
    await connection.send(b"GET /healthy?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * MAX_HEAD_BYTES))
    assert is_bad_request(await connection.rest())


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"GET /", id="target"),
        pytest.param(HEALTHY + b"X-", id="header-name"),
        pytest.param(HEALTHY + b"X-Long: ", id="header-value"),
    ],
)
@pytest.mark.usefixtures("no_clock_rings")
async def test_an_endless_head_is_cut_long_before_its_end(connection: Connection, beginning: bytes) -> None:
    """A mebibyte is 32 times the bound. A client that may send one may also send as many as memory holds."""
    await connection.send(beginning)
    hung_up = asyncio.create_task(connection.rest())
    with contextlib.suppress(ConnectionError):
        for _ in range(256):
            await connection.send(b"x" * 4096)
    await hung_up


async def test_each_request_of_a_connection_has_bounds_of_its_own(connection: Connection) -> None:
    headers = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1024) for number in range(20))
    for _ in range(3):
        await connection.send(HEALTHY + headers + b"\r\n")
        assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


async def test_requests_that_wait_are_bounded(connection: Connection) -> None:
    """One read can contain thousands of small requests, and each would be kept until it is processed."""
    await connection.send((HEALTHY + b"\r\n") * 200)
    answers = await connection.rest()
    assert answers.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 400 " in answers
    assert answers.count(b"HTTP/1.1 200 ") <= MAX_PIPELINED + 1


async def test_as_many_requests_may_wait_as_the_bound_says(connection: Connection) -> None:
    await connection.send((HEALTHY + b"\r\n") * (MAX_PIPELINED + 1))
    for _ in range(MAX_PIPELINED + 1):
        assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_request_that_waited_gets_the_rest_of_its_body(connection: Connection) -> None:
    """Reading pauses while requests wait; the body of the last one must still arrive."""
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    await connection.send(whole + POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:3])
    assert (await connection.answer()).startswith(UNDECIDED)
    await connection.send(BODY[3:])
    assert (await connection.answer()).startswith(UNDECIDED)


async def test_a_head_behind_a_large_body_is_not_taken_for_a_large_head(connection: Connection) -> None:
    body = b'{"credential":"%b"}' % (b"x" * 36_000)
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    await connection.send(whole + HEALTHY[:20])
    assert (await connection.answer()).startswith(UNDECIDED)
    await connection.send(HEALTHY[20:] + b"\r\n")
    assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [AUTHENTICATE, "/healthy"])
@pytest.mark.usefixtures("no_clock_rings")
async def test_an_endless_trailer_is_cut_off(connection: Connection, path: str) -> None:
    """Nobody uses the trailer, but the parser collects it, and copies all of it for each piece."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.send(head.encode() + b"2\r\n{}\r\n0\r\nX-T: ")
    hung_up = asyncio.create_task(connection.rest())
    with contextlib.suppress(ConnectionError):
        for _ in range(2 * MAX_AROUND_BODY_BYTES // 4096):
            await connection.send(b"x" * 4096)
    await hung_up


async def test_the_largest_body_may_come_byte_by_byte(connection: Connection) -> None:
    body = b'{"credential":"%b"}' % (b"x" * (MAX_BODY_BYTES - 17))
    assert len(body) == MAX_BODY_BYTES
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    await connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert (await connection.answer()).startswith(UNDECIDED)


# Time.


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.05)


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"POST", id="half-a-method"),
        pytest.param(HEALTHY, id="no-end-of-the-head"),
    ],
)
@pytest.mark.usefixtures("_short_patience")
async def test_a_head_that_does_not_come_is_not_waited_for(connection: Connection, beginning: bytes) -> None:
    await connection.send(beginning)
    assert await connection.rest() == b""


async def test_a_second_head_that_does_not_come_is_not_waited_for(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connection.send(HEALTHY + b"\r\n")
    assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.05)
    await connection.send(HEALTHY)
    assert await connection.rest() == b""


@pytest.mark.usefixtures("_short_patience")
async def test_the_clock_of_the_head_does_not_end_a_decision(service: RunningService, aws: Aws) -> None:
    """The silent connection comes after the decision's. When it is closed, the decision's own timer has fired."""
    body = b'{"credential":"%b"}' % aws.credential().encode()
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    async with (
        listening(service.service.api) as address,
        connected(address, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body) as deciding,
        connected(address) as silent,
    ):
        await asyncio.to_thread(aws.emulator.calls.wait_for, 1)
        assert await silent.rest() == b""
        aws.emulator.faults.clear()
        assert (await deciding.answer()).startswith(b"HTTP/1.1 200 ")


# One framing.


async def test_requests_in_a_row_are_answered_in_a_row(connection: Connection) -> None:
    request = POST + b"Content-Length: %d\r\n" % len(BODY)
    await connection.send(b"".join(request + b"X-Request-Id: %d\r\n\r\n" % number + BODY for number in range(3)))
    for number in range(3):
        assert b'"requestId":"%d"' % number in await connection.answer()


AMBIGUOUS = {
    "length-and-chunks": POST + b"Content-Length: 18\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": POST + b"Content-Length: 18\r\nContent-Length: 19\r\n\r\n" + BODY,
    "negative-length": POST + b"Content-Length: -1\r\n\r\n",
    "length-in-hexadecimal": POST + b"Content-Length: 0x12\r\n\r\n" + BODY,
    "chunk-size-that-is-none": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunked-is-not-the-last-coding": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "line-that-goes-on": b"GET /healthy HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n",
    "blank-before-the-colon": b"GET /healthy HTTP/1.1\r\nHost : x\r\n\r\n",
    "bare-line-feeds": b"GET /healthy HTTP/1.1\nHost: x\n\n",
    "nul-in-a-header": b"GET /healthy HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n",
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_request_of_two_readings_ends_the_connection(connection: Connection, request_bytes: bytes) -> None:
    """CVE-2025-43859: a request that a proxy before the service could read differently must not be read at all."""
    await connection.send(request_bytes)
    assert is_bad_request(await connection.rest())


async def test_a_trailer_is_no_header(connection: Connection) -> None:
    request = POST + b"Transfer-Encoding: chunked\r\nX-Request-Id: request-1\r\n\r\n"
    await connection.send(
        request + b"12\r\n" + BODY + b"\r\n0\r\nX-Request-Id: trailer\r\nContent-Type: text/plain\r\n\r\n"
    )
    answer = await connection.answer()
    assert answer.startswith(UNDECIDED)
    assert b'"requestId":"request-1"' in answer


async def test_an_upgrade_is_not_made(connection: Connection) -> None:
    await connection.send(HEALTHY + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_client_may_ask_before_it_sends_its_body(connection: Connection) -> None:
    await connection.send(POST + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY))
    async with asyncio.timeout(SECONDS):
        assert await connection._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await connection.send(BODY)
    assert (await connection.answer()).startswith(UNDECIDED)


async def test_http_1_0_is_answered(connection: Connection) -> None:
    await connection.send(b"GET /healthy HTTP/1.0\r\n\r\n")
    assert (await connection.rest()).startswith(b"HTTP/1.1 200 ")


def test_a_reset_connection_leaves_no_clock_running() -> None:
    """Each timer would keep its connection's memory for the keep-alive time, so resets alone could fill the memory."""
    loop = asyncio.new_event_loop()
    try:
        config = uvicorn_config(trivial, grace_seconds=1)
        config.load()
        connection = BoundedHttpProtocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        clock = connection.timeout_keep_alive_task = loop.call_later(60, connection.connection_lost, None)
        connection.connection_lost(ConnectionResetError())
        assert clock.cancelled()
        assert connection.timeout_keep_alive_task is None
    finally:
        loop.close()


class Clock:
    """The parts of an event loop with which a connection reads the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> str:
        self.calls.append((self.now + seconds, callback))
        return "a clock"

    def ring(self) -> None:
        """Fire the one timer at its time."""
        [(self.now, callback)] = self.calls
        self.calls.clear()
        callback()


class Wire(asyncio.Transport):
    """A transport that can be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def resume_reading(self) -> None:
        """Nothing is read here."""


@pytest.fixture
def unused() -> tuple[BoundedHttpProtocol, Clock, Wire]:
    """A connection whose first answer was just sent. It may be idle for 75 seconds."""
    config = uvicorn_config(trivial, grace_seconds=1)
    config.load()
    clock, wire = Clock(), Wire()
    connection = BoundedHttpProtocol(config=config, server_state=ServerState(), app_state={}, _loop=clock)
    connection.transport, connection.flow = wire, FlowControl(wire)
    connection.on_response_complete()
    assert connection.timeout_keep_alive == 75
    return connection, clock, wire


def test_an_unused_connection_is_closed_after_its_time(unused: tuple[BoundedHttpProtocol, Clock, Wire]) -> None:
    _, clock, wire = unused
    clock.ring()
    assert (clock.now, wire.closed, clock.calls) == (75.0, True, [])


def test_a_connection_that_was_used_has_its_time_anew(unused: tuple[BoundedHttpProtocol, Clock, Wire]) -> None:
    connection, clock, wire = unused
    clock.now = 50.0
    connection._unset_keepalive_if_required()
    connection.on_response_complete()
    assert len(clock.calls) == 1  # no other timer is made
    clock.ring()
    assert (clock.now, wire.closed) == (75.0, False)
    clock.ring()
    assert (clock.now, wire.closed) == (125.0, True)


def test_a_connection_in_use_is_not_closed_and_has_its_time_afterwards(
    unused: tuple[BoundedHttpProtocol, Clock, Wire],
) -> None:
    connection, clock, wire = unused
    clock.now = 70.0
    connection._unset_keepalive_if_required()
    clock.ring()
    assert (wire.closed, clock.calls) == (False, [])
    clock.now = 80.0
    connection.on_response_complete()
    clock.ring()
    assert (clock.now, wire.closed) == (155.0, True)


async def trivial(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Never called."""
