"""Logs: one audit line for each decision, and events for everything else, in JSON or in a format for people.

An audit line never contains a credential, a token or a signature (I22): it is made from a `DecisionRecord`, which has no
field for them. What the proxy asserts is text from a client, so the line contains at most 256 characters of each text, and
JSON escapes them (I23). docs/reference/audit-log.md lists the fields.
"""

import logging
import sys
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO, Final, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from app.core.errors import AuthError
from app.core.principal import Principal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion
from app.decision.record import AudienceNote, CandidateNote, DecisionRecord, TokenNote, UpstreamCall
from app.telemetry.human import decision_line
from app.telemetry.metrics import outcome_of

Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "human"]

DECISION: Final = "decision"
# Kuma's names have at most 253 characters. A longer text is shortened, so that a client cannot flood the log.
MAX_TEXT: Final = 256
MAX_SERVICES: Final = 16
MAX_LABELS: Final = 32
# The audit line has these labels as members of their own.
_NAMED_LABELS: Final = (SERVICE_TAG, WORKLOAD_TAG)
_JSON_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
# Every key of an audit line is a str. With OPT_NON_STR_KEYS orjson takes twice the time.
_LINE_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


def configure_logging(level: Level, log_format: LogFormat) -> None:
    """Set up structlog, and let the standard library's loggers (uvicorn, botocore, asyncio) write through it."""
    _Bound.processors = None
    number = logging.getLevelNamesMapping()[level.upper()]
    stamps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    human = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    text, data = _PatientOutput(sys.stdout), _PatientOutput(sys.stdout.buffer)
    processors: list[Processor] = [_render_json] if log_format == "json" else [*stamps, _decisions_apart(human)]
    direct = log_format == "json" and number <= logging.INFO
    _Bound.decisions = _DecisionLines(processors, data) if direct else None
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", data))
        if log_format == "json"
        else structlog.WriteLoggerFactory(cast("TextIO", text)),
    )
    handler = logging.StreamHandler(cast("TextIO", text))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *stamps],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_to_json) if log_format == "json" else human,
            ],
        )
    )
    logging.basicConfig(level=max(number, logging.INFO), handlers=[handler], force=True)
    for name in ("botocore", "boto3", "urllib3", "asyncio"):
        # Debug lines of the SDK contain credentials and signed URLs (I22), and asyncio's debug lines do not help an
        # operator. So these libraries log only warnings and errors, whatever level is set.
        logging.getLogger(name).setLevel(logging.WARNING)
    # botocore logs a traceback when it cannot renew credentials; `app.aws.own_credentials` logs one line instead.
    logging.getLogger("botocore.credentials").setLevel(logging.ERROR)
    # They warn about each malformed header ``tracestate`` with the caller's text as it is, and about a malformed
    # OTEL_EXPORTER_OTLP_HEADERS with the collector's key in it (I22, I23).
    for name in ("opentelemetry.trace.span", "opentelemetry.util.re"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It logs the URL of the collector, with any key in it (I22). `app.telemetry.span_collector` logs why a request failed.
    logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").setLevel(logging.CRITICAL)


class _PatientOutput:
    """Standard output that raises no `OSError`: if the log collector has ended, decisions and the service must go on.

    Attributes:
        failures: the number of failed writes; `write_decision` reports them to its caller.
    """

    failures = 0

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, text: Any) -> None:
        try:
            self._stream.write(text)
        except OSError:
            _PatientOutput.failures += 1

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _PatientOutput.failures += 1

    def write_line(self, line: bytes) -> bool:
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _DecisionLines:
    """The fast path of an audit line: it writes the same bytes as structlog, in a third of the time.

    The fast path is not used while structlog has another configuration, for example that of ``capture_logs``.
    """

    processors: list[Processor]
    output: _PatientOutput

    def write(self, fields: dict[str, Any]) -> bool:
        fields["event"], fields["level"], fields["time"] = DECISION, "info", datetime.now(UTC)
        return self.output.write_line(orjson.dumps(fields, default=repr, option=_LINE_OPTIONS))


class _Bound:
    """The bound logger, which is kept: binding a new logger for each line would take as long as writing the line."""

    processors: Iterable[Processor] | None = None
    logger: FilteringBoundLogger
    decisions: _DecisionLines | None = None


def get_logger() -> FilteringBoundLogger:
    """Return the service's logger."""
    processors = structlog.get_config()["processors"]
    if _Bound.processors is not processors:
        _Bound.processors, _Bound.logger = processors, structlog.get_logger().bind()
    return _Bound.logger


