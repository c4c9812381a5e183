"""One request to a service of AWS, and its answer: at most two attempts, each with a deadline."""

import asyncio
from collections.abc import Callable
from typing import Final

from app.core.aws_errors import THROTTLING_CODES
from app.core.errors import OutOfTimeError, UpstreamDownError, UpstreamError
from app.core.reasons import Reason
from app.core.sts_documents import read_error_code
from app.http.http1 import MAX_REPLY_BYTES, HttpError, HttpReply, ReplyTooLargeError
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin

_SERVER_ERRORS: Final = range(500, 600)
ATTEMPTS: Final = 2


class Exchange:
    """Asks one service. What it asks must be idempotent, since a second attempt repeats it."""

    def __init__(self, name: str, unavailable: Reason, pool: HttpPool, options: NetworkOptions) -> None:
        """Stand in front of the pool.

        Args:
            name: of the service, for details.
            unavailable: the reason of what this raises.
            pool: has the connections.
            options: the deadlines of one attempt.
        """
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
        """Send a request, and once more on a new connection if that may help.

        Args:
            origin: where to.
            build: makes the bytes of one attempt.
            deadline: when it must be over, in seconds of the event loop's clock.
            max_bytes: of the answer's body.
            seconds: for one attempt, where the pool's options are not to hold.

        Raises:
            OutOfTimeError: there was too little time to tell anything about the service.
            UpstreamDownError: it did not answer, or failed inside.
            UpstreamError: its answer is too large.
        """
        seconds = seconds or self._options.total_timeout
        loop = asyncio.get_running_loop()
        had_its_time = False
        for attempts_left in reversed(range(ATTEMPTS)):
            until = loop.time() + seconds
            had_its_time |= deadline >= until
            try:
                reply = await self._pool.exchange(
                    origin, build(), min(deadline, until), fresh=not attempts_left, max_bytes=max_bytes
                )
            except ReplyTooLargeError as error:
                raise UpstreamError(self._unavailable, f"the answer of {self._name} is not believed: {error}") from None
            except (HttpError, OSError, TimeoutError) as error:
                if isinstance(error, TimeoutError) and not had_its_time:
                    # It waited in queues too long to tell anything about the service.
                    raise OutOfTimeError(
                        self._unavailable, f"no answer of {self._name} in what was left of the time"
                    ) from None
                if attempts_left and deadline - loop.time() > self._options.connect_timeout:
                    continue
                # The class alone: an error's text can hold the URL, and with it the credential (I22).
                raise UpstreamDownError(
                    self._unavailable, f"no answer of {self._name}: {type(error).__name__}"
                ) from None
            if not _is_transient(reply):
                return reply
            if not (attempts_left and deadline > loop.time()):
                raise UpstreamDownError(self._unavailable, f"{self._name} answered {reply.status}")
        raise AssertionError("unreachable: the last attempt returns or raises")


def request_bytes(start: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """Return what is sent. Each value was held to its grammar; that none begins a line of its own is looked at once more."""
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a line break in a value of the request")
    return b"%b\r\n\r\n%b" % (head.encode("ascii"), body)


def _is_transient(reply: HttpReply) -> bool:
    """Return whether a second try may help. After throttling it does not: a try at once adds to the load."""
    return reply.status in _SERVER_ERRORS and read_error_code(reply.body) not in THROTTLING_CODES
