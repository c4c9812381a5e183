"""In front of the API: a caller without an accepted token is answered before its body is read.

That is no decision about a proxy: it is counted and logged apart, and the log is bounded however many come.
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
from app.telemetry.metrics import CallerCheck, Metrics

CHALLENGE: Final = b'Bearer realm="kuma-aws-iam"'
LOG_SECONDS: Final = 10.0
PROBES: Final = frozenset({"/healthy", "/ready", "/metrics"})


class UnknownCallers:
    """Counts callers that are turned away, and logs one of them every few seconds."""

    def __init__(self, metrics: Metrics, timer: Timer = time.monotonic) -> None:
        self._metrics = metrics
        self._timer = timer
        self._next_line = float("-inf")
        self._unlogged = 0

    def note(self, check: CallerCheck, fault: str, **seen: str | None) -> None:
        """Account for one.

        Args:
            check: that it did not pass.
            fault: in words of ours.
            seen: more for the log line; never a token.
        """
        self._metrics.unknown_caller(check)
        now = self._timer()
        if now < self._next_line:
            self._unlogged += 1
            return
        get_logger().warning("unknown caller", check=check, fault=fault, **seen, more_since_last_line=self._unlogged)
        self._next_line, self._unlogged = now + LOG_SECONDS, 0


class CallerGuard:
    """An ASGI application that lets known callers through to another one."""

    def __init__(
        self, app: ASGIApp, tokens: CallerTokenSource, unknown: UnknownCallers, open_paths: Collection[str] = ()
    ) -> None:
        """Stand in front of an application.

        Args:
            app: what known callers reach.
            tokens: those that are accepted.
            unknown: accounts for everybody else.
            open_paths: exact paths that need no token.
        """
        self._app = app
        self._tokens = tokens
        self._unknown = unknown
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a call through, or answer 401."""
        # Defensive: the server speaks neither WebSocket nor lifespan; what has no headers cannot be let through.
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
    # Close the connection: otherwise clients without a token could use up all connections, each for 75 s (keep-alive).
    return answer._replace(
        extra_headers=(*answer.extra_headers, (b"www-authenticate", CHALLENGE), (b"connection", b"close"))
    )
