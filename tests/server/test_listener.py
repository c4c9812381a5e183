"""Accepting connections: many at once, up to a bound, and after errors; real sockets, both event loops."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.local.tls import ServerTls, TlsFiles
from app.server.listener import (
    MAX_ACCEPTED_AT_ONCE,
    MAX_CONNECTIONS,
    MAX_OPEN_FILES,
    MAX_RESERVED_FILES,
    Listener,
    most_connections,
    raise_open_files,
)
from tests.support.patience import PATIENCE
from tests.support.process import socket_address
from tests.support.service import listening, until
from tests.support.tls import Authority, trusting_context

SECONDS = PATIENCE
HEALTHY = b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n"

Scenario = Callable[[], Coroutine[Any, Any, None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a scenario on the service's event loop and on Python's own."""
    return lambda scenario: request.param(scenario())


@pytest.fixture
def tcp_socket() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as found:
        yield found


@pytest.fixture
def unix_socket() -> Iterator[socket.socket]:
    with socket_address() as address, socket.socket(socket.AF_UNIX) as found:
        found.bind(address.removeprefix("unix:"))
        found.listen(256)
        yield found


@pytest.fixture(params=["tcp_socket", "unix_socket"])
def listening_socket(request: pytest.FixtureRequest) -> socket.socket:
    found: socket.socket = request.getfixturevalue(request.param)
    return found


