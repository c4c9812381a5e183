"""A circuit breaker: if an upstream does not answer, further calls fail at once, so that no decision waits for it.

A closed circuit allows all calls. After some failures in a row the circuit opens, and every call fails at once. After a
pause the circuit allows one probe call (half-open): if the probe succeeds, the circuit closes; otherwise it opens again. A
failed call never counts as a denial or an approval.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from app.local.clock import Timer

# The number of failures in a row that open a circuit, and the pause before the next probe.
BREAKER_FAILURES: Final = 5
BREAKER_PAUSE_SECONDS: Final = 2.0
MAX_CIRCUITS: Final = 10_000  # no bound: the store, which has no row for it, has one circuit


@dataclass(slots=True)
class _State:
    failures: int = 0
    retry_at: float = 0.0


class Breaker:
    """One circuit for each key (a host of STS, or an account of IAM)."""

    def __init__(
        self,
        timer: Timer,
        *,
        threshold: int = BREAKER_FAILURES,
        pause: float = BREAKER_PAUSE_SECONDS,
        most: int = MAX_CIRCUITS,
    ) -> None:
        self._threshold = threshold
        self._pause = pause
        self._most = most
        self._timer = timer
        self._states: dict[Hashable, _State] = {}

    def allows(self, key: Hashable) -> bool:
        """Return whether a call may go out now. While the circuit is open, allow one probe call per pause (half-open)."""
        state = self._states.get(key)
        if state is None or state.failures < self._threshold:
            return True
        if self._timer() < state.retry_at:
            return False
        state.retry_at = self._timer() + self._pause
        return True

    def succeeded(self, key: Hashable) -> None:
        """Close the circuit: the upstream answered, whatever the answer was."""
        self._states.pop(key, None)

    def failed(self, key: Hashable) -> None:
        """Count a failure. After enough failures in a row the circuit opens."""
        if len(self._states) >= self._most and key not in self._states:
            self._states.pop(next(iter(self._states)))
        state = self._states.setdefault(key, _State())
        state.failures += 1
        state.retry_at = self._timer() + self._pause
