"""An answer in one piece equals the answer of uvicorn, and is written only if no other work remains."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import answer as answers
from app.api.answer import Answer
from app.api.at_once import send_at_once
from tests.support.patience import PATIENCE
from tests.support.service import listening

ANSWER = Answer(status=200, media_type="application/json", body=b'{"a":1}', request_id="request-1")
REQUEST = b"%b / HTTP/1.1\r\nHost: x\r\n%b\r\n"
_DATE = re.compile(rb"date: [^\r]*")


async def answering(scope: Scope, _receive: Receive, send: Send) -> None:
    answer = ANSWER
    if scope["path"] == "/closing":
        answer = ANSWER._replace(extra_headers=((b"connection", b"close"),))
    if scope["path"] == "/undecided":
        answer = ANSWER._replace(status=503, body=b"")
    await answer.send(send)


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    app: ASGIApp = answering
    async with listening(app) as found:
        yield found


async def exchange(address: tuple[str, int], *requests: bytes) -> bytes:
    """Return everything that arrives on one connection. The last request ends the connection."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"".join(requests))
    async with asyncio.timeout(PATIENCE):
        received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return _DATE.sub(b"date: then", received)


LAST = REQUEST % (b"POST", b"Connection: close\r\n")
CALLS = {
    "post": [REQUEST % (b"POST", b"")],
    "get": [REQUEST % (b"GET", b"")],
    "head": [REQUEST % (b"HEAD", b"")],
    "of-http-1.0": [(REQUEST % (b"POST", b"")).replace(b"HTTP/1.1", b"HTTP/1.0")],
    "to-be-closed": [(REQUEST % (b"POST", b"")).replace(b" / ", b" /closing ")],
    "without-a-body": [(REQUEST % (b"POST", b"")).replace(b" / ", b" /undecided ")],
    "pipelined": [REQUEST % (b"POST", b"")] * 5,
    "with-a-body": [REQUEST % (b"POST", b"Content-Length: 4\r\n") + b"body"],
}


@pytest.mark.parametrize("call", CALLS)
async def test_the_bytes_are_those_that_uvicorn_writes(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    ours = await exchange(address, *CALLS[call], LAST)
    monkeypatch.setattr(answers, "send_at_once", lambda *_: False)
    assert ours == await exchange(address, *CALLS[call], LAST)
    assert ours.startswith(b"HTTP/1.")


async def test_the_short_way_is_taken(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the comparison above would compare uvicorn with itself."""
    taken: list[bool] = []

    def watched(send: Send, status: int, block: bytes, body: bytes) -> bool:
        taken.append(send_at_once(send, status, block, body))
        return taken[-1]

    monkeypatch.setattr(answers, "send_at_once", watched)
    await exchange(address, CALLS["post"][0], CALLS["without-a-body"][0], CALLS["head"][0], LAST)
    assert taken == [True, True, False, False]


async def test_another_channel_is_written_to_by_the_rules_of_asgi() -> None:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await ANSWER.send(send)
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
