"""STS: a request that is signed already, by somebody else (I25), sent as it was rebuilt, and the answer read.

TLS is verified, nothing is redirected, and all is bounded in size and time (`app.adapters.http_pool`).
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Final, Self

from app.adapters.http1 import HttpError, ReplyTooLargeError
from app.adapters.http_pool import HttpPool, Origin
from app.adapters.trust import client_context
from app.core.aws_errors import THROTTLING_CODES
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.sts_documents import read_error_code
from app.errors import AuthError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.trail import Trail

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}", re.ASCII)
_SERVER_ERRORS: Final = range(500, 600)
_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StsOptions:
    """How STS is reached.

    Attributes:
        endpoint_url: where to send instead of the signed host (``AWS_ENDPOINT_URL_STS``), without a trailing slash.
        proxy_url: one explicit proxy (``KMESH_AWSIAM_HTTPS_PROXY``).
        ca_file: trust these certificates instead of certifi's (``AWS_CA_BUNDLE``).
        connect_timeout: seconds for DNS, TCP and TLS.
        total_timeout: seconds for one attempt.
    """

    endpoint_url: str | None = None
    proxy_url: str | None = None
    ca_file: str | None = None
    connect_timeout: float = 1.0
    total_timeout: float = 4.0


class StsClient:
    """The `IdentitySource` that asks STS itself."""

    def __init__(self, options: StsOptions, metrics: Metrics, pool: HttpPool) -> None:
        self._options = options
        self._metrics = metrics
        self._pool = pool
        self._origin = None if options.endpoint_url is None else Origin.of(options.endpoint_url)

    @classmethod
    def open(cls, options: StsOptions, metrics: Metrics) -> Self:
        """Make the pool; call it inside the event loop, and `close` in the end."""
        pool = HttpPool(
            client_context(options.ca_file), proxy_url=options.proxy_url, connect_timeout=options.connect_timeout
        )
        return cls(options, metrics, pool)

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        """Forward the request and read the answer; see `app.authenticator.IdentitySource`."""
        endpoint = request.request.endpoint
        trail.sts.region = endpoint.region
        started = time.perf_counter()
        outcome = "ok"
        try:
            reply = await self._forward(request.request, trail.deadline)
            trail.sts.request_id = reply.request_id
            return read_caller_identity(reply, endpoint)
        except AuthError as error:
            outcome = error.reason.value
            raise
        finally:
            trail.sts.seconds += time.perf_counter() - started
            self._metrics.upstream_call("sts", outcome, endpoint.region, time.perf_counter() - started)

    async def _forward(self, request: ValidatedRequest, deadline: float) -> StsReply:
        """Send the same bytes at most twice; a signed GetCallerIdentity is idempotent, so a second try is safe."""
        had_its_time = False
        for attempts_left in reversed(range(_ATTEMPTS)):
            had_its_time |= self._time_left(deadline) >= self._options.total_timeout
            try:
                reply = await self._send(request, deadline, fresh=not attempts_left)
            except ReplyTooLargeError as error:
                raise UpstreamError(Reason.STS_UNAVAILABLE, f"the answer of STS is not believed: {error}") from None
            except (HttpError, OSError, TimeoutError) as error:
                if isinstance(error, TimeoutError) and not had_its_time:
                    # It waited in queues too long to tell anything about STS.
                    raise OutOfTimeError(
                        Reason.STS_UNAVAILABLE, "no answer of STS in what was left of the time"
                    ) from None
                if attempts_left and self._time_left(deadline) > self._options.connect_timeout:
                    continue
                # The class alone: an error's text can hold the URL, and with it the credential (I22).
                raise UpstreamDownError(Reason.STS_UNAVAILABLE, f"no answer of STS: {type(error).__name__}") from None
            if not _is_transient(reply):
                return reply
            if not (attempts_left and self._time_left(deadline) > 0):
                raise UpstreamDownError(Reason.STS_UNAVAILABLE, f"STS answered {reply.status}")
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, request: ValidatedRequest, deadline: float, *, fresh: bool) -> StsReply:
        origin = self._origin or Origin("https", request.endpoint.host, 443)
        due = min(deadline, asyncio.get_running_loop().time() + self._options.total_timeout)
        reply = await self._pool.exchange(origin, _bytes_of(request), due, fresh=fresh)
        return StsReply(
            status=reply.status,
            content_type=reply.header(b"content-type"),
            body=reply.body,
            request_id=_plain(reply.header(b"x-amzn-requestid")),
        )

    @staticmethod
    def _time_left(deadline: float) -> float:
        return deadline - asyncio.get_running_loop().time()


def _bytes_of(request: ValidatedRequest) -> bytes:
    """Return what is sent. Each value was held to its grammar; that none begins a line of its own is looked at once more."""
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a line break in a value of the request")
    return b"%b\r\n\r\n%b" % (head.encode("ascii"), request.body)


def _plain(request_id: str) -> str:
    """Return a request id that can stand in a log; anything else is no request id of AWS."""
    return request_id if _REQUEST_ID.fullmatch(request_id) else ""


def _is_transient(reply: StsReply) -> bool:
    """Whether a second try may help. Throttling is none: trying at once would feed it."""
    return reply.status in _SERVER_ERRORS and read_error_code(reply.body) not in THROTTLING_CODES
