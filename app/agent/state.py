"""What the agent reports about its renewals, as metrics in Prometheus's text format.

The agent does not use `prometheus_client`: these are ten numbers without escapes, and the agent's distribution has few
packages.
"""

import platform
import threading
from datetime import datetime
from pathlib import Path
from typing import Final

from app import __version__
from app.agent.errors import Failure
from app.agent.held import check_file
from app.local.clock import Clock

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
RENEWED: Final = "renewed"
_PREFIX: Final = "kuma_aws_iam_agent"


class RenewalState:
    """Counts the renewals. The renewal thread writes it, and the listener's thread reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results = dict.fromkeys((RENEWED, *Failure), 0)
        self._failures = 0
        self._renewed_at: datetime | None = None
        self._next_at: datetime | None = None

    def renewed(self, at: datetime, next_at: datetime) -> None:
        """Count a renewal, and record when the next one is due."""
        with self._lock:
            self._results[RENEWED] += 1
            self._failures, self._renewed_at, self._next_at = 0, at, next_at

    def failed(self, failure: Failure, next_at: datetime | None) -> None:
        """Count a renewal that failed. ``next_at`` is None if the agent gives up."""
        with self._lock:
            self._results[failure] += 1
            self._failures += 1
            self._next_at = next_at

    def render(self, path: Path, clock: Clock) -> str:
        """Return all metrics, together with the state of the token file at this moment."""
        held, fault = check_file(path, clock())
        begins_at, ends_at = (None, None) if held is None else (held.begins_at, held.ends_at)
        with self._lock:
            results = "".join(
                f'{_PREFIX}_renewals_total{{result="{result}"}} {count}\n' for result, count in self._results.items()
            )
            gauges = (
                ("failures_in_a_row", "Renewals that failed since the last one that did not.", self._failures),
                ("last_renewal_timestamp_seconds", "When the file was last renewed; 0: not yet.", self._renewed_at),
                ("next_renewal_timestamp_seconds", "When the next renewal is due; 0: none is.", self._next_at),
                ("file_begins_timestamp_seconds", "Date of the file's content; 0: unknown.", begins_at),
                (
                    "file_ends_timestamp_seconds",
                    "When the file's content expires; 0: no content.",
                    ends_at,
                ),
                ("healthy", "1 if `agent --health` exits with 0, else 0.", int(fault is None)),
            )
        build = f'{{version="{__version__}",python="{platform.python_version()}"}}'
        return (
            f"# HELP {_PREFIX}_renewals_total Renewals by result: renewed, or the kind of the failure.\n"
            f"# TYPE {_PREFIX}_renewals_total counter\n{results}"
            + "".join(
                f"# HELP {_PREFIX}_{name} {text}\n# TYPE {_PREFIX}_{name} gauge\n{_PREFIX}_{name} {_number(value)}\n"
                for name, text, value in gauges
            )
            + f"# HELP {_PREFIX}_build_info Always 1.\n# TYPE {_PREFIX}_build_info gauge\n{_PREFIX}_build_info{build} 1\n"
        )


def _number(value: datetime | int | None) -> str:
    return f"{value.timestamp():.3f}" if isinstance(value, datetime) else str(value or 0)
