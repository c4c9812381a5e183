"""The client of STS. It sends the rebuilt request, which the proxy has signed (I25), and reads the answer.

The client verifies TLS certificates and follows no redirect. Every exchange is bounded in size and time (`app.http.pool`).
"""

import time

from app.aws.exchange import Exchange, request_bytes
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.errors import AuthError
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.reasons import Reason
from app.decision.record import UpstreamCall
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin
from app.telemetry.metrics import Metrics


class StsClient:
    """The `IdentitySource` that calls STS."""

    def __init__(self, pool: HttpPool, options: NetworkOptions, metrics: Metrics, endpoint_url: str | None) -> None:
        """Send requests to ``endpoint_url`` (``AWS_ENDPOINT_URL_STS``) instead of the signed host, unless it is None."""
        self._metrics = metrics
        self._exchange = Exchange("STS", Reason.STS_UNAVAILABLE, pool, options)
        self._origin = None if endpoint_url is None else Origin.of(endpoint_url)

    async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:
        """Forward the request and read the answer; see `app.decision.authenticator.IdentitySource`."""
        endpoint = request.request.endpoint
        seen.region = endpoint.region
        started = time.perf_counter()
        outcome, cause = "ok", ""
        try:
            reply = await self._forward(request.request, deadline)
            seen.request_id = reply.request_id
            return read_caller_identity(reply, endpoint)
        except AuthError as error:
            outcome, cause = error.reason.value, error.detail
            raise
        finally:
            seconds = time.perf_counter() - started
            seen.seconds += seconds
            self._metrics.upstream_call("sts", outcome, endpoint.region, seconds, cause)

    async def _forward(self, request: ValidatedRequest, deadline: float) -> StsReply:
        """Send the same bytes at most twice. GetCallerIdentity is idempotent, so a second attempt is safe."""
        origin = self._origin or Origin("https", request.endpoint.host, 443)
        sent = request_bytes(f"{request.method} {request.target} HTTP/1.1", [*request.headers], request.body)
        reply = await self._exchange.ask(origin, lambda: sent, deadline)
        return StsReply(
            status=reply.status,
            content_type=reply.header(b"content-type"),
            body=reply.body,
            request_id=reply.request_id,
        )
