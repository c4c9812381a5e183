"""OpenTelemetry traces of decisions: one span for each call of the API, and one below it for each step, with its reason.

The trace continues that of the caller, if the call has a W3C ``traceparent``. Spans go to a collector by OTLP over HTTP,
from a thread and a queue of their own: a collector that does not answer loses spans, and delays no decision. The SDK reads
the standard ``OTEL_*`` variables.

A span contains only ids and values of closed sets: no credential, no token, no URL, and no text that the proxy asserts
(I22). The service imports this module only if tracing is on, because the packages are an extra.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.core.errors import AuthError
from app.core.known_credential import KnownCredential, NewCredential
from app.core.principal import AdmittedPrincipal
from app.core.reasons import EXPLANATIONS, Reason
from app.core.role_tags import RoleRecord
from app.decision.authenticator import Introductions, Judge, RoleSource
from app.decision.record import DecisionRecord, UpstreamCall
from app.decision.steps import STEPS, Steps
from app.telemetry.metrics import Metrics, outcome_of
from app.telemetry.span_collector import CollectorSession

# How long the process waits for the last spans when it stops.
FLUSH_SECONDS: Final = 2.0  # no bound: it limits no caller; the page trace-a-decision.md says it
_PREFIX: Final = "kuma_aws_iam"
_REASON: Final = f"{_PREFIX}.reason"
_OK: Final = 200
_SERVER_ERROR: Final = 500
_CONTEXT_HEADERS: Final = (b"traceparent", b"tracestate")

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Tracing:
    """Records spans; see `app.telemetry.untraced.Untraced` for the methods."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.metrics: Metrics = _TracedMetrics()
        self.steps = Steps(
            decode=self._traced("1 decode", STEPS.decode),
            validate=self._traced("2 validate", STEPS.validate),
            require_age=self._traced("2 check the age", STEPS.require_age),
            admit=self._traced("5 admit", STEPS.admit),
            read_grant=self._traced("7 read the tags", STEPS.read_grant),
            match=self._traced("8 match", STEPS.match),
        )

    def introductions(self, introductions: Introductions) -> Introductions:
        """Record a span for steps 1 to 4. Those that run in this task have spans of their own below it."""
        return _TracedIntroductions(introductions, self)

    def roles(self, roles: RoleSource) -> RoleSource:
        """Record a span for step 6."""
        return _TracedRoles(roles, self)

    def api(self, app: ASGIApp) -> ASGIApp:
        """Record a span for each call that is decided. Probes and scrapes have none."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["method"] != "POST":
                await app(scope, receive, send)
                return
            context = TraceContextTextMapPropagator().extract(_context_headers(scope))
            # The text of an exception can contain a credential, so it is not recorded (I22).
            with self._tracer.start_as_current_span(
                "decide", context, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
            ) as span:
                try:
                    await app(scope, receive, send)
                except Exception:
                    span.set_status(StatusCode.ERROR)
                    raise

        return traced

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[trace.Span]:
        """Record a span, with the reason if the step fails. The text of the error is not recorded."""
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield span
            except AuthError as error:
                span.set_attribute(_REASON, error.reason.value)
                raise

    def _traced(self, name: str, function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        def traced(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
            if not trace.get_current_span().is_recording():  # the call is not sampled
                return function(*arguments, **named)
            with self.step(name):
                return function(*arguments, **named)

        return traced


class _TracedIntroductions:
    def __init__(self, introductions: Introductions, tracing: Tracing) -> None:
        self._introductions = introductions
        self._tracing = tracing

    async def introduce(
        self, credential: NewCredential, judge: Judge, trail: DecisionRecord, deadline: float
    ) -> KnownCredential:
        with self._tracing.step("1-4 identify by STS") as span:
            try:
                return await self._introductions.introduce(credential, judge, trail, deadline)
            finally:
                span.set_attributes(_upstream("sts", trail.sts))


class _TracedRoles:
    def __init__(self, roles: RoleSource, tracing: Tracing) -> None:
        self._roles = roles
        self._tracing = tracing

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
        with self._tracing.step("6 fetch the role") as span:
            try:
                return await self._roles.fetch_role(admitted, seen, deadline)
            finally:
                span.set_attributes(_upstream("iam", seen))


class _TracedMetrics(Metrics):
    """Adds the facts of each decision to the span of its call, and the trace to its exemplar."""

    def decision_ended(self, trail: DecisionRecord, reason: Reason | None, seconds: float) -> None:
        super().decision_ended(trail, reason, seconds)
        span = trace.get_current_span()
        status = _OK if reason is None else EXPLANATIONS[reason].status
        span.set_attributes(_facts(trail, reason, status))
        if status >= _SERVER_ERROR:  # a denial is no error of the service
            span.set_status(StatusCode.ERROR)

    def exemplar_of(self, trail: DecisionRecord) -> dict[str, str]:
        context = trace.get_current_span().get_span_context()
        trace_id = {"trace_id": trace.format_trace_id(context.trace_id)} if context.trace_flags.sampled else {}
        return super().exemplar_of(trail) | trace_id


@contextlib.asynccontextmanager
async def open_tracing() -> AsyncIterator[Tracing]:
    """Send spans to the collector that the environment names. At the end, wait shortly for the last ones.

    Raises:
        ValueError: a variable of OpenTelemetry is invalid.
    """
    own = Resource.create({"service.name": "kuma-aws-iam", "service.version": __version__})
    provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=CollectorSession())))
    try:
        yield Tracing(provider.get_tracer(_PREFIX, __version__))
    finally:
        # A daemon, because the process must not wait for a collector that does not answer.
        flushing = threading.Thread(target=provider.shutdown, name="flush traces", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_SECONDS)


def _context_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a W3C trace context; none that is there twice, because the specification forbids that."""
    names = [name for name, _ in scope["headers"]]
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _CONTEXT_HEADERS and names.count(name) == 1
    }


def _facts(trail: DecisionRecord, reason: Reason | None, status: int) -> dict[str, str | int]:
    facts: dict[str, str | int | None] = {
        "http.response.status_code": status,
        f"{_PREFIX}.request_id": trail.request_id,
        f"{_PREFIX}.outcome": outcome_of(reason),
        _REASON: None if reason is None else reason.value,
        f"{_PREFIX}.form": trail.form,
        f"{_PREFIX}.claimed.type": None if trail.asserted is None else trail.asserted.type.value,
    }
    if trail.principal is not None:
        facts[f"{_PREFIX}.principal.account"] = trail.principal.account
        facts[f"{_PREFIX}.principal.role"] = trail.principal.role
    if trail.token is not None:
        facts[f"{_PREFIX}.token.jti"] = trail.token.jti
        facts[f"{_PREFIX}.token.origin"] = trail.token.origin
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return {**known, **_upstream("sts", trail.sts), **_upstream("iam", trail.iam)}


def _upstream(name: str, call: UpstreamCall) -> dict[str, str]:
    known = {"cache": call.cache, "request_id": call.request_id, "region": call.region}
    return {f"{_PREFIX}.{name}.{member}": value for member, value in known.items() if value}
