"""A limit on log lines about one kind of event that another party can cause as often as it wants."""

from app.local.clock import Timer


class LogLimiter:
    """Allows one line per period, and counts the events that were not logged."""

    def __init__(self, seconds: float, timer: Timer) -> None:
        self._seconds = seconds
        self._timer = timer
        self._next_line = float("-inf")
        self._unlogged = 0

    def note(self) -> int | None:
        """Note an event. If it may be logged now, return how many events were not logged since the last line; else None."""
        now = self._timer()
        if now < self._next_line:
            self._unlogged += 1
            return None
        unlogged, self._unlogged = self._unlogged, 0
        self._next_line = now + self._seconds
        return unlogged
