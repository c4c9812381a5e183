"""The agent's log: one JSON object a line, with the members of the service's own lines (docs/reference/agent.md).

Not `app.telemetry.audit`: structlog, orjson and what they bring are a fifth of the agent's memory, for a line every few
minutes.
A line holds no credential, no token and no URL of one: it is made of moments, kinds, reasons and fixed sentences.
"""

import contextlib
import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Protocol

from app.local.clock import Clock


class Log(Protocol):
    """Where lines go."""

    def info(self, event: str, /, **fields: Any) -> None:
        """Write what is as it should be."""

    def warning(self, event: str, /, **fields: Any) -> None:
        """Write what will mend itself, or will be tried again."""

    def error(self, event: str, /, **fields: Any) -> None:
        """Write what somebody has to look after."""


class LineLog:
    """Writes to standard output, each line in one piece; the proxy's own lines stand beside them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()

    def info(self, event: str, /, **fields: Any) -> None:
        """Write what is as it should be."""
        self._write("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Write what will mend itself, or will be tried again."""
        self._write("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Write what somebody has to look after."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        line = json.dumps({**fields, "event": event, "level": level, "time": self._clock()}, default=_to_text)
        # A collector that went away must not end a renewal.
        with self._lock, contextlib.suppress(OSError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def iso_time(moment: datetime) -> str:
    """Write a moment as the service does."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _to_text(value: Any) -> str:
    return iso_time(value) if isinstance(value, datetime) else str(value)