def write_decision(trail: DecisionRecord, error: AuthError | None, seconds: float) -> bool:
    """Write the audit line of one decision. Return whether standard output accepted it."""
    fields = decision_fields(trail, error, seconds)
    decisions = _Bound.decisions
    if decisions is not None and structlog.get_config()["processors"] is decisions.processors:
        return decisions.write(fields)
    failures = _PatientOutput.failures
    get_logger().info(DECISION, **fields)
    return _PatientOutput.failures == failures


def decision_fields(trail: DecisionRecord, error: AuthError | None, seconds: float) -> dict[str, Any]:
    """Return the fields of the audit line. Every field is always present; a field that does not apply is null."""
    return {
        "outcome": outcome_of(None if error is None else error.reason),
        "reason": None if error is None else error.reason.value,
        "detail": None if error is None else error.detail,
        "request_id": trail.request_id,
        "client": trail.client,
        "call": trail.call,
        "form": trail.form,
        "access_key": None
        if trail.access_key_id is None
        else {"id": trail.access_key_id, "unverified_account": trail.key_account},
        "signed_for": trail.signed_for,
        "signed_at": trail.signed_at,
        "clock_skew_seconds": trail.skew,
        "age_seconds": trail.age,
        "audience": None if trail.audience is None else _audience(trail.audience),
        "principal": None if trail.principal is None else _principal(trail.principal),
        "claimed": None if trail.asserted is None else _asserted(trail.asserted),
        "role": None if trail.role is None else trail.role.noted,
        "granted": None if trail.granted is None else trail.granted.members(),
        "token": None if trail.token is None else _token(trail.token),
        "candidate": None if trail.candidate is None else _candidate(trail.candidate),
        "sts": _upstream(trail.sts),
        "iam": _upstream(trail.iam),
        "duration_ms": round(seconds * 1000, 3),
    }


def _decisions_apart(human: Processor) -> Processor:
    """Return a renderer that writes decisions in one readable line, and passes other events on to another renderer."""

    def render(logger: Any, level: str, event: EventDict) -> Any:
        is_decision = event["event"] == DECISION and "duration_ms" in event
        return decision_line(event) if is_decision else human(logger, level, event)

    return render


def _render_json(_logger: Any, level: str, event: EventDict) -> bytes:
    event["level"] = level
    event["time"] = datetime.now(UTC)
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(_logger, level, event)
    return orjson.dumps(event, default=repr, option=_JSON_OPTIONS)


def _to_json(event: dict[str, Any], **_options: Any) -> str:
    return orjson.dumps(event, default=repr, option=_JSON_OPTIONS).decode()


def _principal(principal: Principal) -> dict[str, str]:
    return {
        "partition": principal.partition,
        "account": principal.account,
        "role": principal.role,
        "role_id": principal.role_id,
        "session": principal.session,
    }


def _asserted(proxy: ProxyAssertion) -> dict[str, Any]:
    return {
        "type": proxy.type.value,
        "mesh": _cut(proxy.mesh),
        "name": _cut(proxy.name),
        "zone": _cut(proxy.zone),
        "listeners": sorted(proxy.listeners) if proxy.listeners else [],
        "services": _cut_all(proxy.service_tags),
        "service_label": _cut(proxy.service_label),
        "workload": _cut(proxy.workload),
        "labels": _labels(proxy),
    }


def _labels(proxy: ProxyAssertion) -> dict[str, str | None]:
    """Return the labels that a role can pin, the first by their keys. A longer key or value than these is never pinned."""
    if not proxy.labels:
        return {}
    noted = sorted(key for key in proxy.labels if key not in _NAMED_LABELS and len(key) <= MAX_TEXT)
    return {key: _cut(proxy.labels[key]) for key in noted[:MAX_LABELS]}


def _audience(note: AudienceNote) -> dict[str, str | None]:
    return {"expected": note.expected, "presented": _cut(note.presented), "hint": _cut(note.hint)}


def _token(note: TokenNote) -> dict[str, Any]:
    return {
        "jti": note.jti,
        "kid": note.kid,
        "expires_at": note.expires_at,
        "origin": note.origin,
        "identity": None if note.identity is None else note.identity.members(),
        "name": note.name,
    }


def _candidate(note: CandidateNote) -> dict[str, str | None]:
    return {"outcome": note.outcome, "reason": note.reason, "missing": note.missing}


def _upstream(call: UpstreamCall) -> dict[str, Any]:
    return {
        "cache": call.cache,
        "request_id": call.request_id or None,
        "duration_ms": round(call.seconds * 1000, 3) if call.seconds else 0.0,
    }


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _cut_all(texts: AbstractSet[str]) -> list[str | None]:
    first = sorted(texts)[:MAX_SERVICES] if len(texts) > 1 else texts
    return [_cut(text) for text in first]
