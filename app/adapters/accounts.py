"""The list of authorized accounts, of the variable or of a file that is read again when it changes (I12).

A file that becomes unreadable or invalid never widens access and never empties the list at once: the last good list holds
for a bounded time, loudly. After that nothing can be decided.
"""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.adapters.breaker import Timer
from app.audit import get_logger
from app.errors import UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.settings_values import AccountsFile, read_accounts_file

# A list that could not be read for an hour is no list.
MAX_STALE_SECONDS: Final = 3600.0

Stamp = tuple[int, int, int]
Check = Callable[[AbstractSet[str]], None]


@dataclass(frozen=True, slots=True)
class FixedAccounts:
    """The list of the variable."""

    accounts: AbstractSet[str]

    def current(self) -> AbstractSet[str]:
        """Return the list."""
        return self.accounts


class FileAccounts:
    """The list of a file. `reload` looks for a change; `app.service` calls it every few seconds and on SIGHUP."""

    def __init__(self, file: AccountsFile, metrics: Metrics, check: Check, timer: Timer = time.monotonic) -> None:
        """Start with what was read with the settings.

        Args:
            file: the path, and the list that stood in it at start.
            metrics: counts what cannot be read.
            check: raises ValueError for a list that does not fit the other settings.
            timer: of the bound on the last good list.
        """
        self._path = file.path
        self._accounts = file.accounts
        self._metrics = metrics
        self._check = check
        self._timer = timer
        self._good_at = timer()
        # None: look into the file at the first occasion, since it may have changed since the settings were read.
        self._stamp: Stamp | None = None
        self._failing = False

    def current(self) -> AbstractSet[str]:
        """Return the last good list.

        Raises:
            UpstreamError: ``accounts_unavailable``: the file has been bad for an hour.
        """
        if self._failing and self._timer() - self._good_at > MAX_STALE_SECONDS:
            raise UpstreamError(Reason.ACCOUNTS_UNAVAILABLE, "the file of accounts has been unreadable for an hour")
        return self._accounts

    def reload(self, *, forced: bool = False) -> None:
        """Read the file if it changed, or in any case; keep the last good list where it does not do."""
        stamp = _stamp(self._path)
        if stamp is not None and stamp == self._stamp and not forced and not self._failing:
            self._good_at = self._timer()
            return
        try:
            accounts = read_accounts_file(str(self._path)).accounts
            self._check(accounts)
        except ValueError as error:
            self._failed(str(error))
            return
        if accounts != self._accounts or self._failing:
            get_logger().info(
                "accounts reloaded",
                file=str(self._path),
                added=sorted(accounts - self._accounts),
                removed=sorted(self._accounts - accounts),
            )
        self._accounts, self._stamp, self._good_at, self._failing = accounts, stamp, self._timer(), False

    def _failed(self, problem: str) -> None:
        self._metrics.reload_failed("accounts")
        if not self._failing:
            get_logger().error(
                "accounts not reloaded",
                file=str(self._path),
                problem=problem,
                remedy=f"correct the file; the last good list holds for {MAX_STALE_SECONDS:.0f} s, then nothing is decided",
            )
        self._failing = True


def _stamp(path: Path) -> Stamp | None:
    """Return what changes when a file does, also when another is put in its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
