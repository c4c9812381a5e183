"""What the parts of a controller share: its clocks, its metrics, its log, and the pauses of the parties that it calls."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from app.controller.metrics import ControllerMetrics
from app.controller.pauses import Pauses, pause_seconds
from app.controller.reasons import CallError
from app.controller.report import Report
from app.local.clock import Clock, Timer, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOptions:
    """How passes are made.

    Attributes:
        prefix: the prefix of the names of secrets.
        valid_for: the life of a new token.
        dry_run: put nothing, and only report what would be put.
    """

    prefix: str
    valid_for: timedelta
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The parts that do not decide anything."""

    metrics: ControllerMetrics
    clock: Clock = utc_now
    timer: Timer = time.monotonic
    chance: Callable[[], float] = random.random
    pauses: Pauses = field(init=False)
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pauses", Pauses(self.timer, self.chance))
        object.__setattr__(self, "report", Report(self.timer))

    def failed(self, error: CallError, *, secret: str | None = None, about: str | None = None) -> None:
        """Report a failure, and pause the calls to the party that throttles, fails or does not answer.

        Args:
            error: the failure.
            secret: the name of the secret that the call was about.
            about: the cluster, the task definition or the role that the call was about.
        """
        self.report.failure(error, secret=secret, about=about, pause_began=self.pauses.note(error))

    def retry_at(self, failures: int) -> float:
        """Return when to try again after so many failures in a row, in seconds of the timer."""
        return self.timer() + pause_seconds(failures, self.chance())
