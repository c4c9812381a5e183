"""STS over aiohttp: one pool, TLS verified, no redirects, no proxy or netrc of the environment, bounded in all respects.

Why aiohttp: of the well-kept clients it is the fastest that was measured (``make bench``); httpx's pool does 120
requests/s with 64 under way. Why none of boto3: the request is signed already, by somebody else (I25).
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from yarl import URL

from app.adapters.trust import client_context
from app.core.aws_errors import THROTTLING_CODES
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.sts_documents import read_error_code
from app.errors import AuthError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.trail import Trail

# A GetCallerIdentity answer has about 500 bytes.
MAX_REPLY_BYTES: Final = 64 * 1024
# Drain rate of a reconnect storm <= connections / round trip: 256 / 40 ms = 6,400/s, ten times the quota of an account.
MAX_CONNECTIONS: Final = 256
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}", re.ASCII)
_KEEPALIVE_SECONDS: Final = 20.0
_DNS_CACHE_SECONDS: Final = 10
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

    def __init__(self, options: StsOptions, metrics: Metrics, session: aiohttp.ClientSession) -> None:
        self._options = options
        self._metrics = metrics
        self._session = session

    @classmethod
    def open(cls, options: StsOptions, metrics: Metrics) -> Self:
        """Make the pool; call it inside the event loop, and `close` in the end."""
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            ssl=client_context(options.ca_file),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            raise_for_status=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        return cls(options, metrics, session)

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()

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
                reply = await self._send(request, deadline)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if isinstance(error, TimeoutError) and not had_its_time:
                    # It waited in queues too long to tell anything about STS.
                    raise OutOfTimeError(
                        Reason.STS_UNAVAILABLE, "no answer of STS in what was left of the time"
                    ) from None
                worth_it = attempts_left and not _was_retried(request.method, error)
                if worth_it and self._time_left(deadline) > self._options.connect_timeout:
                    continue
                # The class alone: an error's text can hold the URL, and with it the credential (I22).
                raise UpstreamDownError(Reason.STS_UNAVAILABLE, f"no answer of STS: {type(error).__name__}") from None
            if not _is_transient(reply):
                return reply
            if not (attempts_left and self._time_left(deadline) > 0):
                raise UpstreamDownError(Reason.STS_UNAVAILABLE, f"STS answered {reply.status}")
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, request: ValidatedRequest, deadline: float) -> StsReply:
        base = self._options.endpoint_url or f"https://{request.endpoint.host}"
        async with (
            asyncio.timeout_at(deadline),
            self._session.request(
                request.method,
                URL(f"{base}{request.target}", encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
                proxy=self._options.proxy_url,
                # Not sock_connect, which leaves out DNS. Waiting for the pool counts too: the guard lets in no more than
                # the pool has room for.
                timeout=aiohttp.ClientTimeout(total=self._options.total_timeout, connect=self._options.connect_timeout),
            ) as response,
        ):
            return StsReply(
                status=response.status,
                content_type=response.headers.get("Content-Type", ""),
                body=await _read_capped(response),
                request_id=_plain(response.headers.get("x-amzn-RequestId", "")),
            )

    @staticmethod
    def _time_left(deadline: float) -> float:
        return deadline - asyncio.get_running_loop().time()


def _plain(request_id: str) -> str:
    """Return a request id that can stand in a log; anything else is no request id of AWS."""
    return request_id if _REQUEST_ID.fullmatch(request_id) else ""


def _was_retried(method: str, error: Exception) -> bool:
    """Whether aiohttp has sent it twice by itself: it does so with a GET whose connection was lost after it was made."""
    lost = isinstance(error, (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError))
    return method == "GET" and lost and not isinstance(error, aiohttp.ClientConnectorError)


def _is_transient(reply: StsReply) -> bool:
    """Whether a second try may help. Throttling is none: trying at once would feed it."""
    return reply.status in _SERVER_ERRORS and read_error_code(reply.body) not in THROTTLING_CODES


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    """Read the whole body up to the cap; a longer one is no answer of STS, and its connection is not used again."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            response.close()
            raise UpstreamError(Reason.STS_UNAVAILABLE, "the answer of STS is not believed: over 64 KiB")
    return bytes(body)
