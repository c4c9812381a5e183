"""A closed loop of HTTP/1.1 requests over kept-alive connections, as thin as it can be: in Go where it is there."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import httptools
import uvloop

PATH = "/v1/authenticate"


@dataclass(frozen=True, slots=True)
class Load:
    """What a loop saw.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: seconds of each request, in no order.
        statuses: answers by status.
        cpu: the processor seconds that the loop itself took.
    """

    seconds: float
    latencies: list[float]
    statuses: dict[int, int]
    cpu: float = 0.0

    def require(self, status: int) -> "Load":
        """Insist on one status for all.

        Raises:
            SystemExit: another answer came.
        """
        if set(self.statuses) != {status}:
            raise SystemExit(f"unexpected answers by status: {self.statuses}")
        return self


class Generator(Protocol):
    """Makes a load."""

    @property
    def name(self) -> str:
        """What it is, for the table's foot."""

    def run(self, port: int, bodies: Sequence[bytes], connections: int, path: str = PATH) -> Load:
        """Post every body once, over so many connections."""


class PythonGenerator:
    """The loop below; its own processor time is a part of the latencies that it sees."""

    name = "Python"

    def run(self, port: int, bodies: Sequence[bytes], connections: int, path: str = PATH) -> Load:
        """See `Generator`."""
        cpu = time.process_time()
        load = uvloop.run(run_load("127.0.0.1", port, [post(path, body) for body in bodies], connections))
        return Load(load.seconds, load.latencies, load.statuses, time.process_time() - cpu)


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], load: Load, done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._load = load
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._load.statuses[status] = self._load.statuses.get(status, 0) + 1
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def run_load(host: str, port: int, requests: list[bytes], connections: int) -> Load:
    """Send every request once, over so many connections."""
    loop = asyncio.get_running_loop()
    load = Load(0.0, [], {})
    pending = iter(requests)
    done = [loop.create_future() for _ in range(connections)]
    started = time.perf_counter()
    for future in done:
        await loop.create_connection(lambda future=future: _Connection(pending, load, future), host, port)  # type: ignore[misc]
    await asyncio.gather(*done)
    return Load(time.perf_counter() - started, load.latencies, load.statuses)


def post(path: str, body: bytes) -> bytes:
    """Return the bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body
