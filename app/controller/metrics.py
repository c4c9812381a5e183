"""What the controller counts. Every label value comes from a closed set (I23), and every series exists from the start."""

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app import __version__
from app.controller.reasons import Call, Failure, Leave, PutReason, Skip

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
PREFIX: Final = "kuma_aws_iam_controller"

TaskState = Literal["running", "pending"]


class ControllerMetrics:
    """The metrics of one controller, in a registry of their own."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        registry = self.registry
        Gauge(f"{PREFIX}_info", "The version of the controller; always 1.", ("version",), registry=registry).labels(
            __version__
        ).set(1)
        self._tasks = Gauge(
            f"{PREFIX}_tasks", "Tasks of the last pass that get a token, by state.", ("state",), registry=registry
        )
        self._skipped = Gauge(
            f"{PREFIX}_tasks_skipped",
            "Tasks of the last pass that get no token, by reason.",
            ("why",),
            registry=registry,
        )
        self._old_tasks = Gauge(
            f"{PREFIX}_tasks_older_than_tokens",
            "Tasks that run for longer than a token is valid. They cannot connect again, unless they are replaced.",
            registry=registry,
        )
        self._left = Gauge(
            f"{PREFIX}_secrets",
            "Secrets of the last pass by what was last found in them.",
            ("state",),
            registry=registry,
        )
        self._puts = Counter(
            f"{PREFIX}_tokens_put", "Tokens put into secrets, by reason.", ("reason",), registry=registry
        )
        self._calls = Counter(
            f"{PREFIX}_calls", "Calls that succeeded, by call; each page counts.", ("call",), registry=registry
        )
        self._failures = Counter(
            f"{PREFIX}_failures",
            "Calls that failed after all retries, by call and code.",
            ("call", "code"),
            registry=registry,
        )
        self._oldest_token = Gauge(
            f"{PREFIX}_oldest_token_age_seconds",
            "Age of the oldest token in the secrets of the last pass; 0 without one.",
            registry=registry,
        )
        self._last_full_pass = Gauge(
            f"{PREFIX}_last_full_pass_timestamp_seconds",
            "When the last pass without any failure ended, in seconds since the epoch; 0 before the first one.",
            registry=registry,
        )
        self._pass_seconds = Gauge(f"{PREFIX}_pass_seconds", "Time of the last pass, in seconds.", registry=registry)
        for state in ("running", "pending"):
            self._tasks.labels(state)
        for skip in Skip:
            self._skipped.labels(skip.value)
        for leave in Leave:
            self._left.labels(leave.value)
        for reason in PutReason:
            self._puts.labels(reason.value)
        for call in Call:
            self._calls.labels(call.value)
            for failure in Failure:
                self._failures.labels(call.value, failure.value)

    def tasks_seen(self, *, running: int, pending: int, older_than_tokens: int) -> None:
        """Set the numbers of tasks of a pass."""
        self._tasks.labels("running").set(running)
        self._tasks.labels("pending").set(pending)
        self._old_tasks.set(older_than_tokens)

    def tasks_skipped(self, numbers: dict[Skip, int]) -> None:
        """Set the numbers of tasks that got no token in a pass."""
        for skip in Skip:
            self._skipped.labels(skip.value).set(numbers.get(skip, 0))

    def secrets_left(self, numbers: dict[Leave, int]) -> None:
        """Set the numbers of secrets by what was last found in them."""
        for leave in Leave:
            self._left.labels(leave.value).set(numbers.get(leave, 0))

    def token_put(self, reason: PutReason) -> None:
        """Count a token that was put."""
        self._puts.labels(reason.value).inc()

    def call_made(self, call: Call) -> None:
        """Count a call that succeeded."""
        self._calls.labels(call.value).inc()

    def call_failed(self, call: Call, failure: Failure) -> None:
        """Count a call that failed after all its retries."""
        self._failures.labels(call.value, failure.value).inc()

    def pass_ended(self, *, seconds: float, oldest_token: float, full_at: float | None) -> None:
        """Set the times of a pass. ``full_at`` is when it ended, in seconds since the epoch; None after a failure."""
        self._pass_seconds.set(seconds)
        self._oldest_token.set(oldest_token)
        if full_at is not None:
            self._last_full_pass.set(full_at)

    def expose(self) -> bytes:
        """Return the page of ``/metrics``."""
        return generate_latest(self.registry)
