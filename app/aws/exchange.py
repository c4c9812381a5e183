"""Send one request to a service of AWS, and read the answer. There are at most two attempts, each with a deadline."""

import asyncio
from collections.abc import Callable
from typing import Final

from app.core.aws_errors import THROTTLING_CODES
from app.core.errors import OutOfTimeError, UpstreamDownError, UpstreamError
from app.core.reasons import Reason
from app.core.sts_documents import read_error_code
from app.http.causes import explain_call
from app.http.http1 import MAX_REPLY_BYTES, HttpError, HttpReply, ReplyTooLargeError
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin, Progress

_SERVER_ERRORS: Final = range(500, 600)
ATTEMPTS: Final = 2


class Exchange:
    """Sends requests to one service. A request must be idempotent, because a second attempt repeats it.

    All errors of an object have the same reason, ``unavailable``.
    """

    def __init__(self, name: str, unavailable: Reason, pool: HttpPool, options: NetworkOptions) -> None:
        self._name = name
        self._unavailable = unavailable
        self._pool = pool
        self._options = options

    async def ask(
        self,
        origin: Origin,
        build: Callable[[], bytes],
        deadline: float,
        *,
        max_bytes: int = MAX_REPLY_BYTES,
        seconds: float | None = None,
    ) -> HttpReply:
        """Send a request. If that fails and a second attempt may help, send it once more on a new connection.

        Args:
            origin: the server.
            build: returns the bytes of the request for one attempt.
            deadline: when the exchange must be over, in seconds of the event loop's clock.
            max_bytes: the largest size of the answer's body.
            seconds: the time limit of one attempt; None means ``total_timeout`` of the options.

        Raises:
            OutOfTimeError: there was not enough time for a full attempt, so the service may be healthy.
            UpstreamDownError: the service did not answer, or had an internal error.
            UpstreamError: the service's answer is too large.
        """
        seconds = seconds or self._options.total_timeout
        loop = asyncio.get_running_loop()
        had_its_time = False
        for attempts_left in reversed(range(ATTEMPTS)):
            until = loop.time() + seconds
            had_its_time |= deadline >= until
            progress = Progress()
            try:
                reply = await self._pool.exchange(
                    origin,
                    build(),
                    min(deadline, until),
                    fresh=not attempts_left,
                    max_bytes=max_bytes,
                    progress=progress,
                )
            except ReplyTooLargeError as error:
                raise UpstreamError(self._unavailable, f"the answer of {self._name} is not believed: {error}") from None
            except (HttpError, OSError, TimeoutError) as error:
                if isinstance(error, TimeoutError) and not had_its_time:
                    # The request waited so long before it was sent that the timeout is no sign of a fault of the service.
                    raise OutOfTimeError(
                        self._unavailable, f"no answer of {self._name} in what was left of the time"
                    ) from None
                if attempts_left and deadline - loop.time() > self._options.connect_timeout:
                    continue
                # The words are our own, because an error's text can contain the URL with the credential (I22).
                cause = explain_call(error, origin, self._options, progress)
                raise UpstreamDownError(self._unavailable, f"no answer of {self._name}: {cause}") from None
            if not _is_transient(reply):
                return reply
            if not (attempts_left and deadline > loop.time()):
                raise UpstreamDownError(
                    self._unavailable,
                    f"{self._name} answered {reply.status}: a fault of AWS, or of what is on the path; try again",
                )
        raise AssertionError("unreachable: the last attempt returns or raises")


def request_bytes(start: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """Return the bytes of a request. The caller has checked each value; this function checks again for line breaks."""
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a line break in a value of the request")
    return b"%b\r\n\r\n%b" % (head.encode("ascii"), body)


def _is_transient(reply: HttpReply) -> bool:
    """Return whether a second attempt may help. After throttling an immediate second attempt would only add to the load."""
    return reply.status in _SERVER_ERRORS and read_error_code(reply.body) not in THROTTLING_CODES
