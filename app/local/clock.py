"""Clocks, passed as parameters: the date and time, or monotonic seconds."""

from collections.abc import Callable
from datetime import UTC, datetime

# The date and time, with UTC as its zone.
Clock = Callable[[], datetime]
# Seconds of a monotonic clock.
Timer = Callable[[], float]


def utc_now() -> datetime:
    """Return the date and time of this host, in UTC."""
    return datetime.now(UTC)