class Echo(asyncio.Protocol):
    """Returns each byte. It is in the set of connections while it is open."""

    def __init__(self, connections: set["Echo"]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.add(self)
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@contextlib.asynccontextmanager
async def echoing(listening: socket.socket, most: int = 1000, **options: Any) -> AsyncIterator[set[Echo]]:
    """Accept and echo. Yield the open connections."""
    connections: set[Echo] = set()

    async def begin(connection: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Echo(connections), connection)

    listener = Listener(listening, begin, connections, most, **options)
    try:
        yield connections
    finally:
        listener.close()
        await listener.wait_closed()
        for echo in connections:
            echo.transport.close()
        await until(lambda: not connections)


class Client:
    """One connection of a caller."""

    def __init__(self, listening: socket.socket) -> None:
        self.raw = socket.socket(listening.family)
        self.raw.connect(listening.getsockname())
        self.raw.setblocking(False)

    async def is_served(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            await loop.sock_sendall(self.raw, b"x")
            assert await loop.sock_recv(self.raw, 1) == b"x"


@contextlib.contextmanager
def clients_of(listening: socket.socket, number: int) -> Iterator[list[Client]]:
    clients = [Client(listening) for _ in range(number)]
    try:
        yield clients
    finally:
        for client in clients:
            client.raw.close()


def not_accepting(log: list[EventDict]) -> list[str]:
    return [event["problem"] for event in log if event["event"] == "not accepting"]


# Accepting.


def test_everybody_is_accepted(run: Run, listening_socket: socket.socket) -> None:
    async def scenario() -> None:
        with clients_of(listening_socket, 3) as early:
            async with echoing(listening_socket):
                for client in early:
                    await client.is_served()
                with clients_of(listening_socket, 1) as [late]:
                    await late.is_served()

    run(scenario)


def test_a_flood_is_taken_in_by_many_at_once(run: Run, listening_socket: socket.socket) -> None:
    """Otherwise a new connection would wait for one turn of the loop for each connection before it."""
    begun: list[int] = []

    async def scenario() -> None:
        async def begin(connection: socket.socket) -> None:
            begun.append(connection.fileno())
            connection.close()

        with clients_of(listening_socket, 2 * MAX_ACCEPTED_AT_ONCE):
            listener = Listener(listening_socket, begin, (), 1000)
            rounds = 0
            while len(begun) < 2 * MAX_ACCEPTED_AT_ONCE:
                await asyncio.sleep(0)
                rounds += 1
            assert rounds < MAX_ACCEPTED_AT_ONCE
            listener.close()
            await listener.wait_closed()

    run(scenario)


def test_small_answers_are_sent_at_once(tcp_socket: socket.socket) -> None:
    """As the service's event loop does for connections that it accepts itself."""

    async def scenario() -> None:
        with clients_of(tcp_socket, 1) as [client]:
            async with echoing(tcp_socket) as connections:
                await client.is_served()
                [echo] = connections
                raw = echo.transport.get_extra_info("socket")
                assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0

    uvloop.run(scenario())


# The bound.


def test_a_client_that_ends_its_side_in_the_turn_of_its_answer_gets_the_answer() -> None:
    """Answers leave at the end of the turn, and the event loop closes a connection whose client ended its side."""
    client = socket.socket()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        client.shutdown(socket.SHUT_WR)  # the loop sees this before the end of the turn

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        async with listening(app) as address:
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, HEALTHY)
            assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 204")

    with client:
        uvloop.run(scenario())


def test_at_the_bound_the_next_one_waits_until_one_has_gone(run: Run, listening_socket: socket.socket) -> None:
    async def scenario() -> None:
        with capture_logs() as log, clients_of(listening_socket, 3) as [first, second, third]:
            async with echoing(listening_socket, most=2) as connections:
                await first.is_served()
                await second.is_served()
                await until(lambda: bool(not_accepting(log)))
                assert len(connections) == 2
                first.raw.close()
                await third.is_served()
        assert not_accepting(log) == ["2 connections are open"]

    run(scenario)


class Full:
    """A set of connections that is always full. It counts how often it was checked."""

    looks = 0

    def __len__(self) -> int:
        self.looks += 1
        return 5


def test_a_bound_that_lasts_is_told_once(run: Run, listening_socket: socket.socket) -> None:
    full = Full()

    async def scenario() -> None:
        async def begin(_: socket.socket) -> None:
            raise AssertionError("accepted")

        with capture_logs() as log, clients_of(listening_socket, 1):
            listener = Listener(listening_socket, begin, full, 5, pause_seconds=0.001)
            await until(lambda: full.looks >= 3)
            listener.close()
        assert not_accepting(log) == ["5 connections are open"]

    run(scenario)


def test_a_connection_in_a_handshake_counts(run: Run, listening_socket: socket.socket) -> None:
    begun: list[socket.socket] = []

    async def scenario() -> None:
        async def never_begin(connection: socket.socket) -> None:
            begun.append(connection)
            with connection:
                await asyncio.Event().wait()

        with capture_logs() as log, clients_of(listening_socket, 2):
            listener = Listener(listening_socket, never_begin, (), 1)
            await until(lambda: bool(not_accepting(log)))
            assert len(begun) == 1
            listener.close()
            await listener.wait_closed()
        assert begun[0].fileno() == -1

    run(scenario)


@pytest.fixture
def _soft_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def set_soft_limit(files: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.usefixtures("_soft_limit")
@pytest.mark.parametrize(
    ("files", "most"),
    [
        (1024, 512),
        (2 * MAX_RESERVED_FILES + 500, MAX_RESERVED_FILES + 500),
        (300, 150),
        (MAX_RESERVED_FILES + MAX_CONNECTIONS, 8192),
    ],
)
def test_the_bound_leaves_descriptors_over(files: int, most: int) -> None:
    set_soft_limit(files)
    assert most_connections() == most


@pytest.mark.usefixtures("_soft_limit")
def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    set_soft_limit(512)
    raise_open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == (MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES))


# Errors.


@pytest.mark.usefixtures("_soft_limit")
def test_without_descriptors_it_rests_and_goes_on_by_itself(run: Run, listening_socket: socket.socket) -> None:
    async def scenario() -> None:
        with capture_logs() as log, clients_of(listening_socket, 2) as clients:
            async with echoing(listening_socket):
                before = resource.getrlimit(resource.RLIMIT_NOFILE)
                lowest_free = os.dup(0)
                os.close(lowest_free)
                set_soft_limit(lowest_free)
                await until(lambda: bool(not_accepting(log)))
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for client in clients:
                    await client.is_served()
        [problem] = not_accepting(log)
        assert "Too many open files" in problem

    run(scenario)


def test_a_client_that_went_away_while_it_waited_harms_nobody(run: Run, listening_socket: socket.socket) -> None:
    async def scenario() -> None:
        with clients_of(listening_socket, 2) as [gone, there]:
            gone.raw.close()
            async with echoing(listening_socket):
                await there.is_served()

    run(scenario)


def test_a_bug_of_ours_is_told_and_harms_nobody(run: Run, listening_socket: socket.socket) -> None:
    told: list[dict[str, Any]] = []

    async def scenario() -> None:
        async def begin(connection: socket.socket) -> None:
            connection.close()
            raise ValueError("a bug")

        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with clients_of(listening_socket, 2):
            listener = Listener(listening_socket, begin, (), 1000)
            await until(lambda: len(told) == 2)
            listener.close()

    run(scenario)
    assert {repr(context["exception"]) for context in told} == {"ValueError('a bug')"}


@pytest.mark.parametrize("sent", [HEALTHY, b"\x00" * 64, b""], ids=["http", "noise", "silence"])
def test_a_handshake_that_fails_is_nothing_to_tell_of(
    run: Run, tmp_path: Path, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody who can connect could fill the log."""
    certificate = Authority(tmp_path).issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    tls = ServerTls(TlsFiles(cert=certificate.cert, key=certificate.key, client_ca=None), lambda _: None)

    async def scenario() -> None:
        async with listening(nobody, tls.context) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

    with caplog.at_level(logging.WARNING), capture_logs() as log:
        run(scenario)
    assert caplog.records == []
    assert log == []


# The end.


def test_after_the_end_nobody_is_accepted(run: Run, listening_socket: socket.socket) -> None:
    async def scenario() -> None:
        async with echoing(listening_socket):
            pass
        assert not asyncio.get_running_loop().remove_reader(listening_socket)

    run(scenario)


def test_a_handshake_that_is_completed_during_the_end_does_not_delay_it(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end closes all idle connections once, and waits for those that are left."""
    authority = Authority(tmp_path)
    certificate = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH)
    tls = ServerTls(TlsFiles(cert=certificate.cert, key=certificate.key, client_ca=None), lambda _: None)
    trusting = trusting_context(authority)
    asked, answer = 0, asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        await answer.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    def is_refused(address: tuple[str, int]) -> bool:
        with socket.socket() as one:
            return one.connect_ex(address) != 0

    async def scenario() -> None:
        ending = asyncio.Event()

        async def serve() -> None:
            async with listening(app, tls.context) as address:
                served.set_result(address)
                await ending.wait()

        served: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve())
        address = await served
        reader, writer = await asyncio.open_connection(*address, ssl=trusting)
        writer.write(HEALTHY)
        await until(lambda: asked == 1)
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        handshake = trusting.wrap_bio(received, sent)
        late_reader, late_writer = await asyncio.open_connection(*address)
        with pytest.raises(ssl.SSLWantReadError):
            handshake.do_handshake()
        late_writer.write(sent.read())
        received.write(await late_reader.read(65536))
        ending.set()
        await until(lambda: is_refused(address))
        handshake.do_handshake()
        late_writer.write(sent.read())
        answer.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        writer.close()
        await serving
        late_writer.close()

    run(scenario)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_rest_ends_with_it(run: Run, listening_socket: socket.socket) -> None:
    """The timer that starts accepting again must not fire after the socket is closed."""

    async def scenario() -> None:
        loop, later = asyncio.get_running_loop(), asyncio.Event()
        with capture_logs() as log, clients_of(listening_socket, 1):
            async with echoing(listening_socket, most=0, pause_seconds=0.05):
                await until(lambda: bool(not_accepting(log)))
            loop.call_later(2 * 0.05, later.set)  # after the time of the pause
            await later.wait()
        assert not loop.remove_reader(listening_socket)

    run(scenario)


async def nobody(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Never called."""
    raise AssertionError("a call came through")
