"""An HTTP answer as plain values: ready for the ASGI channel of the hot path, and for FastAPI's routes alike."""

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
    """Status, headers and body. It is never cached: each one is a verdict of its moment.

    Attributes:
        status: the HTTP status.
        media_type: of the body.
        body: the bytes.
        request_id: echoed or made.
        extra_headers: in lower case.
    """

    status: int
    media_type: str
    body: bytes
    request_id: str
    extra_headers: Sequence[Header] = ()

    def headers(self) -> list[Header]:
        """Return every header, in lower case."""
        return [
            (b"content-type", self.media_type.encode("ascii")),
            (b"content-length", b"%d" % len(self.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", self.request_id.encode("ascii")),
            *self.extra_headers,
        ]

    def _block(self) -> bytes:
        """Return the lines of `headers` without further ones, as they leave; a test compares them."""
        return _BLOCK % (self.media_type.encode("ascii"), len(self.body), self.request_id.encode("ascii"))

    async def send(self, send: Send) -> None:
        """Write it to an ASGI channel."""
        # Further headers may end the connection.
        if not self.extra_headers and send_at_once(send, self.status, self._block(), self.body):
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers()})
        await send({"type": "http.response.body", "body": self.body})


def to_response(answer: Answer) -> Response:
    """Convert the answer to a response for a FastAPI route."""
    response = Response(answer.body, status_code=answer.status)
    response.raw_headers = answer.headers()
    return response
