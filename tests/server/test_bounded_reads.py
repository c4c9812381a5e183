"""The bytes that a connection keeps are bounded, whatever a client sends in advance (I20)."""

import asyncio
import contextlib
import gc
import socket
import tracemalloc
from collections.abc import AsyncIterator

import pytest
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import call_bounds
from app.api.authenticate import MAX_BODY_BYTES
from app.server.protocol import BoundedHttpProtocol
from tests.support.passing_time import LONG
from tests.support.patience import PATIENCE
from tests.support.service import listening

KIB = 1024
MOST = 80 * KIB
CONNECTIONS = 8
MANY = 100
# More than the kernel's socket buffers of both ends.
SENT = 16 * 1024 * KIB
POST = b"POST /v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


class Hanging:
    """An application that reads the body, keeps nothing, and answers only at the end."""

    def __init__(self) -> None:
        self.begun = 0
        self.whole = 0
        self.end = asyncio.Event()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        while (await receive()).get("more_body", False) and not self.end.is_set():
            pass
        self.whole += 1
        await self.end.wait()
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body"})


async def send_as_much_as_it_takes(connections: list[socket.socket], data: bytes) -> None:
    """Send on all connections until the server accepts no more bytes, or everything is sent."""
    left = dict.fromkeys(connections, memoryview(data))
    quiet = 0
    async with asyncio.timeout(PATIENCE):
        while quiet < 50:
            quiet += 1
            for connection in connections:
                # All at once, so that the kernel holds as many bytes as it can.
                with contextlib.suppress(BlockingIOError):
                    while left[connection]:
                        left[connection] = left[connection][connection.send(left[connection]) :]
                        quiet = 0
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def connected(app: ASGIApp, number: int) -> AsyncIterator[list[socket.socket]]:
    async with listening(app) as address:
        connections = [socket.create_connection(address) for _ in range(number)]
        try:
            for connection in connections:
                connection.setblocking(False)
            yield connections
        finally:
            for connection in connections:
                connection.close()


def kept_of(data: bytes) -> tuple[int, tuple[int, int]]:
    """Return the bytes that each connection keeps, and the numbers of calls begun and read; on the service's loop."""

    async def scenario() -> tuple[int, tuple[int, int]]:
        app = Hanging()
        async with connected(app, CONNECTIONS + 1) as [first, *others]:
            await send_as_much_as_it_takes([first], data)  # objects that are created once do not count
            tracemalloc.start()
            try:
                await send_as_much_as_it_takes(others, data)
                return tracemalloc.get_traced_memory()[0] // CONNECTIONS, (app.begun, app.whole)
            finally:
                tracemalloc.stop()
                app.end.set()

    return uvloop.run(scenario())


def request(length: int) -> bytes:
    return HEAD % length + b"x" * length


@pytest.mark.parametrize("length", [4_000, 20_000, 60_000, MAX_BODY_BYTES])
def test_requests_ahead_of_an_answer_stay_with_the_kernel(length: int) -> None:
    """Seven requests were kept for each connection: 480 KiB in addition to the one in progress."""
    kept, calls = kept_of(request(length) * (SENT // length))
    assert calls == (CONNECTIONS + 1, CONNECTIONS + 1)  # each connection reads one request, and none is answered
    assert kept <= MOST


def test_a_head_behind_a_call_is_kept_up_to_its_bound() -> None:
    unfinished = b"".join(b"X-%d: %b\r\n" % (number, b"x" * KIB) for number in range(30))
    kept, calls = kept_of(request(4_000) + b"GET / HTTP/1.1\r\nHost: x\r\n" + unfinished)
    assert calls == (CONNECTIONS + 1, CONNECTIONS + 1)
    assert kept <= MOST


async def test_a_body_that_does_not_end_is_kept_once(api: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body arrived in parts, and each part was kept in addition to the joined body."""
    monkeypatch.setattr(call_bounds, "BODY_TIMEOUT_SECONDS", LONG)
    whole = POST % MAX_BODY_BYTES + b"x" * MAX_BODY_BYTES
    async with connected(api, CONNECTIONS + 1) as [first, *others]:
        await send_as_much_as_it_takes([first], whole[:-1])
        tracemalloc.start()
        try:
            for part in (whole[:30_000], whole[30_000:60_000], whole[60_000:-1]):
                await send_as_much_as_it_takes(others, part)
            kept = tracemalloc.get_traced_memory()[0] // CONNECTIONS
        finally:
            tracemalloc.stop()
    assert 60 * KIB < kept <= MOST


def open_connections() -> int:
    gc.collect()  # those of other tests
    return sum(isinstance(found, BoundedHttpProtocol) for found in gc.get_objects())


async def until_served(app: Hanging, address: tuple[str, int]) -> int:
    """Wait until a new connection is served: then the service has processed the earlier events of older connections."""
    read = app.whole
    with socket.create_connection(address) as newest:
        newest.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            await send_as_much_as_it_takes([newest], request(4_000))
            while app.whole == read:
                await send_as_much_as_it_takes([newest], b"")
        return open_connections() - 1


def test_a_silent_connection_takes_at_most_6_kib() -> None:
    """A storm has thousands of connections. Measured: 4.4 KB with CPython 3.11."""

    async def scenario() -> int:
        app = Hanging()
        async with connected(app, 1) as [first]:
            older = await until_served(app, first.getpeername())
            tracemalloc.start()
            try:
                others = [socket.create_connection(first.getpeername()) for _ in range(MANY)]
                assert await until_served(app, first.getpeername()) >= older + MANY
                gc.collect()
                return tracemalloc.get_traced_memory()[0] // MANY
            finally:
                tracemalloc.stop()
                app.end.set()
                for other in others:
                    other.close()

    assert uvloop.run(scenario()) <= 6 * KIB


def test_a_decision_whose_caller_left_does_not_keep_its_connection() -> None:
    """Callers that give up connect again, while their decisions wait for some more seconds."""

    async def scenario() -> int:
        app = Hanging()
        async with connected(app, CONNECTIONS) as connections:
            address = connections[0].getpeername()
            await send_as_much_as_it_takes(connections, request(4_000))
            before = await until_served(app, address)
            for connection in connections:
                connection.close()
            after = await until_served(app, address)
            app.end.set()
            return before - after

    assert uvloop.run(scenario()) >= CONNECTIONS
