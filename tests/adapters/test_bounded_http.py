"""botocore's HTTP session with bounds, against servers that drip, never end, or answer as they should."""

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import pytest
from botocore.awsrequest import AWSHTTPConnection, AWSRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from app.adapters.bounded_http import BoundedSession, DecisionOverError, ending_at
from tests.support.wire import Recorder, Respond, answering, recording_server

BODY = b"<GetRoleResponse/>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
ANSWER = answering("200 OK", {}, BODY)
PACE = 0.02
"""Seconds between two bytes: well within the timeout of a read, and the whole far beyond that of an attempt."""
DRIPS = 4000
"""Bytes, in 80 s: a test whose bound is gone ends in the wrong way, and not never."""

Ask = Callable[..., Awaitable[AWSResponse]]


def bounded(url: str, *, proxied: bool = False, seconds: float = 10.0, max_bytes: int = 1024) -> BoundedSession:
    proxies = {"http": url, "https": url} if proxied else {}
    return BoundedSession(seconds=seconds, max_bytes=max_bytes, proxies=proxies, timeout=(5.0, 5.0))


async def send(session: BoundedSession, url: str, *, ends: float = math.inf) -> AWSResponse:
    def attempt() -> AWSResponse:
        with ending_at(ends):
            return session.send(AWSRequest(method="POST", url=url, data=b"Action=GetRole", headers={}).prepare())

    return await asyncio.to_thread(attempt)


def in_pieces(pieces: Iterable[bytes], pace: float = 0.0) -> Respond:
    async def respond(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pace)
        writer.close()

    return respond


def dripping(before: bytes) -> Respond:
    return in_pieces([before, *[b"x"] * DRIPS], PACE)


@pytest.fixture
async def good() -> AsyncIterator[Recorder]:
    async with recording_server(ANSWER) as server:
        yield server


async def test_an_answer_within_the_bounds_comes_back_whole(good: Recorder) -> None:
    response = await send(bounded(good.url), good.url)
    assert (response.status_code, response.content) == (200, BODY)
    assert good.requests[0].body == b"Action=GetRole"


async def test_small_writes_are_not_held_back(good: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with botocore's own session; else a request waits 40 ms for the acknowledgement of the one before."""
    sockets: list[socket.socket] = []
    connect = AWSHTTPConnection._new_conn

    def noted(connection: AWSHTTPConnection) -> socket.socket:
        sockets.append(connect(connection))
        return sockets[-1]

    monkeypatch.setattr(AWSHTTPConnection, "_new_conn", noted)
    session = bounded(good.url)
    await send(session, good.url)
    assert [made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for made in sockets] == [1]


async def test_an_answer_in_small_pieces_comes_back_whole() -> None:
    pieces = [bytes((byte,)) for byte in HEAD + BODY]
    async with recording_server(in_pieces(pieces)) as server:
        assert (await send(bounded(server.url), server.url)).content == BODY


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"", id="status-line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nServer: ", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="body-without-a-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfa0\r\n", id="chunk"),
    ],
)
async def test_an_answer_that_drips_ends_with_the_attempts_time(before: bytes) -> None:
    async with recording_server(dripping(before)) as server:
        with pytest.raises(ReadTimeoutError):
            await send(bounded(server.url, seconds=0.2), server.url)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nVia: "], ids=["status-line", "header"])
async def test_a_proxy_that_drips_its_answer_to_connect_ends_too(before: bytes) -> None:
    async with recording_server(dripping(before)) as proxy:
        with pytest.raises(ReadTimeoutError):
            await send(bounded(proxy.url, proxied=True, seconds=0.2), "https://iam.example/")
    assert proxy.requests[0].line.startswith("CONNECT ")


async def test_a_read_still_has_its_own_timeout() -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    session = BoundedSession(seconds=60.0, max_bytes=1024, proxies={}, timeout=(5.0, 0.05))
    async with recording_server(silence) as server:
        with pytest.raises(ReadTimeoutError):
            await send(session, server.url)


async def test_an_answer_may_have_just_as_many_bytes_as_allowed() -> None:
    async with recording_server(in_pieces([HEAD + BODY])) as server:
        assert (await send(bounded(server.url, max_bytes=len(HEAD + BODY)), server.url)).content == BODY


async def test_an_answer_of_a_byte_more_is_not_taken() -> None:
    async with recording_server(in_pieces([HEAD + BODY])) as server:
        with pytest.raises(ConnectionClosedError):
            await send(bounded(server.url, max_bytes=len(HEAD + BODY) - 1), server.url)


LARGE = b"x" * 60_000


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + LARGE, id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + LARGE, id="body-without-a-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nea60\r\n" + LARGE + b"\r\n0\r\n\r\n", id="chunk"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: " + LARGE + b"\r\n\r\n", id="head"),
    ],
)
async def test_a_large_answer_is_taken_by_a_client_that_allows_it_alone(answer: bytes) -> None:
    async with recording_server(in_pieces([answer])) as server:
        assert (await send(bounded(server.url, max_bytes=70_000), server.url)).status_code == 200
        with pytest.raises(ConnectionClosedError):
            await send(bounded(server.url), server.url)


async def test_each_attempt_on_one_connection_has_bounds_of_its_own(good: Recorder) -> None:
    session = bounded(good.url, max_bytes=60)  # one answer, not two
    for _ in range(3):
        assert (await send(session, good.url)).content == BODY
    assert good.connections == 1


# The decision that a call is for.


async def test_a_decision_that_has_time_changes_nothing(good: Recorder) -> None:
    assert (await send(bounded(good.url), good.url, ends=time.monotonic() + 60)).content == BODY


async def test_no_attempt_begins_after_the_decision(good: Recorder) -> None:
    with pytest.raises(DecisionOverError):
        await send(bounded(good.url), good.url, ends=time.monotonic())
    await send(bounded(good.url), good.url)
    assert good.connections == 1  # the second one's


async def test_an_attempt_ends_with_the_decision() -> None:
    async with recording_server(dripping(HEAD)) as server:
        with pytest.raises(DecisionOverError):
            await send(bounded(server.url, seconds=60), server.url, ends=time.monotonic() + 0.2)


async def test_a_decision_bounds_its_own_thread_and_no_longer_than_it_lasts(good: Recorder) -> None:
    session = bounded(good.url)
    with ending_at(time.monotonic()):
        assert (await send(session, good.url)).content == BODY  # in another thread
    request = AWSRequest(method="POST", url=good.url, data=b"", headers={}).prepare()
    with ending_at(time.monotonic()), pytest.raises(DecisionOverError):
        session.send(request)
    assert (await asyncio.to_thread(session.send, request)).content == BODY
