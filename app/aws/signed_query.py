"""Calls of AWS's query protocol that the service signs itself. Input: an action and its parameters. Output: XML or an error.

botocore signs. This package writes the few parameters itself, and sends requests with `Exchange`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.credentials import ReadOnlyCredentials

from app import __version__
from app.aws.exchange import Exchange, request_bytes
from app.aws.own_endpoints import OwnEndpoint, ServiceName
from app.core.reasons import Reason
from app.core.sigv4 import ALGORITHM
from app.core.sts_documents import read_error_code
from app.http.http1 import MAX_REPLY_BYTES, HttpReply
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin
from app.local.clock import Clock, utc_now

_API_VERSIONS: Final[Mapping[ServiceName, str]] = {"iam": "2010-05-08", "sts": "2011-06-15"}
_NAMES: Final[Mapping[ServiceName, str]] = {"iam": "IAM", "sts": "STS"}
_FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"
_USER_AGENT: Final = f"kuma-aws-iam/{__version__}"
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One call.

    Attributes:
        action: the name of the action, such as ``GetRole``.
        parameters: the parameters, as the query protocol names them.
        max_bytes: the largest body of the answer.
        seconds: for one attempt, if this call needs longer than others.
    """

    action: str
    parameters: Mapping[str, str]
    max_bytes: int = MAX_REPLY_BYTES
    seconds: float | None = None


class RefusedError(Exception):
    """AWS answered with another status than 200.

    Attributes:
        action: the action that was called.
        status: the HTTP status.
        code: AWS's error code, or empty.
    """

    def __init__(self, action: str, status: int, code: str) -> None:
        super().__init__(f"{action} answered {code or 'without an error code'}")
        self.action = action
        self.status = status
        self.code = code


class SignedQueries:
    """Calls one service with the service's own credentials, or with those of a role that it has assumed (I25)."""

    def __init__(self, endpoint: OwnEndpoint, pool: HttpPool, options: NetworkOptions, clock: Clock = utc_now) -> None:
        """Make a client of an endpoint over a pool of connections. The clock dates the signatures."""
        self._clock = clock
        self._endpoint = endpoint
        self._origin = Origin.of(endpoint.url)
        self._host = endpoint.url.partition("://")[2]
        # Both services are called to read a role, so a failure means that IAM is unavailable.
        self._exchange = Exchange(_NAMES[endpoint.service], Reason.IAM_UNAVAILABLE, pool, options)

    async def ask(self, query: Query, credentials: ReadOnlyCredentials, deadline: float) -> HttpReply:
        """Make a call, with at most two attempts, and return the body of its answer, whose status is 200.

        Args:
            query: the call; it must be idempotent.
            credentials: the credentials that sign the call.
            deadline: when the call must be over, in seconds of the event loop's clock.

        Raises:
            RefusedError: AWS answered with another status.
            UpstreamError: as `Exchange.ask` does.
        """
        form = {"Action": query.action, "Version": _API_VERSIONS[self._endpoint.service], **query.parameters}
        body = "&".join(f"{name}={quote(value, safe='')}" for name, value in form.items()).encode("ascii")
        reply = await self._exchange.ask(
            self._origin,
            lambda: self._sign(body, credentials),
            deadline,
            max_bytes=query.max_bytes,
            seconds=query.seconds,
        )
        if reply.status != _OK:
            raise RefusedError(query.action, reply.status, read_error_code(reply.body) or "")
        return reply

    def _sign(self, body: bytes, credentials: ReadOnlyCredentials) -> bytes:
        """Return the bytes of one attempt, signed now.

        botocore computes the key, the string to sign and the signature. The canonical request is written here, because every
        call has the same few headers: botocore's general code takes two to three times as long for a signature.
        """
        moment = self._clock().strftime(SIGV4_TIMESTAMP)
        signed = {"content-type": _FORM, "host": self._host, "x-amz-date": moment}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = ";".join(signed)
        fields = "".join(f"{name}:{value}\n" for name, value in signed.items())
        canonical = f"POST\n/\n\n{fields}\n{names}\n{sha256(body).hexdigest()}"
        signer = SigV4Auth(credentials, self._endpoint.service, self._endpoint.signing_region)
        request: Any = SimpleNamespace(context={"timestamp": moment})  # botocore's signer reads only this
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        headers = [
            *signed.items(),
            (
                "authorization",
                f"{ALGORITHM} Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}",
            ),
            ("content-length", str(len(body))),
            ("user-agent", _USER_AGENT),
        ]
        return request_bytes("POST / HTTP/1.1", headers, body)
