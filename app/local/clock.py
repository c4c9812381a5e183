"""Time, as it is handed to whoever needs it: the date, or seconds that nobody can set back."""

from collections.abc import Callable
from datetime import UTC, datetime

# The date and time, with UTC as its zone.
Clock = Callable[[], datetime]
# Seconds of a monotonic clock.
Timer = Callable[[], float]


def utc_now() -> datetime:
    """Return the clock of this host."""
    return datetime.now(UTC)
