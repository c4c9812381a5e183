"""At the limit of connections, idle ones are closed and those with a call in progress are not; real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.api import call_bounds
from app.local.tls import ServerTls, TlsFiles
from app.server import listener as module
from app.server import process as server
from app.server import protocol
from app.server.listener import MAX_ACCEPTED_AT_ONCE, Connection, Listener, find_idle
from tests.support.passing_time import LONG
from tests.support.process import connect, free_address, served, socket_address
from tests.support.service import listening, until
from tests.support.tls import Authority, trusting_context
from tests.support.world import Aws

# Shorter than the 75 s after which a connection between two calls is closed anyway.
SECONDS = 60
MOST = 3
LARGE = 16 * 1024 * 1024

Address = tuple[str, int]
Scenario = Callable[[], Coroutine[Any, Any, None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda scenario: request.param(scenario())


@pytest.fixture(autouse=True)
def _no_clock_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the other timeouts of idle connections, and the time between two lines of the log, longer than any test."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", LONG)
    monkeypatch.setattr(call_bounds, "BODY_TIMEOUT_SECONDS", LONG)
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", LONG)
    monkeypatch.setattr(module, "LOG_SECONDS", LONG)


class App:
    """Answers at once, after the body, never, or with a large body, as the path says."""

    def __init__(self) -> None:
        self.hanging = 0
        self.end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/body":
            while (await receive()).get("more_body", False):
                pass
        if scope["path"] == "/hang":
            self.hanging += 1
            await self.end.wait()
        body = b"x" * (LARGE if scope["path"] == "/large" else 2)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at in range(0, len(body), 1024 * 1024):
            await send({"type": "http.response.body", "body": body[at : at + 1024 * 1024], "more_body": True})
        await send({"type": "http.response.body"})


class Client:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, path: str = "/") -> None:
        """Send a request, and return the answer."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(SECONDS):
            assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await self.reader.readexactly(2)

    async def is_closed(self) -> bool:
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    @property
    def is_open(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None


@contextlib.asynccontextmanager
async def clients_of(address: Address, number: int) -> AsyncIterator[list[Client]]:
    clients = [Client(*await asyncio.open_connection(*address)) for _ in range(number)]
    try:
        yield clients
    finally:
        for client in clients:
            client.writer.transport.abort()


async def silent(_client: Client) -> None:
    """A connection that sends nothing."""


async def half_a_head(client: Client) -> None:
    client.writer.write(b"GET / HTTP/1.1\r\nHost:")


async def between_two_calls(client: Client) -> None:
    await client.ask()


async def half_a_second_head(client: Client) -> None:
    await client.ask()
    client.writer.write(b"GET /")


async def half_a_body(client: Client) -> None:
    client.writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")


async def takes_no_answer(client: Client) -> None:
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")


IDLE = [silent, half_a_head, between_two_calls, half_a_second_head, half_a_body, takes_no_answer]


@pytest.mark.parametrize("be_idle", IDLE)
def test_who_is_idle_makes_room_for_who_comes(run: Run, be_idle: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Otherwise a client that opens all allowed connections would exclude all other clients."""

    async def scenario() -> None:
        async with listening(App(), most=MOST) as address, clients_of(address, MOST) as idle:
            for client in idle:
                await be_idle(client)
            async with clients_of(address, 1) as [newcomer]:
                await newcomer.ask()

    run(scenario)


def test_the_one_that_is_idle_for_longest_goes_and_the_others_stay(run: Run) -> None:
    async def scenario() -> None:
        async with listening(App(), most=MOST) as address, clients_of(address, MOST) as [first, second, third]:
            for client in (first, second, third, first):
                await client.ask()
                await asyncio.sleep(0.01)  # uvloop's clock has milliseconds
            async with clients_of(address, 1) as [newcomer]:
                await newcomer.ask()
                assert await second.is_closed()
                for client in (first, third, newcomer):
                    await client.ask()

    run(scenario)


def test_who_has_asked_nothing_yet_goes_before_who_has(run: Run) -> None:
    async def scenario() -> None:
        async with listening(App(), most=MOST) as address, clients_of(address, MOST) as [first, second, third]:
            await first.ask()
            await third.ask()
            async with clients_of(address, 1) as [newcomer]:
                await newcomer.ask()
                assert await second.is_closed()
                for client in (first, third):
                    await client.ask()

    run(scenario)


def test_who_is_being_answered_does_not_make_room(run: Run) -> None:
    async def scenario() -> None:
        app = App()
        async with listening(app, most=MOST) as address, clients_of(address, MOST) as busy:
            asking = [asyncio.create_task(client.ask("/hang")) for client in busy]
            await until(lambda: app.hanging == MOST)
            async with clients_of(address, 1) as [newcomer]:
                waiting = asyncio.create_task(newcomer.ask())
                await asyncio.sleep(2 * module.PAUSE_SECONDS)
                assert not waiting.done()
                app.end.set()
                await asyncio.gather(*asking, waiting)

    run(scenario)


def test_who_comes_in_the_turn_of_an_answer_does_not_end_it(run: Run) -> None:
    """Answers leave at the end of the event loop's turn; until then, their connections are not idle."""

    async def scenario() -> None:
        app = App()
        async with listening(app, most=MOST) as address, clients_of(address, MOST) as busy:
            asking = [asyncio.create_task(client.ask("/hang")) for client in busy]
            await until(lambda: app.hanging == MOST)
            with socket.create_connection(address):  # blocks: the loop sees the connection in its next turn
                app.end.set()
                await asyncio.gather(*asking)

    run(scenario)


def test_who_is_being_answered_may_send_its_next_call(run: Run) -> None:
    """Before the answer is there, the rest of the next call is not read."""

    async def scenario() -> None:
        app = App()
        async with listening(app, most=MOST) as address, clients_of(address, MOST) as busy:
            asking = [asyncio.create_task(client.ask("/hang")) for client in busy]
            await until(lambda: app.hanging == MOST)
            for client in busy:
                await half_a_body(client)
            async with clients_of(address, 1) as [newcomer]:
                waiting = asyncio.create_task(newcomer.ask())
                await asyncio.sleep(2 * module.PAUSE_SECONDS)
                app.end.set()
                await asyncio.gather(*asking, waiting)

    run(scenario)


def test_a_flood_of_silent_connections_keeps_nobody_out(run: Run) -> None:
    """Ten times as many connections as allowed: each new connection gets its answer at once."""

    async def scenario() -> None:
        with capture_logs() as log:
            async with listening(App(), most=MOST) as address, contextlib.AsyncExitStack() as stack:
                for _ in range(10):
                    await stack.enter_async_context(clients_of(address, MOST))
                    async with clients_of(address, 1) as [newcomer]:
                        await newcomer.ask()
        told = [event for event in log if event["event"] == "closing idle connections"]
        assert {event["problem"] for event in told} == {f"{MOST} connections are open"}
        assert len(told) == 1

    run(scenario)


def test_handshakes_that_do_not_go_on_keep_nobody_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_HANDSHAKES", 2)
    authority = Authority(tmp_path)
    certificate = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    tls = ServerTls(TlsFiles(cert=certificate.cert, key=certificate.key, client_ca=None), lambda _: None)
    trusting = trusting_context(authority)

    async def scenario() -> None:
        async with listening(App(), tls.context, most=4) as address, clients_of(address, 4) as [first, *_]:
            async with asyncio.timeout(SECONDS):
                client = Client(*await asyncio.open_connection(*address, ssl=trusting))
            await client.ask()
            assert await first.is_closed()
            client.writer.transport.abort()

    run(scenario)


def test_handshakes_that_do_not_go_on_close_no_connection_of_those_who_ended_theirs(run: Run, tmp_path: Path) -> None:
    """I20: if callers need certificates, a client without one gets no further than a handshake."""
    authority = Authority(tmp_path)
    certificate = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    tls = ServerTls(TlsFiles(cert=certificate.cert, key=certificate.key, client_ca=None), lambda _: None)
    trusting = trusting_context(authority)

    async def scenario() -> None:
        async with listening(App(), tls.context, most=4) as address:
            known = [Client(*await asyncio.open_connection(*address, ssl=trusting)) for _ in range(2)]
            for client in known:
                await client.ask()
            async with clients_of(address, 8) as silent_ones:
                for client in silent_ones[:6]:
                    assert await client.is_closed()
                for client in known:
                    await client.ask()
            for client in known:
                client.writer.transport.abort()

    run(scenario)


# The listener alone.


class Idle:
    """A connection that can be closed when room is needed."""

    def __init__(self, idleness: tuple[int, float] | None) -> None:
        self.idleness = idleness
        self.gone = False

    def make_room(self) -> None:
        self.gone = True


def test_find_idle_gives_a_few_and_the_least_missed_first() -> None:
    busy = [Idle(None) for _ in range(10)]
    idle = [Idle((kind, float(-since))) for kind in (1, 0) for since in range(MAX_ACCEPTED_AT_ONCE)]
    found = find_idle([*busy, *idle])
    assert [each.idleness for each in found] == [(0, float(-since)) for since in reversed(range(MAX_ACCEPTED_AT_ONCE))]


def test_room_is_made_so_often_and_no_more(run: Run) -> None:
    """Closing connections too often would delay the calls in progress."""
    asked = 0
    accepted = 0

    def two_of_many() -> list[Connection]:
        nonlocal asked
        asked += 1
        return [Idle((0, 0.0)), Idle((0, 0.0))]

    async def scenario() -> None:
        async def begin(connection: socket.socket) -> None:
            nonlocal accepted
            accepted += 1
            connection.close()

        with socket.create_server(("127.0.0.1", 0)) as waiting, contextlib.ExitStack() as clients:
            for _ in range(10):
                clients.enter_context(socket.create_connection(waiting.getsockname()))
            listener = Listener(waiting, begin, ["a connection"], 1, find_idle=two_of_many, pause_seconds=60.0)
            with capture_logs() as log:
                await until(lambda: any(event["event"] == "closing idle connections" for event in log))
                for _ in range(20):
                    await asyncio.sleep(0)
            listener.close()
            await listener.wait_closed()

    run(scenario)
    assert (asked, accepted) == (1, 2)


@pytest.mark.parametrize("later", [None, (1, 1.0)], ids=["and-is-being-answered", "and-was-answered"])
def test_who_has_asked_since_does_not_make_room(run: Run, later: tuple[int, float] | None) -> None:
    """Others are idle for longer, and a part of the answer may still be on its way."""
    first, second, third = Idle((1, 0.0)), Idle((1, 0.0)), Idle((1, 0.5))
    accepted = 0

    async def scenario() -> None:
        async def begin(connection: socket.socket) -> None:
            nonlocal accepted
            accepted += 1
            second.idleness = later
            connection.close()

        with socket.create_server(("127.0.0.1", 0)) as waiting, contextlib.ExitStack() as clients:
            for _ in range(2):
                clients.enter_context(socket.create_connection(waiting.getsockname()))
            listener = Listener(
                waiting, begin, ["a connection"], 1, find_idle=lambda: [first, second, third], pause_seconds=60.0
            )
            await until(lambda: accepted == 2)
            listener.close()
            await listener.wait_closed()

    run(scenario)
    assert [each.gone for each in (first, second, third)] == [True, False, True]


# Processes, as an operator runs them.


def test_idle_connections_do_not_keep_a_probe_from_its_answer(aws: Aws) -> None:
    """Each connection made one call, and may be idle for 75 s. For so long the container's health check would fail."""
    diagnostics = free_address()
    host, _, port = diagnostics.rpartition(":")
    with (
        socket_address() as address,
        served(address, **aws.service_environment(), KMESH_AWSIAM_DIAGNOSTICS_LISTEN=diagnostics),
        contextlib.ExitStack() as stack,
        connect(diagnostics) as probe,
    ):
        for _ in range(300):
            idle = stack.enter_context(socket.create_connection((host, int(port))))
            idle.sendall(b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        probe.timeout = SECONDS
        assert probe.get("/healthy").status_code == 200
