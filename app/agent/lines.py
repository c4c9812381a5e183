"""The agent's log: one JSON object a line, with the same general members as the service's log (docs/reference/agent.md).

The agent does not use `app.telemetry.audit`: structlog, orjson and their dependencies would take a fifth of the agent's
memory, for one line every few minutes. A line consists of times, kinds, reasons and fixed sentences. It contains no
credential, no token and no URL of a credential.
"""

import contextlib
import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from app.local.clock import Clock


class Log:
    """Writes each line to standard output in one call, because the proxy writes its own lines there too."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()

    def info(self, event: str, /, **fields: Any) -> None:
        """Write a normal event."""
        self._write("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Write a fault that ends by itself, or that is retried."""
        self._write("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Write a fault that an operator must correct."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        line = json.dumps({**fields, "event": event, "level": level, "time": self._clock()}, default=_to_text)
        # A log collector that has ended must not stop a renewal.
        with self._lock, contextlib.suppress(OSError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def iso_time(moment: datetime) -> str:
    """Return a time in the format of the service."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _to_text(value: Any) -> str:
    return iso_time(value) if isinstance(value, datetime) else str(value)
