"""Ask one endpoint of AWS for an answer, over the service's own connections. The request is not signed and has no secret."""

import asyncio
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from app import __version__
from app.aws.exchange import request_bytes
from app.core.sts_documents import read_error_code
from app.http.causes import explain_call
from app.http.http1 import HttpError, HttpReply
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin, Progress
from app.local.causes import Cause
from app.local.clock import Clock, utc_now

# AWS answers each of these with 403 MissingAuthenticationToken.
STS_TARGET: Final = "/?Action=GetCallerIdentity&Version=2011-06-15"
IAM_TARGET: Final = "/?Action=GetRole&Version=2010-05-08"
# The header ``Date`` has whole seconds, so on average the time was half a second later.
_HALF_SECOND: Final = timedelta(seconds=0.5)
_SERVER_ERRORS: Final = range(500, 600)
_IMPOSTOR: Final = (
    "something else answers in its place: check DNS, AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL_IAM, and a proxy or firewall on "
    "the path"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result for one endpoint.

    Attributes:
        name: the host, or the URL that the operator set.
        cause: why the endpoint cannot be used; None if AWS answered.
        does_not_resolve: whether DNS has no such name. Some FIPS and dual-stack names that botocore lists do not exist.
        skew: this host's clock minus AWS's, in seconds; None without an answer that has a date.
    """

    name: str
    cause: Cause | None = None
    does_not_resolve: bool = False
    skew: float | None = None


async def probe_endpoint(
    pool: HttpPool,
    network: NetworkOptions,
    origin: Origin,
    host: str,
    target: str,
    *,
    name: str | None = None,
    clock: Clock = utc_now,
) -> Probe:
    """Connect to an endpoint, verify its certificate, and see whether AWS answers.

    Args:
        pool: the service's connections.
        network: the options of these connections.
        origin: the server to connect to.
        host: the text of the header ``Host``.
        target: `STS_TARGET` or `IAM_TARGET`.
        name: the name for the operator; the host of the origin if None.
        clock: this host's time.
    """
    name = name or origin.host
    headers = [("host", host), ("user-agent", f"kuma-aws-iam/{__version__}")]
    request = request_bytes(f"GET {target} HTTP/1.1", headers, b"")
    progress = Progress()
    until = asyncio.get_running_loop().time() + network.total_timeout
    before = clock()
    try:
        reply = await pool.exchange(origin, request, until, fresh=True, progress=progress)
    except (HttpError, OSError, TimeoutError) as error:
        cause = explain_call(error, origin, network, progress)
        is_unknown = isinstance(error, socket.gaierror) and not progress.is_at_proxy
        return Probe(name=name, cause=cause, does_not_resolve=is_unknown)
    skew = _skew(reply, before + (clock() - before) / 2)
    return Probe(name=name, cause=_judge(reply, name), skew=skew)


def _judge(reply: HttpReply, name: str) -> Cause | None:
    if read_error_code(reply.body) is None:
        return Cause(f"what answers for {name} is not AWS: HTTP {reply.status} without an AWS error code", _IMPOSTOR)
    if reply.status in _SERVER_ERRORS:
        return Cause(f"{name} answers HTTP {reply.status}", "AWS has a fault there: see https://health.aws.amazon.com")
    return None


def _skew(reply: HttpReply, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(reply.header(b"date"))
    except ValueError:
        return None
    return None if date.tzinfo is None else (now - date - _HALF_SECOND).total_seconds()
