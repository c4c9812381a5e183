"""The service's own HTTP client: what counts as an answer, when a connection is reused, and when it is closed."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.emulator import Emulator
from app.http.http1 import (
    MAX_REPLY_BYTES,
    MAX_REPLY_WIRE_BYTES,
    Connection,
    DisconnectedError,
    HttpError,
    HttpReply,
    ReplyTooLargeError,
)
from app.http.pool import HttpPool, Origin
from app.local.trust import client_context
from tests.support.passing_time import LONG, after_its_time
from tests.support.patience import PATIENCE
from tests.support.tls import make_certificate
from tests.support.wire import Respond, answering, closed_port, hang_up, recording_server

REQUEST = b"GET / HTTP/1.1\r\nHost: sts.example\r\n\r\n"
OK = answering("200 OK", {"X-Name": "value"}, b"body")


def raw(*pieces: bytes, then_close: bool = False) -> Respond:
    """Answer with exactly these bytes."""

    async def respond(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_close:
            writer.close()

    return respond


async def silence(writer: asyncio.StreamWriter) -> None:
    """Answer nothing, and keep the connection."""


@asynccontextmanager
async def open_pool(ca_file: str | None = None, **options: Any) -> AsyncIterator[HttpPool]:
    pool = HttpPool(client_context(ca_file), **{"connect_timeout": LONG, **options})
    try:
        yield pool
    finally:
        await pool.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


async def exchange(
    pool: HttpPool, url: str, seconds: float = PATIENCE, *, fresh: bool = False, max_bytes: int = MAX_REPLY_BYTES
) -> HttpReply:
    due = asyncio.get_running_loop().time() + seconds
    return await pool.exchange(Origin.of(url), REQUEST, due, fresh=fresh, max_bytes=max_bytes)


# What counts as an answer.


async def test_an_answer_is_status_headers_and_body() -> None:
    async with recording_server(OK) as server, open_pool() as pool:
        reply = await exchange(pool, server.url)
    assert (reply.status, reply.header(b"x-name"), reply.header(b"other"), reply.body) == (200, "value", "", b"body")
    assert server.requests[0].raw == REQUEST


ANSWERS = {
    "in-chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"],
    "byte-by-byte": [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"],
    "behind-an-informational-one": [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    ],
}


@pytest.mark.parametrize("shape", ["in-chunks", "byte-by-byte", "behind-an-informational-one"])
async def test_an_answer_may_come_in_every_shape_of_http(shape: str) -> None:
    async with recording_server(raw(*ANSWERS[shape])) as server, open_pool() as pool:
        for _ in range(2):
            reply = await exchange(pool, server.url)
            assert (reply.status, reply.body, b"link" in reply.headers) == (200, b"body", False)
    assert server.connections == 1


async def test_the_first_header_of_a_name_counts() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Name: one\r\nx-name: two\r\nContent-Length: 0\r\n\r\n"
    async with recording_server(raw(answer)) as server, open_pool() as pool:
        assert (await exchange(pool, server.url)).header(b"x-name") == "one"


NO_ANSWERS = {
    "ended-by-the-connection": b"HTTP/1.1 200 OK\r\n\r\nbody",
    "cut-short": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody",
    "cut-short-in-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("shape", NO_ANSWERS)
async def test_what_does_not_come_to_its_own_end_is_no_answer(shape: str) -> None:
    """I10: a truncated answer must not count as an answer."""
    async with recording_server(raw(NO_ANSWERS[shape], then_close=True)) as server, open_pool() as pool:
        with pytest.raises(DisconnectedError):
            await exchange(pool, server.url)


UNREADABLE = {
    "no-http": b"SSH-2.0-OpenSSH\r\n",
    "length-and-chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!",
    "a-length-that-is-none": b"HTTP/1.1 200 OK\r\nContent-Length: 4x\r\n\r\nbody",
    "bare-line-feeds": b"HTTP/1.1 200 OK\nContent-Length: 4\n\nbody",
}


@pytest.mark.parametrize("shape", UNREADABLE)
async def test_what_is_no_http_is_not_guessed_at(shape: str) -> None:
    async with recording_server(raw(UNREADABLE[shape])) as server, open_pool() as pool:
        with pytest.raises(HttpError):
            await exchange(pool, server.url)


TOO_LARGE = {
    "body": [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_REPLY_BYTES + 1), b"x" * (MAX_REPLY_BYTES + 1)],
    "head": [b"HTTP/1.1 200 OK\r\n", *[b"X-Name: %s\r\n" % (b"x" * 1000)] * (MAX_REPLY_WIRE_BYTES // 1000)],
    "chunks": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[b"1;%s\r\nx\r\n" % (b"x" * 1000)] * (MAX_REPLY_WIRE_BYTES // 1000),
    ],
    "informational": [b"HTTP/1.1 100 Continue\r\nX: %s\r\n\r\n" % (b"x" * 1000)] * (MAX_REPLY_WIRE_BYTES // 1000),
}


@pytest.mark.parametrize("part", TOO_LARGE)
async def test_an_answer_is_bounded_in_every_part(part: str) -> None:
    """I20."""
    async with recording_server(raw(*TOO_LARGE[part])) as server, open_pool() as pool:
        with pytest.raises(ReplyTooLargeError):
            await exchange(pool, server.url)
        await asyncio.wait_for(server.closed.wait(), PATIENCE)


async def test_an_answer_of_one_exchange_may_be_larger_than_that_of_another() -> None:
    """The bound belongs to the exchange, and not to the connection."""
    large = MAX_REPLY_BYTES + 1
    body = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % large, b"x" * large]
    async with recording_server(raw(*body)) as server, open_pool() as pool:
        assert len((await exchange(pool, server.url, max_bytes=large)).body) == large
        with pytest.raises(ReplyTooLargeError):
            await exchange(pool, server.url, max_bytes=large - 1)
        assert server.connections == 1


# When a connection is reused.


async def test_a_connection_is_used_again() -> None:
    async with recording_server(OK) as server, open_pool() as pool:
        for _ in range(3):
            await exchange(pool, server.url)
    assert (server.connections, len(server.requests)) == (1, 3)


NOT_AGAIN = {
    "it-says-so": [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"],
    "of-http-1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody"],
    "a-second-answer-behind-it": [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody" * 2],
    "a-byte-behind-it": [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody!"],
}


@pytest.mark.parametrize("shape", NOT_AGAIN)
async def test_a_connection_is_not_used_again_after(shape: str) -> None:
    async with recording_server(raw(*NOT_AGAIN[shape])) as server, open_pool() as pool:
        for _ in range(2):
            reply = await exchange(pool, server.url)
            assert (reply.status, reply.body) == (200, b"body")
            assert set(reply.headers) <= {b"connection", b"content-length"}
    assert server.connections == 2


async def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    """I19: bytes that arrive early must not become the answer to the next request."""
    pushed = asyncio.Event()

    async def push(writer: asyncio.StreamWriter) -> None:
        await OK(writer)
        await writer.drain()
        await pushed.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await writer.drain()

    async with recording_server(push) as server, open_pool() as pool:
        await exchange(pool, server.url)
        pushed.set()
        await asyncio.wait_for(server.closed.wait(), PATIENCE)
        assert (await exchange(pool, server.url)).body == b"body"
    assert server.connections == 2


async def test_who_goes_away_leaves_no_answer_behind() -> None:
    answer = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        await OK(writer)

    async with recording_server(late) as server, open_pool() as pool:
        leaving = asyncio.create_task(exchange(pool, server.url))
        await until(lambda: bool(server.requests))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        answer.set()
        assert (await exchange(pool, server.url)).body == b"body"
    assert server.connections == 2


async def test_a_fresh_exchange_takes_no_kept_connection() -> None:
    async with recording_server(OK) as server, open_pool() as pool:
        await exchange(pool, server.url)
        await exchange(pool, server.url, fresh=True)
    assert server.connections == 2


async def test_a_connection_that_ended_while_it_was_kept_is_not_used() -> None:
    closing = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", then_close=True)
    async with recording_server(closing) as server, open_pool() as pool:
        await exchange(pool, server.url)
        await asyncio.wait_for(server.closed.wait(), PATIENCE)
        # The pool looks through its connections 20 times a second, and may already have dropped this one.
        await until(lambda: not any(each.is_reusable for kept in pool._idle.values() for each in kept))
        await exchange(pool, server.url)
    assert server.connections == 2


async def test_unused_connections_grow_old() -> None:
    async with recording_server(OK) as server, open_pool(idle_seconds=0.0) as pool:
        await exchange(pool, server.url)
        await asyncio.wait_for(server.closed.wait(), PATIENCE)
        assert not pool._idle
        assert pool._sweeper is None  # nothing is left to watch


async def test_kept_connections_are_bounded() -> None:
    async with recording_server(OK) as server, open_pool(max_kept=2) as pool:
        await asyncio.gather(*(exchange(pool, server.url) for _ in range(5)))
        assert [len(kept) for kept in pool._idle.values()] == [2]


async def test_kept_connections_are_bounded_over_all_hosts() -> None:
    """A credential names the host, of which there are more than a hundred.

    The connection that was unused longest is closed.
    """
    async with (
        recording_server(OK) as one,
        recording_server(OK) as other,
        recording_server(OK) as third,
        open_pool(max_kept=2) as pool,
    ):
        for server in (one, other, third, other, third):
            await exchange(pool, server.url)
        assert sum(len(kept) for kept in pool._idle.values()) == 2
        await exchange(pool, one.url)
    assert (one.connections, other.connections, third.connections) == (2, 1, 1)


async def test_a_connection_that_is_over_is_nothing_for_the_collector() -> None:
    """Each holds the buffers of TLS, and in an outage each attempt opens one."""
    closing = raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", then_close=True)
    async with recording_server(closing) as server, open_pool() as pool:
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await exchange(pool, server.url)
            await until(lambda: not any(isinstance(found, Connection) for found in gc.get_objects()))
        finally:
            gc.enable()


async def test_origins_share_no_connection() -> None:
    async with recording_server(OK) as one, recording_server(OK) as other, open_pool() as pool:
        for server in (one, other, one, other):
            await exchange(pool, server.url)
    assert (one.connections, other.connections) == (1, 1)


# When it ends.


async def test_an_exchange_ends_when_its_time_is_over() -> None:
    async with recording_server(silence) as server, open_pool() as pool:
        late = asyncio.create_task(exchange(pool, server.url, LONG))
        await until(lambda: bool(server.requests))
        with pytest.raises(TimeoutError):
            await after_its_time(late)
        await asyncio.wait_for(server.closed.wait(), PATIENCE)


async def test_one_exchanges_end_is_no_others() -> None:
    async with recording_server(silence) as slow, recording_server(OK) as quick, open_pool() as pool:
        hanging = asyncio.create_task(exchange(pool, slow.url, 0.01))
        assert (await exchange(pool, quick.url)).status == 200
        with pytest.raises(TimeoutError):
            await hanging


async def test_an_exchange_without_time_is_not_begun() -> None:
    async with recording_server(OK) as server, open_pool() as pool:
        with pytest.raises(TimeoutError):
            await exchange(pool, server.url, -1.0)
    assert server.connections == 0


async def test_a_connection_that_does_not_come_ends_in_its_own_time() -> None:
    """A listener with a full queue does not answer a new connection."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        full.setblocking(False)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        async with open_pool(connect_timeout=0.05) as pool:
            with pytest.raises((TimeoutError, OSError)):
                await exchange(pool, f"http://127.0.0.1:{port}")
        for client in waiting:
            client.close()


