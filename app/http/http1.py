"""One connection of HTTP/1.1 as a client: bytes of a request out, one bounded answer in.

The parser is llhttp, in C, by way of httptools, which uvicorn reads its requests with. An answer that does not come to its
own end (a length, or the last chunk) is none: what is cut short must not pass for what was said (I10).
"""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

# A GetCallerIdentity answer has about 500 bytes.
MAX_REPLY_BYTES: Final = 64 * 1024
# With its head, the sizes of its chunks and what comes before the answer proper. A larger answer has as many times its own.
_WIRE_FACTOR: Final = 4
MAX_REPLY_WIRE_BYTES: Final = _WIRE_FACTOR * MAX_REPLY_BYTES
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}", re.ASCII)
_INFORMATIONAL: Final = range(100, 200)
_SWITCHING_PROTOCOLS: Final = 101
_SUCCESSES: Final = range(200, 300)


class HttpError(Exception):
    """What came is no answer of HTTP that we would read."""


class ReplyTooLargeError(HttpError):
    """The answer goes beyond its bound."""


class DisconnectedError(ConnectionError):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer: nothing of it is decoded, unfolded or followed.

    Attributes:
        status: the final one.
        headers: the first value of each, by its name in lower case.
        body: without its transfer coding.
    """

    status: int
    headers: dict[bytes, bytes] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: bytes) -> str:
        """Return the text of a header, or nothing."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def request_id(self) -> str:
        """AWS's request id, if it is one that can stand in a log; else nothing."""
        request_id = self.header(b"x-amzn-requestid")
        return request_id if _REQUEST_ID.fullmatch(request_id) else ""


class Connection(asyncio.Protocol):
    """One exchange after the other, never two at once.

    Attributes:
        due: when the exchange under way must be over, in seconds of the event loop's clock; whoever owns the connection
            looks at it (`app.http.pool`), since a timer for each exchange costs more than the exchange's parsing.
        idle_since: when the last one ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[HttpReply] | None = None
        self._tunnel = False
        self._broken = False
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._received = 0
        self._max_bytes = MAX_REPLY_BYTES
        self._complete = False
        self.due = float("inf")
        self.idle_since = 0.0

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may begin."""
        return not self._broken and self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, due: float, max_bytes: int = MAX_REPLY_BYTES) -> HttpReply:
        """Send a request and read its answer, whose body has at most so many bytes.

        Raises:
            DisconnectedError, OSError: the connection ended first.
            HttpError: what came cannot be read.
            TimeoutError: `fail` was called with one, since ``due`` is over.
        """
        if self._transport is None or self._waiter is not None or not self.is_reusable:
            raise DisconnectedError("the connection is not free")
        self._begin()
        self._max_bytes = max_bytes
        self.due = due
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            if not self._complete:
                # Whoever asked is gone, or it failed: what comes now would be taken for the next answer.
                self.close()
            self._waiter = None
            self.due = float("inf")

    async def open_tunnel(self, authority: str, authorization: str | None, due: float) -> None:
        """Ask a proxy for a tunnel (RFC 9110, 9.3.6). Afterwards the transport belongs to what is behind it.

        Raises:
            HttpError: the proxy refuses, or sends more than its answer.
        """
        self._tunnel = True
        credentials = "" if authorization is None else f"Proxy-Authorization: {authorization}\r\n"
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n"
        reply = await self.exchange(request.encode("ascii"), due)
        if reply.status not in _SUCCESSES or not self.is_reusable:
            self.close()
            raise HttpError(f"the proxy answered {reply.status} to CONNECT")
        self._tunnel = False
        self._parser = httptools.HttpResponseParser(self)

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Speak TLS from here on, and verify the other side.

        Raises:
            OSError: it cannot be verified (``ssl.SSLError`` is one), or went away.
        """
        if self._transport is None:
            raise DisconnectedError
        transport = await self._loop.start_tls(self._transport, self, context, server_hostname=server_hostname)
        if transport is None:
            raise DisconnectedError
        self._transport = transport

    def fail(self, error: Exception) -> None:
        """End the exchange under way, and the connection with it."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self._broken = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what nobody asked for ends the connection (an answer that comes too early: I19)."""
        if self._waiter is None or self._complete or self._parser is None:
            self.fail(HttpError("an answer that nobody asked for"))
            return
        self._received += len(data)
        if self._received > _WIRE_FACTOR * self._max_bytes:
            self.fail(self._too_large())
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(HttpError("it switches protocols"))
        except httptools.HttpParserError as error:
            # Its class alone: the text can hold what came.
            self.fail(HttpError(f"it cannot be read ({type(error).__name__})"))

    def eof_received(self) -> None:
        """Have the transport close: there is no answer that an end of the connection would complete."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the exchange under way, and let go of what holds this connection in turn, TLS's buffers among it."""
        self.fail(exc or DisconnectedError())
        self._parser = self._transport = None

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the first one of each name."""
        self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Where a tunnel was asked for, a success ends here: what follows belongs to who is behind it."""
        if self._tunnel and self._status() in _SUCCESSES:
            self._answer(self._status())

    def on_body(self, body: bytes) -> None:
        """Keep it up to its bound. Behind an answer that is whole there is nothing to keep."""
        if self._complete:
            self._broken = True
            return
        self._body += body
        if len(self._body) > self._max_bytes:
            self.fail(self._too_large())

    def on_message_begin(self) -> None:
        """Read no second answer behind the first one: nobody asked for it."""
        if self._complete:
            self._broken = True
            self._headers = {}

    def on_message_complete(self) -> None:
        """Hand over the answer; an informational one comes before it, and is nothing by itself."""
        status = self._status()
        if status in _INFORMATIONAL and status != _SWITCHING_PROTOCOLS:
            self._headers, self._body = {}, bytearray()
        else:
            self._answer(status)

    def _too_large(self) -> ReplyTooLargeError:
        return ReplyTooLargeError(f"over {self._max_bytes // 1024} KiB")

    def _status(self) -> int:
        return 0 if self._parser is None else self._parser.get_status_code()

    def _answer(self, status: int) -> None:
        if self._complete or self._waiter is None or self._waiter.done():
            return
        self._complete = True
        keeps = self._parser is not None and self._parser.should_keep_alive()
        self._broken = self._broken or not (self._tunnel or keeps)
        self._waiter.set_result(HttpReply(status, self._headers, bytes(self._body)))

    def _begin(self) -> None:
        self._headers = {}
        self._body = bytearray()
        self._received = 0
        self._complete = False
