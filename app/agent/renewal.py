"""Make one renewal: fetch new content, write the file, and return when the next renewal is due."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from app.agent.errors import EXIT_STATUSES, Failure, RenewalError
from app.agent.held import HeldError, read_held
from app.agent.lines import Log
from app.agent.schedule import believed_end, is_hopeless, renewal_at, retry_pause
from app.agent.sources import Fresh, Source
from app.agent.state import RenewalState
from app.local.clock import Clock
from app.local.secret_file import OWNER_ALONE, write_secret_file


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """The file that the proxy reads: its path, its mode, and its group if this is not the agent's group."""

    path: Path
    mode: int = OWNER_ALONE
    gid: int | None = None

    def write(self, text: str) -> None:
        """Replace the file.

        Raises:
            RenewalError: the file cannot be written; the old file stays.
        """
        try:
            write_secret_file(self.path, text, mode=self.mode, gid=self.gid)
        except OSError as error:
            raise RenewalError(
                Failure.NOT_WRITTEN,
                "token_file",
                f"{self.path} cannot be written ({error.strerror}); check who owns its directory, space, and --group",
            ) from error


@dataclass(frozen=True, slots=True)
class Due:
    """The agent goes on. The next renewal is due at ``at``."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """The agent stops: because of ``--once``, or because it gave up."""

    status: int


@dataclass(slots=True, kw_only=True)
class Renewals:
    """The state between two renewals.

    Attributes:
        patience: how long a failure must last before the agent gives up.
        once: stop after the first success. In this mode an attempt without a decision also ends the agent.
        chance: returns a random number from 0 up to 1.
        has_written: whether this process has written the file.
        state: what the agent's metrics report.
    """

    source: Source
    file: TokenFile
    log: Log
    clock: Clock
    chance: Callable[[], float]
    patience: timedelta
    once: bool = False
    has_written: bool = False
    state: RenewalState = field(default_factory=RenewalState)
    _failures: int = 0
    _failing_since: datetime | None = None
    _valid_until: datetime | None = field(default=None)

    def __post_init__(self) -> None:
        try:
            self._valid_until = believed_end(self.clock(), read_held(self.file.path).ends_at)
        except HeldError:
            self._valid_until = None

    def step(self) -> Due | Finished:
        """Renew once."""
        now = self.clock()
        try:
            fresh = self.source.fetch(now)
            self.file.write(fresh.text)
        except RenewalError as error:
            return self._failed(error, self.clock())
        except Exception as error:  # noqa: BLE001 - a bug must not end a proxy that works; its text may hold secrets
            name = type(error).__name__
            bug = RenewalError(Failure.UNDECIDED, "agent_error", f"a bug of the agent ({name}); tried again")
            return self._failed(bug, self.clock())
        return self._renewed(fresh, now)

    def _renewed(self, fresh: Fresh, now: datetime) -> Due | Finished:
        self.has_written = True
        ends_at = believed_end(now, fresh.ends_at)
        failures = self._failures
        self._failures, self._failing_since, self._valid_until = 0, None, ends_at
        due = renewal_at(now, ends_at, fresh.share, self.chance())
        self.state.renewed(now, due)
        taken = (self.clock() - now).total_seconds() * 1000
        self.log.info(
            "renewed",
            file=self.file.path,
            ends_at=ends_at,
            next_at=due,
            after_failures=failures,
            duration_ms=round(taken, 1),
            **fresh.fields,
        )
        return Finished(0) if self.once else Due(due)

    def _failed(self, error: RenewalError, now: datetime) -> Due | Finished:
        self._failures += 1
        if self._failing_since is None and (error.failure.is_definite or self.once):
            self._failing_since = now
        told = {"failure": error.failure, "reason": error.reason, "detail": error.detail}
        can_end = error.failure.is_definite or self.once
        if can_end and self._failing_since is not None:
            valid_until = None if self.once else self._valid_until
            if is_hopeless(now, self._failing_since, valid_until, self.patience):
                status = EXIT_STATUSES[error.failure]
                self.state.failed(error.failure, None)
                self.log.error("gave up", **told, failing_since=self._failing_since, exit_status=status)
                return Finished(status)
        pause = retry_pause(self._failures, error.retry_after, self.chance())
        self.state.failed(error.failure, now + pause)
        self.log.warning(
            "not renewed",
            **told,
            failures=self._failures,
            retry_seconds=round(pause.total_seconds(), 1),
            valid_until=self._valid_until,
        )
        return Due(now + pause)
