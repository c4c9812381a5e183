"""A circuit breaker and a concurrency limit for each upstream endpoint: a host of STS, or the IAM of one account.

An endpoint that has not answered yet, or whose last call failed, gets few calls at a time. After some failures in a row its
circuit opens: its calls stay queued, and one of them goes out as a probe in each pause (half-open) until one is answered.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

# Two, because one lost packet must not exclude an endpoint.
UNPROVEN_IN_FLIGHT: Final = 2
BREAKER_PAUSE_SECONDS: Final = 2.0


@dataclass(slots=True, eq=False)
class Circuit:
    """The state of one endpoint.

    Attributes:
        most: calls in flight while it answers.
        failures_to_open: failures in a row that open the circuit.
        failures: failures in a row so far.
        answers: whether the last call that ended was answered, whatever the answer was.
        in_flight: calls to it at this moment.
        retry_at: while the circuit is open, when the next probe may go out.
        unanswered_since: since when calls are in flight without any answer; None while the endpoint answers or has no calls.
        queues: how many queues have calls to it.
        waiting: the queues whose next call waits for a place at this endpoint.
        is_timed: whether `CallOrder` will check this circuit again at ``retry_at``.
    """

    most: int
    failures_to_open: int
    failures: int = 0
    answers: bool = False
    in_flight: int = 0
    retry_at: float = float("-inf")
    unanswered_since: float | None = None
    queues: int = 0
    waiting: deque[Any] = field(default_factory=deque)
    is_timed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open, so that only probes go out."""
        return self.failures >= self.failures_to_open

    @property
    def is_idle(self) -> bool:
        """Whether the circuit can be deleted. Then only the knowledge that its endpoint answers is lost."""
        return not (self.in_flight or self.queues or self.failures)

    def has_room(self, now: float) -> bool:
        """Whether one more call may go out."""
        if self.answers:
            return self.in_flight < self.most
        return self.in_flight < UNPROVEN_IN_FLIGHT and (not self.is_open or now >= self.retry_at)

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether calls to the endpoint have been without an answer for so many seconds."""
        return not self.answers and self.unanswered_since is not None and now - self.unanswered_since >= seconds

    def began(self, now: float) -> None:
        """Count a call that goes out. While the circuit is open, the call is the probe of this pause."""
        self.in_flight += 1
        if not self.answers and self.unanswered_since is None:
            self.unanswered_since = now
        if self.is_open:
            self.retry_at = now + BREAKER_PAUSE_SECONDS

    def ended(self) -> None:
        """Count the end of a call."""
        self.in_flight -= 1
        if not self.in_flight:
            self.unanswered_since = None

    def not_called(self) -> None:
        """Let another call be the probe of this pause: the call that was chosen did not go out."""
        if self.is_open:
            self.retry_at = float("-inf")

    def answered(self) -> None:
        """Close the circuit: the endpoint answered, whatever the answer was."""
        self.failures = 0
        self.answers = True
        self.unanswered_since = None

    def failed(self, now: float) -> bool:
        """Count a failure; return whether it opened the circuit."""
        self.failures += 1
        self.answers = False
        self.retry_at = now + BREAKER_PAUSE_SECONDS
        if self.in_flight and self.unanswered_since is None:
            self.unanswered_since = now
        return self.failures == self.failures_to_open
