"""Declare every metric and every label, once. Label values come from closed sets (I23).

A test compares this module with the page docs/reference/metrics.md.
"""

import contextlib
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector

from app import __version__
from app.core.aws_errors import CredentialFault
from app.core.proxy import ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.core.signed_request import CredentialForm
from app.core.token_kind import TokenKind
from app.decision.record import (
    CACHE_RESULTS,
    CANDIDATE_OUTCOMES,
    HIT,
    NONE,
    TOKEN_FORM,
    TOKEN_ORIGINS,
    CandidateOutcome,
    DecisionRecord,
    PresentedForm,
    TokenOrigin,
)
from app.telemetry.exposition import Exposition
from app.telemetry.file_dates import FileDates
from app.telemetry.upstream_states import UPSTREAMS, Upstream, UpstreamStates

Reloadable = Literal["accounts", "tls", "caller_token", "store_key", "signing_keys", "candidate_policy"]
CallerCheck = Literal["token", "certificate"]
StoreOperation = Literal["get", "put", "delete", "claim", "take"]
StoreResult = Literal["hit", "miss", "done", "rejected", "failed", "skipped"]

CREDENTIAL_FAULTS: Final[tuple[CredentialFault, ...]] = get_args(CredentialFault)
RELOADABLES: Final[tuple[Reloadable, ...]] = get_args(Reloadable)
CALLER_CHECKS: Final[tuple[CallerCheck, ...]] = get_args(CallerCheck)
CACHES: Final = ("identity", "role")
OUTCOMES: Final = ("allowed", "denied", "error")
FORMS: Final[tuple[PresentedForm, ...]] = (*CredentialForm, TOKEN_FORM)
# The possible results of each operation.
STORE_RESULTS: Final[Mapping[StoreOperation, tuple[StoreResult, ...]]] = {
    "get": ("hit", "miss", "rejected", "failed", "skipped"),
    "put": ("done", "rejected", "failed", "skipped"),
    "delete": ("done", "rejected", "failed", "skipped"),
    "claim": ("done", "miss", "rejected", "failed", "skipped"),
    "take": ("done", "rejected", "failed", "skipped"),
}

# A cache hit takes 0.1 ms, a call to STS tens of milliseconds, the longest decision 10 s.
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# The buckets of the clock skew: the signing time minus the service's time, in seconds. The skew is positive if the signer's
# clock is ahead. A signature expires after 15 minutes.
_SKEW: Final = (-900, -600, -300, -120, -60, -30, -10, -5, -1, 0, 1, 5, 10, 30, 60, 120, 300)
# An approval that takes at least this long gets an exemplar, as does every refusal. An approval from the caches is faster,
# so it does not pay for an exemplar.
_EXEMPLAR_SECONDS: Final = 0.005  # no bound: below it an approval came from the caches
# OpenMetrics allows 128 characters for the labels of an exemplar, and tracing adds the id of the trace. A caller may choose
# a longer request id.
_EXEMPLAR_ID: Final = 64


def outcome_of(reason: Reason | None) -> str:
    """Return ``allowed``, ``denied`` or ``error`` for the reason of an answer. An approval has the reason None.

    ``error`` means that there was no decision.
    """
    if reason is None:
        return "allowed"
    return "denied" if EXPLANATIONS[reason].status in (401, 403) else "error"


class Queue(Protocol):
    """The calls to one upstream."""

    @property
    def waiting(self) -> int:
        """Return the number of calls that wait in the queue."""

    @property
    def open_circuits(self) -> int:
        """Return the number of endpoints whose circuit breaker is open."""


