"""Answer 401 to a caller without an accepted token, before reading the body of its call.

Such an answer is not a decision about a proxy. The service counts and logs these answers separately, with a bounded number
of log lines.
"""

import time
from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.answer import Answer
from app.api.authenticate import Headers, request_id_of
from app.api.problems import reason_answer
from app.api.tokens import is_ext_authz
from app.core.reasons import Reason
from app.local.caller_tokens import CallerTokenSource
from app.local.clock import Timer
from app.telemetry.audit import get_logger
from app.telemetry.log_limiter import LogLimiter
from app.telemetry.metrics import CallerCheck, Metrics

CHALLENGE: Final = b'Bearer realm="kuma-aws-iam"'
LOG_SECONDS: Final = 10.0
PROBES: Final = frozenset({"/healthy", "/ready", "/metrics"})


class UnknownCallers:
    """Counts rejected callers, and logs one of them every few seconds."""

    def __init__(self, metrics: Metrics, timer: Timer = time.monotonic) -> None:
        self._metrics = metrics
        self._limiter = LogLimiter(LOG_SECONDS, timer)

    def note(self, check: CallerCheck, fault: str, **seen: str | None) -> None:
        """Count one rejected caller.

        Args:
            check: the check that the caller failed.
            fault: the fault, in fixed words.
            seen: further fields of the log line; never a token.
        """
        self._metrics.unknown_caller(check)
        unlogged = self._limiter.note()
        if unlogged is not None:
            get_logger().warning("unknown caller", check=check, fault=fault, **seen, more_since_last_line=unlogged)


class CallerGuard:
    """Passes the calls of known callers on to another ASGI application. ``open_paths`` (exact paths) need no token."""

    def __init__(
        self, app: ASGIApp, tokens: CallerTokenSource, unknown: UnknownCallers, open_paths: Collection[str] = ()
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._unknown = unknown
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, or answer 401."""
        # The server supports neither WebSocket nor lifespan, so every scope has headers. The default values are a
        # precaution: a scope without headers has no token.
        headers: Headers = scope.get("headers", ())
        path = scope.get("path", "")
        fault = None if path in self._open_paths else self._tokens.find_fault(headers, in_own_header=is_ext_authz(path))
        if fault is None:
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(headers)
        client = scope.get("client")
        self._unknown.note("token", fault, client=client[0] if client else None, request_id=request_id)
        await _refuse(request_id).send(send)


def _refuse(request_id: str) -> Answer:
    answer = reason_answer(Reason.CALLER_NOT_AUTHENTICATED, request_id)
    # Close the connection. Otherwise clients without a token could occupy all connections, each for the 75 s of keep-alive.
    return answer._replace(
        extra_headers=(*answer.extra_headers, (b"www-authenticate", CHALLENGE), (b"connection", b"close"))
    )
