"""A circuit breaker and a concurrency limit for each upstream endpoint: a host of STS, or the IAM of one account.

An endpoint that has not answered yet, or whose last call failed, gets few concurrent calls. After some failures in a row the
endpoint's circuit opens: calls stay queued, and one probe call goes out per pause (half-open) until a probe is answered.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

# Two, because the service must not give up an endpoint after one lost packet.
UNPROVEN_IN_FLIGHT: Final = 2
BREAKER_PAUSE_SECONDS: Final = 2.0


@dataclass(slots=True, eq=False)
class Circuit:
    """The state of one endpoint.

    Attributes:
        most: the largest number of concurrent calls while the endpoint answers.
        failures_to_open: the number of failures in a row that opens the circuit.
        failures: the number of failures in a row so far.
        cause: why the last call failed, in words; empty before the first failure.
        answers: True if the last call that ended got an answer, whatever the answer was.
        in_flight: the number of calls to the endpoint at this moment.
        retry_at: when the next probe may go out, if the circuit is open.
        unanswered_since: the time since which calls are in flight and none was answered; None while the endpoint answers or
            has no calls.
        queues: the number of queues with calls to this endpoint.
        waiting: the queues whose next call waits until this endpoint may get one more call.
        is_timed: True if `CallOrder` will check this circuit again at ``retry_at``.
    """

    most: int
    failures_to_open: int
    failures: int = 0
    cause: str = ""
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
        """Whether the circuit can be deleted. The only loss is the information that the endpoint answers."""
        return not (self.in_flight or self.queues or self.failures)

    def has_room(self, now: float) -> bool:
        """Return whether one more call may go out."""
        if self.answers:
            return self.in_flight < self.most
        return self.in_flight < UNPROVEN_IN_FLIGHT and (not self.is_open or now >= self.retry_at)

    def is_silent(self, now: float, seconds: float) -> bool:
        """Return whether calls to the endpoint have had no answer for so many seconds."""
        return not self.answers and self.unanswered_since is not None and now - self.unanswered_since >= seconds

    def began(self, now: float) -> None:
        """Count a call that goes out. If the circuit is open, the call is a probe, and the next pause begins."""
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
        """Allow another probe at once, because the call that should have been the probe did not go out."""
        if self.is_open:
            self.retry_at = float("-inf")

    def answered(self) -> None:
        """Close the circuit: the endpoint answered, whatever the answer was."""
        self.failures = 0
        self.cause = ""
        self.answers = True
        self.unanswered_since = None

    def failed(self, now: float, cause: str = "") -> bool:
        """Count a failure. Return whether this failure opened the circuit."""
        self.failures += 1
        self.cause = cause
        self.answers = False
        self.retry_at = now + BREAKER_PAUSE_SECONDS
        if self.in_flight and self.unanswered_since is None:
            self.unanswered_since = now
        return self.failures == self.failures_to_open