class Metrics:
    """The metrics of one service. Each object has its own registry, so that two services in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.states = UpstreamStates()
        registry = self._registry
        self._decisions = Counter(
            "kuma_aws_iam_decisions",
            "Decisions by outcome (allowed, denied, error), reason, the role's proxy type and the credential's form.",
            ("outcome", "reason", "proxy_type", "form"),
            registry=registry,
        )
        self._refusals = Counter(
            "kuma_aws_iam_refusals",
            "Decisions without an approval, by outcome (denied, error) and reason; all series exist from the start.",
            ("outcome", "reason"),
            registry=registry,
        )
        self._decision_seconds = Histogram(
            "kuma_aws_iam_decision_seconds",
            "Time from the whole body to the answer, in seconds, by outcome.",
            ("outcome",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._upstream_calls = Counter(
            "kuma_aws_iam_upstream_calls",
            "Calls to STS and IAM by outcome (ok or a reason) and region (global for IAM).",
            ("upstream", "outcome", "region"),
            registry=registry,
        )
        self._upstream_seconds = Histogram(
            "kuma_aws_iam_upstream_call_seconds",
            "Time of calls to STS and IAM, retries included, in seconds.",
            ("upstream",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._throttles = Counter(
            "kuma_aws_iam_upstream_throttles", "Throttling answers of STS and IAM.", ("upstream",), registry=registry
        )
        self._cache_requests = Counter(
            "kuma_aws_iam_cache_requests",
            "Look-ups in the caches of verified identities and roles, by result (hit, miss, coalesced, shared or stale).",
            ("cache", "result"),
            registry=registry,
        )
        self._cache_entries = Gauge(
            "kuma_aws_iam_cache_entries",
            "Entries in the caches, expired ones included.",
            ("cache",),
            registry=registry,
        )
        self._reload_failures = Counter(
            "kuma_aws_iam_reload_failures",
            "Changed files that could not be read, by their content.",
            ("what",),
            registry=registry,
        )
        self._store_requests = Counter(
            "kuma_aws_iam_store_requests",
            "Requests to the store that replicas share, by operation and result.",
            ("operation", "result"),
            registry=registry,
        )
        self._unknown_callers = Counter(
            "kuma_aws_iam_unknown_callers",
            "Callers rejected before anything was read or decided, by the check that they failed.",
            ("check",),
            registry=registry,
        )
        self._tokens = Counter(
            "kuma_aws_iam_tokens_issued",
            "Tokens handed out by kind, and by origin: signed for the call, signed before, or presented as the credential.",
            ("kind", "origin"),
            registry=registry,
        )
        self._signing_seconds = Histogram(
            "kuma_aws_iam_token_signing_seconds",
            "Time to sign a token, in seconds, the wait for a thread included.",
            ("kind",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._candidate_results = Counter(
            "kuma_aws_iam_candidate_decisions",
            "Decisions with a report-only policy: their outcome, and what that policy would have decided.",
            ("outcome", "candidate"),
            registry=registry,
        )
        self._audit_lines_lost = Counter(
            "kuma_aws_iam_audit_lines_lost",
            "Decisions whose line standard output did not take.",
            registry=registry,
        )
        self._in_flight = Gauge(
            "kuma_aws_iam_in_flight_decisions",
            "Decisions under way at this moment.",
            registry=registry,
        )
        self._skew = Histogram(
            "kuma_aws_iam_client_clock_skew_seconds",
            "Date of the signature less this service's clock, in seconds; above zero the signer's clock is ahead.",
            buckets=_SKEW,
            registry=registry,
        )
        self._waiting_calls = Gauge(
            "kuma_aws_iam_waiting_calls",
            "Calls to STS and IAM that wait in the queue.",
            ("upstream",),
            registry=registry,
        )
        self._open_circuits = Gauge(
            "kuma_aws_iam_open_circuits",
            "Endpoints whose circuit breaker is open: hosts of STS, and the IAM of one account.",
            ("upstream",),
            registry=registry,
        )
        self.file_dates = FileDates(registry)
        ProcessCollector(namespace="kuma_aws_iam", registry=registry)
        self._own_credentials_usable = Gauge(
            "kuma_aws_iam_own_credentials_usable",
            "1 while the service's own AWS credentials can be used as far as is known, else 0.",
            registry=registry,
        )
        self._own_credentials_failures = Counter(
            "kuma_aws_iam_own_credentials_failures",
            "Times that the service's own AWS credentials were not found, or that AWS rejected them, by fault.",
            ("fault",),
            registry=registry,
        )
        self.ready = Gauge(
            "kuma_aws_iam_ready",
            "1 while /ready answers 200, else 0.",
            registry=registry,
        )
        build = Gauge(
            "kuma_aws_iam_build_info",
            "Always 1; the labels tell the build.",
            ("version", "python"),
            registry=registry,
        )
        build.labels(__version__, platform.python_version()).set(1)
        # These series exist from the start. If a series appeared only with its first fault, rate() would return 0 for that
        # fault, and an alert would miss it.
        self._seconds_by_outcome = {outcome: self._decision_seconds.labels(outcome) for outcome in OUTCOMES}
        self._candidate_by_outcomes = {
            (outcome, candidate): self._candidate_results.labels(outcome, candidate)
            for outcome in OUTCOMES
            for candidate in CANDIDATE_OUTCOMES
        }
        self._seconds_by_upstream = {upstream: self._upstream_seconds.labels(upstream) for upstream in UPSTREAMS}
        self._throttles_by_upstream = {upstream: self._throttles.labels(upstream) for upstream in UPSTREAMS}
        self._reload_failures_by_file = {what: self._reload_failures.labels(what) for what in RELOADABLES}
        self._own_failures_by_fault = {
            fault: self._own_credentials_failures.labels(fault) for fault in CREDENTIAL_FAULTS
        }
        self._unknown_callers_by_check = {check: self._unknown_callers.labels(check) for check in CALLER_CHECKS}
        self._store_results = {
            (operation, result): self._store_requests.labels(operation, result)
            for operation, results in STORE_RESULTS.items()
            for result in results
        }
        self._cache_results = {
            (cache, result): self._cache_requests.labels(cache, result) for cache in CACHES for result in CACHE_RESULTS
        }
        for cache in CACHES:
            self._cache_entries.labels(cache)
        for upstream in UPSTREAMS:
            self._waiting_calls.labels(upstream)
            self._open_circuits.labels(upstream)
        for reason in (None, *Reason):
            if reason is None or reason.value.startswith("iam_"):
                self._upstream_calls.labels("iam", reason or "ok", "global")
        # To find a series by its labels, the library takes a lock and makes three strings. So each series that occurs is
        # cached. All labels come from closed sets, so these caches stay small.
        self._calls: dict[tuple[Upstream, str, str], Counter] = {}
        self._refusals_by_labels: dict[tuple[str, Reason | None, str, str], Counter] = {}
        self._refusals_by_reason = {reason: self._refusals.labels(outcome_of(reason), reason) for reason in Reason}
        self._allowed = {
            (proxy_type, form): self._decisions.labels("allowed", NONE, proxy_type, form)
            for proxy_type in ProxyType
            for form in FORMS
        }
        self._tokens_by_kind = {
            (kind, origin): self._tokens.labels(kind, origin) for kind in TokenKind for origin in TOKEN_ORIGINS
        }
        self._signing_by_kind = {kind: self._signing_seconds.labels(kind) for kind in TokenKind}

    def watch_in_flight(self, under_way: Callable[[], int]) -> None:
        """Read the number of decisions in progress from this callback at each rendering."""
        self._in_flight.set_function(under_way)

    def watch_cache(self, cache: str, entries: Callable[[], int]) -> None:
        """Read the number of entries in a cache from this callback at each rendering."""
        self._cache_entries.labels(cache).set_function(entries)

    def watch_queue(self, upstream: Upstream, queue: Queue) -> None:
        """Read the state of an upstream's queue at each rendering."""
        self._waiting_calls.labels(upstream).set_function(lambda: queue.waiting)
        self._open_circuits.labels(upstream).set_function(lambda: queue.open_circuits)

    def decision_ended(self, trail: DecisionRecord, reason: Reason | None, seconds: float) -> None:
        """Count a decision by the content of its record."""
        outcome = outcome_of(reason)
        if reason is None and trail.granted is not None and trail.form is not None:
            self._allowed[trail.granted.type, trail.form].inc()
        else:
            # The client chooses the asserted type, but it is one of three values. It shows which types of proxies are
            # rejected.
            proxy_type = NONE if trail.asserted is None else trail.asserted.type.value
            labels = outcome, reason, proxy_type, trail.form or NONE
            series = self._refusals_by_labels.get(labels)
            if series is None:
                series = self._refusals_by_labels[labels] = self._decisions.labels(
                    outcome, reason or NONE, proxy_type, trail.form or NONE
                )
            series.inc()
            if reason is not None:
                self._refusals_by_reason[reason].inc()
        if reason is None and seconds < _EXEMPLAR_SECONDS:
            self._seconds_by_outcome[outcome].observe(seconds)
        else:
            self._observe_with_exemplar(outcome, seconds, trail)
        # A credential that is presented again is older by now, and says nothing new about its signer's clock.
        if trail.skew is not None and trail.sts.cache != HIT:
            self._skew.observe(trail.skew)
        for cache, call in (("identity", trail.sts), ("role", trail.iam)):
            if call.cache != NONE:
                self._cache_results[cache, call.cache].inc()

    def _observe_with_exemplar(self, outcome: str, seconds: float, trail: DecisionRecord) -> None:
        """Observe a decision, and keep what leads to its audit line as the exemplar of its bucket."""
        # The library counts the decision before it checks the exemplar. An exemplar that it does not accept is left out.
        with contextlib.suppress(ValueError):
            self._seconds_by_outcome[outcome].observe(seconds, self.exemplar_of(trail))

    def exemplar_of(self, trail: DecisionRecord) -> dict[str, str]:
        """Return the labels of the exemplar of a decision."""
        return {"request_id": trail.request_id[:_EXEMPLAR_ID]}

    def token_issued(self, kind: TokenKind, origin: TokenOrigin) -> None:
        """Count a token that is handed out."""
        self._tokens_by_kind[kind, origin].inc()

    def token_signed(self, kind: TokenKind, seconds: float) -> None:
        """Record the duration of a signature."""
        self._signing_by_kind[kind].observe(seconds)

    def candidate_evaluated(self, reason: Reason | None, candidate: CandidateOutcome) -> None:
        """Count what the report-only policy would have decided, by the outcome of the decision with this reason."""
        self._candidate_by_outcomes[outcome_of(reason), candidate].inc()

    def audit_line_lost(self) -> None:
        """Count a decision whose audit line could not be written."""
        self._audit_lines_lost.inc()

    def upstream_call(self, upstream: Upstream, outcome: str, region: str, seconds: float, cause: str = "") -> None:
        """Count a call to an upstream.

        Args:
            upstream: the service that was called.
            outcome: ``ok`` or a reason's value.
            region: a region of a closed set.
            seconds: the time of the call.
            cause: the detail of the error, for ``/ready``.
        """
        self.states.called(upstream, outcome, cause)
        series = self._calls.get((upstream, outcome, region))
        if series is None:
            series = self._calls[upstream, outcome, region] = self._upstream_calls.labels(upstream, outcome, region)
        series.inc()
        self._seconds_by_upstream[upstream].observe(seconds)
        if outcome in (Reason.STS_THROTTLED, Reason.IAM_THROTTLED):
            self._throttles_by_upstream[upstream].inc()

    def last_outcomes(self) -> dict[Upstream, str]:
        """Return the result of the last call to each upstream, for ``/ready``."""
        return dict(self.states.outcomes)

    def own_credentials_work(self) -> None:
        """Record that the service has AWS credentials of its own."""
        self._own_credentials_usable.set(1)
        self.states.own_credentials_changed(None)

    def own_credentials_failed(self, fault: CredentialFault, cause: str) -> None:
        """Count a search that found no usable AWS credentials of the service, or their rejection by AWS."""
        self._own_credentials_usable.set(0)
        self._own_failures_by_fault[fault].inc()
        self.states.own_credentials_changed(cause)

    def reload_failed(self, what: Reloadable) -> None:
        """Count a changed file that could not be read."""
        self._reload_failures_by_file[what].inc()

    def unknown_caller(self, check: CallerCheck) -> None:
        """Count a rejected caller, which is not a decision about a proxy."""
        self._unknown_callers_by_check[check].inc()

    def store_request(self, operation: StoreOperation, result: StoreResult) -> None:
        """Count the result of a request to the shared store; ``skipped`` means that no request was sent."""
        self._store_results[operation, result].inc()

    def families(self) -> Iterable[Metric]:
        """Return every metric with its declaration."""
        return self._registry.collect()

    def expose(self, exposition: Exposition = Exposition.TEXT) -> bytes:
        """Return the metrics in a format."""
        self.file_dates.refresh()
        return exposition.render(self._registry)
