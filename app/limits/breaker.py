"""A circuit breaker: a dead upstream is not asked for a moment, so that it holds no decision until its deadline.

Closed, it lets all through. After some failures in a row it opens, and every call fails at once. After a pause it lets one
through: if that one succeeds it closes, else it opens again. It never turns a failure into an answer.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from app.local.clock import Timer

# So many failures in a row, then a pause before the next try.
BREAKER_FAILURES: Final = 5
BREAKER_PAUSE_SECONDS: Final = 2.0
MAX_CIRCUITS: Final = 10_000  # no bound: the store, which has no row for it, has one circuit


@dataclass(slots=True)
class _State:
    failures: int = 0
    retry_at: float = 0.0


class Breaker:
    """One circuit a key (a host of STS, an account towards IAM)."""

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
        """Whether a call may go out now. While open, one is let through a pause: whoever asks first."""
        state = self._states.get(key)
        if state is None or state.failures < self._threshold:
            return True
        if self._timer() < state.retry_at:
            return False
        state.retry_at = self._timer() + self._pause
        return True

    def succeeded(self, key: Hashable) -> None:
        """Close the circuit: the upstream answered, whatever it said."""
        self._states.pop(key, None)

    def failed(self, key: Hashable) -> None:
        """Count a failure; the circuit opens when there were enough in a row."""
        if len(self._states) >= self._most and key not in self._states:
            self._states.pop(next(iter(self._states)))
        state = self._states.setdefault(key, _State())
        state.failures += 1
        state.retry_at = self._timer() + self._pause
