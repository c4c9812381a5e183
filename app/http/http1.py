"""One client connection of HTTP/1.1: it sends the bytes of a request, and reads one bounded answer.

The parser is the C library llhttp, through httptools, which uvicorn uses too. An answer must reach its declared length or
its last chunk. Otherwise the client rejects the answer, because a truncated answer must not count as complete (I10).
"""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

# A GetCallerIdentity answer has about 500 bytes.
MAX_REPLY_BYTES: Final = 64 * 1024
# The number of all received bytes (head, body, chunk sizes and informational answers) may be this many times the body's
# limit.
_WIRE_FACTOR: Final = 4
MAX_REPLY_WIRE_BYTES: Final = _WIRE_FACTOR * MAX_REPLY_BYTES
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}", re.ASCII)
_INFORMATIONAL: Final = range(100, 200)
_SWITCHING_PROTOCOLS: Final = 101
_SUCCESSES: Final = range(200, 300)


class HttpError(Exception):
    """The received bytes are not an HTTP answer that this client accepts."""


class ReplyTooLargeError(HttpError):
    """The answer is larger than its limit."""


class TunnelRefusedError(HttpError):
    """The proxy does not open a tunnel. ``status`` is its HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status} to CONNECT")
        self.status = status


class DisconnectedError(ConnectionError):
    """The connection ended before the answer was complete."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer. The client does not decode the body, unfold header lines or follow redirects.

    Attributes:
        status: the final status.
        headers: the first value of each header, by the header's lower-case name.
        body: the body without its transfer coding.
    """

    status: int
    headers: dict[bytes, bytes] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: bytes) -> str:
        """Return the text of a header, or an empty text if the answer does not have the header."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def request_id(self) -> str:
        """Return AWS's request id if it is safe to log; otherwise an empty text."""
        request_id = self.header(b"x-amzn-requestid")
        return request_id if _REQUEST_ID.fullmatch(request_id) else ""


class Connection(asyncio.Protocol):
    """A connection that carries one exchange after the other, never two at once.

    Attributes:
        due: when the current exchange must be over, in seconds of the event loop's clock. `app.http.pool` checks this value,
            because a timer for each exchange would take more processor time than parsing the answer.
        idle_since: when the last exchange ended, in seconds of the event loop's clock.
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
        """Whether another exchange may start."""
        return not self._broken and self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, due: float, max_bytes: int = MAX_REPLY_BYTES) -> HttpReply:
        """Send a request and read its answer. The body of the answer has at most ``max_bytes``.

        Raises:
            DisconnectedError, OSError: the connection ended before the answer was complete.
            HttpError: the answer cannot be read.
            TimeoutError: ``due`` has passed; the pool called `fail` with this error.
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
                # The caller was cancelled, or the exchange failed. Close the connection: a late answer to this request could
                # be mistaken for the answer to the next request.
                self.close()
            self._waiter = None
            self.due = float("inf")

    async def open_tunnel(self, authority: str, authorization: str | None, due: float) -> None:
        """Ask a proxy for a tunnel (RFC 9110, 9.3.6).

        Afterwards the transport carries the bytes of the server behind the proxy.

        Raises:
            TunnelRefusedError: the proxy refuses.
            HttpError: the proxy sends bytes after its answer.
        """
        self._tunnel = True
        credentials = "" if authorization is None else f"Proxy-Authorization: {authorization}\r\n"
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n"
        reply = await self.exchange(request.encode("ascii"), due)
        if reply.status not in _SUCCESSES:
            self.close()
            raise TunnelRefusedError(reply.status)
        if not self.is_reusable:
            self.close()
            raise HttpError("more bytes than an answer to CONNECT has")
        self._tunnel = False
        self._parser = httptools.HttpResponseParser(self)

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Start TLS, and verify the server.

        Raises:
            OSError: the server's certificate is not valid (``ssl.SSLError``), or the server disconnected.
        """
        if self._transport is None:
            raise DisconnectedError
        transport = await self._loop.start_tls(self._transport, self, context, server_hostname=server_hostname)
        if transport is None:
            raise DisconnectedError
        self._transport = transport

    def fail(self, error: Exception) -> None:
        """Fail the current exchange, and close the connection."""
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
        """Give the received bytes to the parser.

        If bytes arrive while no request waits for an answer, close the connection: they must not answer a later request
        (I19).
        """
        if self._waiter is None or self._complete or self._parser is None:
            self.fail(HttpError("an answer without a request"))
            return
        self._received += len(data)
        if self._received > _WIRE_FACTOR * self._max_bytes:
            self.fail(self._too_large())
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(HttpError("it switches protocols"))
        except httptools.HttpParserError:
            # The message leaves out the error's text, which can contain received bytes.
            self.fail(HttpError("it is not HTTP"))

    def eof_received(self) -> None:
        """Let the transport close the connection. The end of a connection never completes an answer."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the current exchange, and drop the parser and the transport, which refer to this connection."""
        self.fail(exc or DisconnectedError())
        self._parser = self._transport = None

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store the first value of each header name."""
        self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """End a successful answer to CONNECT here: the following bytes come from the server behind the proxy."""
        if self._tunnel and self._status() in _SUCCESSES:
            self._answer(self._status())

    def on_body(self, body: bytes) -> None:
        """Store the body, up to its limit. Bytes after the end of the answer are dropped."""
        if self._complete:
            self._broken = True
            return
        self._body += body
        if len(self._body) > self._max_bytes:
            self.fail(self._too_large())

    def on_message_begin(self) -> None:
        """Reject a second answer: no request was sent for it."""
        if self._complete:
            self._broken = True
            self._headers = {}

    def on_message_complete(self) -> None:
        """Return the answer to the caller. Ignore informational answers (1xx), which come before the final answer."""
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