async def test_closing_the_pool_ends_what_is_under_way() -> None:
    async with recording_server(silence) as server, open_pool() as pool:
        hanging = asyncio.create_task(exchange(pool, server.url))
        await until(lambda: bool(server.requests))
        await pool.close()
        with pytest.raises(DisconnectedError):
            await hanging


async def test_a_pool_that_was_closed_holds_no_socket() -> None:
    """The event loop may end right after it."""
    async with recording_server(OK) as server, open_pool() as pool:
        await exchange(pool, server.url)
        [kept] = pool._idle.values()
        opened = kept[0]._transport
        assert opened is not None
        raw_socket = opened.get_extra_info("socket")
        await pool.close()
        assert raw_socket.fileno() == -1


# Names.


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Make every name resolve to these addresses, and return the names that were looked up."""
    asked: list[str] = []
    loop = asyncio.get_running_loop()

    async def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    class Loop:
        def __getattr__(self, name: str) -> Any:
            return getaddrinfo if name == "getaddrinfo" else getattr(loop, name)

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)
    return asked


async def test_a_name_is_looked_up_once_for_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async with recording_server(OK) as server:
        asked = resolving(monkeypatch, "127.0.0.1")
        async with open_pool() as pool:
            monkeypatch.undo()
            url = f"http://sts.example:{server.url.rpartition(':')[2]}"
            await asyncio.gather(*(exchange(pool, url) for _ in range(5)))
            await exchange(pool, url, fresh=True)
    assert asked == ["sts.example"]
    assert server.connections == 6


async def test_the_next_address_is_tried_where_one_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async with recording_server(OK) as server:
        resolving(monkeypatch, "::1", "127.0.0.1")
        async with open_pool() as pool:
            monkeypatch.undo()
            assert (await exchange(pool, f"http://sts.example:{server.url.rpartition(':')[2]}")).status == 200


async def test_a_name_whose_addresses_are_all_dead_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        asked = resolving(monkeypatch, "127.0.0.1")
        async with open_pool() as pool:
            monkeypatch.undo()
            for _ in range(2):
                with pytest.raises(OSError):  # noqa: PT011 - refused, whatever the platform calls it
                    await exchange(pool, f"http://sts.example:{port}")
    assert asked == ["sts.example"] * 2


# Proxies.


@dataclass
class Proxy:
    """The requests that a proxy received."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def tunnelling_proxy(answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> AsyncIterator[Proxy]:
    """A proxy that answers CONNECT with this answer, and then passes bytes between the two sides."""
    proxy, writers, serving = Proxy(), list[asyncio.StreamWriter](), list[asyncio.Task[Any] | None]()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        proxy.heads.append(head)
        writer.write(answer)
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        writers.append(there_writer)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        try:
            yield proxy
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*filter(None, serving))


