"""An HTTP answer as plain values, which the hot path sends over ASGI and FastAPI's routes return."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import Send

from app.api.at_once import send_at_once

Header = tuple[bytes, bytes]


_BLOCK: Final = (
    b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
    b"x-request-id: %b\r\n"
)


class Answer(NamedTuple):
    """Status, headers and body. Every answer has `cache-control: no-store`: the same call can get another answer later.

    Attributes:
        status: the HTTP status.
        media_type: the media type of the body.
        body: the bytes.
        request_id: the id that the caller sent, or a new one.
        extra_headers: further headers, with lower-case names.
    """

    status: int
    media_type: str
    body: bytes
    request_id: str
    extra_headers: Sequence[Header] = ()

    def headers(self) -> list[Header]:
        """Return every header, with lower-case names."""
        return [
            (b"content-type", self.media_type.encode("ascii")),
            (b"content-length", b"%d" % len(self.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", self.request_id.encode("ascii")),
            *self.extra_headers,
        ]

    def _block(self) -> bytes:
        """Return the header lines of an answer without further headers, as bytes. A test compares them with `headers`."""
        return _BLOCK % (self.media_type.encode("ascii"), len(self.body), self.request_id.encode("ascii"))

    async def send(self, send: Send) -> None:
        """Send the answer over an ASGI channel."""
        # With further headers, the answer may close the connection, and `send_at_once` does not write such an answer.
        if not self.extra_headers and send_at_once(send, self.status, self._block(), self.body):
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers()})
        await send({"type": "http.response.body", "body": self.body})


def to_response(answer: Answer) -> Response:
    """Convert the answer to a response for a FastAPI route."""
    response = Response(answer.body, status_code=answer.status)
    response.raw_headers = answer.headers()
    return response
