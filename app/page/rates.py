"""Count events of a few kinds in each of the last 60 minutes."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.local.clock import Timer

MAX_MINUTES: Final = 60
_MINUTE_SECONDS: Final = 60.0  # no bound: what a minute is


@dataclass(frozen=True, slots=True)
class Window:
    """The events of the last minutes.

    Attributes:
        seconds: how long the window is. It is shorter than asked for if the count began later.
        counts: the number of events of each kind; a kind without events is missing.
    """

    seconds: float
    counts: Mapping[str, int]

    def a_minute(self, kind: str) -> float:
        """Return how often the kind occurred in a minute, on average."""
        return self.counts.get(kind, 0) * _MINUTE_SECONDS / max(self.seconds, 1.0)


class Rates:
    """Counts events. Their kinds must be a small closed set."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._began = timer()
        self._minutes: deque[tuple[int, Counter[str]]] = deque(maxlen=MAX_MINUTES)

    def count(self, kind: str) -> None:
        """Count one event."""
        minute = int(self._timer() // _MINUTE_SECONDS)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, Counter()))
        self._minutes[-1][1][kind] += 1

    def within(self, minutes: int) -> Window:
        """Return the events of the last minutes: of the present minute, and of the whole minutes before it."""
        now = self._timer()
        first = int(now // _MINUTE_SECONDS) - minutes + 1
        counts: Counter[str] = Counter()
        for minute, counted in self._minutes:
            if minute >= first:
                counts.update(counted)
        return Window(now - max(self._began, first * _MINUTE_SECONDS), counts)