async def test_a_proxys_tunnel_carries_tls_to_the_other_side(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    files = {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
    with Emulator(**files) as tls:  # type: ignore[arg-type]
        async with tunnelling_proxy() as proxy:
            user = proxy.url.replace("http://", "http://user:p%40ss@")
            async with open_pool(str(certificate.cert), proxy_url=user) as pool:
                for _ in range(2):
                    assert (await exchange(pool, tls.url)).status >= 200
    [head] = proxy.heads
    authority = tls.url.removeprefix("https://").encode()
    assert head == (
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n" % (authority, authority)
    )


async def test_the_certificate_behind_a_tunnel_is_verified(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    files = {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
    with Emulator(**files) as tls:  # type: ignore[arg-type]
        async with tunnelling_proxy() as proxy, open_pool(proxy_url=proxy.url) as pool:
            with pytest.raises(OSError, match="certificate"):
                await exchange(pool, tls.url)
        assert len(tls.calls) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["refused", "more-than-its-answer", "redirected"],
)
async def test_a_tunnel_that_is_none_is_not_used(answer: bytes) -> None:
    async with (
        recording_server(OK) as server,
        tunnelling_proxy(answer) as proxy,
        open_pool(proxy_url=proxy.url) as pool,
    ):
        with pytest.raises((HttpError, OSError)):
            await exchange(pool, server.url)
    assert server.requests == []


async def test_a_proxy_that_hangs_up_is_no_answer() -> None:
    async with recording_server(hang_up) as proxy, open_pool(proxy_url=proxy.url) as pool:
        with pytest.raises(DisconnectedError):
            await exchange(pool, "http://127.0.0.1:9")


# Any bytes in any pieces.


class Wire(asyncio.Transport):
    """A transport without a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


_BYTES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"Content-Length: 4\r\n",
            b"\r\n",
            b"body",
            b"0\r\n\r\n",
        ]
    ),
    st.sampled_from([b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"4\r\n", b"Upgrade: x\r\n"]),
)


@given(pieces=st.lists(_BYTES, max_size=12))
def test_any_bytes_end_in_one_answer_or_in_none(pieces: list[bytes]) -> None:
    reply = asyncio.run(_feed(pieces))
    if reply is not None:
        # The bytes of the answer arrived, and a length or a last chunk ended it.
        sent = b"".join(pieces)
        assert reply.body in sent or b"chunked" in sent


async def _feed(pieces: list[bytes]) -> HttpReply | None:
    connection, wire = Connection(asyncio.get_running_loop()), Wire()
    connection.connection_made(wire)
    task = asyncio.create_task(connection.exchange(REQUEST, float("inf")))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    try:
        return await task
    except (HttpError, DisconnectedError):
        return None
    finally:
        assert not connection.is_reusable
