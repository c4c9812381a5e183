"""An HTTP session for botocore whose calls come to an end: in time, in bytes, and with the decision that they are for.

botocore's ``read_timeout`` is that of one read from the socket (``botocore/httpsession.py``; urllib3 knows no other), so
whoever answers a byte at a time holds the waiting thread for as long as it likes; and botocore reads an answer to its end,
however long it is. Here each read, those of the answer's head and of a proxy's answer included, is held to one deadline and
one number of bytes. What is left of botocore's session are its pools, its TLS, its proxies and its errors.
"""

import contextlib
import errno
import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSRequest,
    AWSResponse,
)
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session


class DecisionOverError(Exception):
    """Nobody waits for the call any more. It is none of botocore's errors, so botocore does not try once more."""


@dataclass(slots=True)
class _Allowance:
    """What one attempt may still use up: time, until a moment of `time.monotonic`, and bytes."""

    ends: float
    bytes_left: int

    def seconds_left(self) -> float:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long as a whole")
        return left

    def spend(self, number: int) -> None:
        self.bytes_left -= number
        if self.bytes_left < 0:
            raise OSError(errno.EMSGSIZE, "the answer is too large")


# A connection is made deep inside botocore and urllib3; these lead there. Each thread has values of its own.
_decision_ends: ContextVar[float] = ContextVar("decision_ends", default=math.inf)
_allowance: ContextVar[_Allowance] = ContextVar("allowance")


@contextlib.contextmanager
def ending_at(moment: float) -> Iterator[None]:
    """End every call that this thread begins in the context at a moment of `time.monotonic`, and begin none after it."""
    token = _decision_ends.set(moment)
    try:
        yield
    finally:
        _decision_ends.reset(token)


class BoundedSession(URLLib3Session):
    """botocore's session with bounds; thread-safe, and good for many clients.

    botocore takes no session from its users. But a handler of its event ``before-send`` may answer in its stead
    (``botocore/endpoint.py``), so hand `send` the request of that event, once.

    DNS, and each address that is tried in vain, are not interrupted. They take the resolver's time and the connect timeout,
    and are counted: nothing is read once the time is over.
    """

    # botocore's; its pools are looked up here, and a rename would end the first call with an error.
    _pool_classes_by_scheme: dict[str, type[AWSHTTPConnectionPool] | type[AWSHTTPSConnectionPool]]

    def __init__(self, *, seconds: float, max_bytes: int, **options: Any) -> None:
        """Make a session.

        Args:
            seconds: for one attempt as a whole, from the connection to the answer's last byte.
            max_bytes: of one attempt's answer, head included.
            options: those of `URLLib3Session`.
        """
        # As botocore's own: without it each request waits for the acknowledgement of the one before, 40 ms.
        no_delay: Any = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]  # the stubs want texts
        super().__init__(socket_options=no_delay, **options)
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._pool_classes_by_scheme.update(http=_Pool, https=_TlsPool)

    def send(self, request: AWSRequest | AWSPreparedRequest) -> AWSResponse:
        """Make one attempt.

        Raises:
            DecisionOverError: the decision ended before the attempt or during it.
            botocore.exceptions.BotoCoreError: it failed, took too long or got too large an answer.
        """
        decision_ends = _decision_ends.get()
        now = time.monotonic()
        if now >= decision_ends:
            raise DecisionOverError
        token = _allowance.set(_Allowance(min(now + self._seconds, decision_ends), self._max_bytes))
        try:
            return super().send(request)
        except BotoCoreError as error:
            if time.monotonic() >= decision_ends:
                raise DecisionOverError from error
            raise
        finally:
            _allowance.reset(token)


class _Reader(io.RawIOBase):
    """Reads from a socket no longer, and no more, than the attempt is allowed."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        # That of one read; botocore has set it.
        self._timeout = sock.gettimeout() or math.inf
        self._allowance = _allowance.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(min(self._timeout, self._allowance.seconds_left()))
        number: int | None = self._raw.readinto(buffer)
        self._allowance.spend(number or 0)
        return number

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """Status line, head and body of an answer, and a proxy's answer to CONNECT, are all read through ``fp``."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


# The stubs name botocore's answer to "Expect: 100-continue"; without that header it is http.client's.
class _Connection(AWSHTTPConnection):
    response_class = _Answer  # type: ignore[assignment]


class _TlsConnection(AWSHTTPSConnection):
    response_class = _Answer  # type: ignore[assignment]


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TlsConnection
