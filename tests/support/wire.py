"""A loopback server that records the bytes of each request, and answers with exactly the given bytes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Arrived:
    """One request as it arrived."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    @property
    def names(self) -> list[str]:
        return [name.lower() for name, _ in self.headers]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass
class Recorder:
    """What came to a loopback server."""

    url: str
    connections: int = 0
    requests: list[Arrived] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a connection is over."""


@contextlib.asynccontextmanager
async def recording_server(respond: Respond) -> AsyncIterator[Recorder]:
    """Keep every request, and let `respond` write what goes back."""
    recorder = Recorder(url="")
    serving: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recorder.connections += 1
        serving[writer] = asyncio.current_task()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                recorder.requests.append(await _read_request(reader))
                await respond(writer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        recorder.closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    recorder.url = f"http://{host}:{port}"
    async with server:
        try:
            yield recorder
        finally:
            for writer in serving:
                writer.close()
            await asyncio.gather(*filter(None, serving.values()))


def answering(status: str, headers: dict[str, str], body: bytes) -> Respond:
    """Answer every request in the same way."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": str(len(body))}.items())
    answer = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return respond


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Send nothing, and close the connection."""
    writer.close()


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Return a loopback port on which no program listens, or will listen."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def _read_request(reader: asyncio.StreamReader) -> Arrived:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = tuple((name, value) for name, _, value in (text.partition(": ") for text in lines))
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    body = await reader.readexactly(length)
    return Arrived(line=line, headers=headers, body=body, raw=head + body)
