"""Calls of AWS's query protocol that the service signs itself. A call has an action and parameters; AWS answers in XML.

botocore computes the signature. This module writes the few parameters, and `Exchange` sends the requests.
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
from app.core.sts_documents import read_error_code, read_error_message
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
        parameters: the parameters, by their names in the query protocol.
        max_bytes: the largest size of the answer's body.
        seconds: the time limit of one attempt, if this call needs longer than others; otherwise None.
    """

    action: str
    parameters: Mapping[str, str]
    max_bytes: int = MAX_REPLY_BYTES
    seconds: float | None = None


class RefusedError(Exception):
    """AWS answered with another status than 200.

    Attributes:
        action: the action of the call.
        status: the HTTP status.
        code: AWS's error code; empty if the answer contains none.
        message: AWS's own text about the error, from which `app.core.aws_denials` reads the kind of a policy. It is not
            part of ``str()``, and must not be logged.
    """

    def __init__(self, action: str, status: int, code: str, message: str = "") -> None:
        super().__init__(f"{action} answered {code or f'status {status} without an error code'}")
        self.action = action
        self.status = status
        self.code = code
        self.message = message


class SignedQueries:
    """Calls IAM or STS with this service's own credentials, or with the credentials of an assumed role (I25)."""

    def __init__(self, endpoint: OwnEndpoint, pool: HttpPool, options: NetworkOptions, clock: Clock = utc_now) -> None:
        """Make a client of an endpoint that uses a pool of connections. ``clock`` gives the date of each signature."""
        self._clock = clock
        self._endpoint = endpoint
        self._origin = Origin.of(endpoint.url)
        self._host = endpoint.url.partition("://")[2]
        # Calls to STS by this class also serve to read a role, so a failure of either service means that IAM is unavailable.
        self._exchange = Exchange(_NAMES[endpoint.service], Reason.IAM_UNAVAILABLE, pool, options)

    async def ask(self, query: Query, credentials: ReadOnlyCredentials, deadline: float) -> HttpReply:
        """Make a call, with at most two attempts, and return the answer, whose status is 200.

        Args:
            query: the call; it must be idempotent.
            credentials: the credentials that sign the call.
            deadline: when the call must be over, in seconds of the event loop's clock.

        Raises:
            RefusedError: AWS answered with another status.
            UpstreamError: for the same reasons as in `Exchange.ask`.
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
            code = read_error_code(reply.body) or ""
            raise RefusedError(query.action, reply.status, code, read_error_message(reply.body))
        return reply

    def _sign(self, body: bytes, credentials: ReadOnlyCredentials) -> bytes:
        """Return the bytes of the request for one attempt, with a signature of this moment.

        botocore computes the signing key, the string to sign and the signature. This method writes the canonical request,
        because every call has the same few headers, and botocore's general code would take two to three times as long.
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
