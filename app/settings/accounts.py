"""The list of authorized accounts, from the variable or from a file that is read again when it changes (I12).

If the file becomes unreadable or invalid, the last valid list stays in force for one hour, and the log has an error. After
that hour every decision fails with ``accounts_unavailable``. So a broken file never allows more accounts, and never stops
all proxies at once.
"""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from app.core.errors import UpstreamError
from app.core.reasons import Reason
from app.local.clock import Timer
from app.settings.values import AccountsFile, read_accounts_file
from app.settings.watch import FileWatch
from app.telemetry.audit import get_logger
from app.telemetry.metrics import Metrics

# If the file cannot be read for this time, one hour, its last list is not used any more.
MAX_STALE_SECONDS: Final = 3600.0

Check = Callable[[AbstractSet[str]], None]


@dataclass(frozen=True, slots=True)
class FixedAccounts:
    """The list from the environment variable. This list does not change while the service runs."""

    accounts: AbstractSet[str]

    def current(self) -> AbstractSet[str]:
        """Return the list."""
        return self.accounts


class FileAccounts:
    """The list from a file.

    Attributes:
        watch: detects changes; `app.service` checks it every few seconds and on SIGHUP.
    """

    def __init__(self, file: AccountsFile, metrics: Metrics, check: Check, timer: Timer = time.monotonic) -> None:
        """Start with the list of the settings. ``check`` raises ValueError if a list does not fit the other settings."""
        self._path = file.path
        self._accounts = file.accounts
        self._check = check
        self.watch = FileWatch("accounts", [file.path], self._load, metrics, timer)

    def current(self) -> AbstractSet[str]:
        """Return the last valid list.

        Raises:
            UpstreamError: ``accounts_unavailable``: the file has been invalid for an hour.
        """
        if self.watch.bad_for() > MAX_STALE_SECONDS:
            raise UpstreamError(Reason.ACCOUNTS_UNAVAILABLE, "the file of accounts has been unreadable for an hour")
        return self._accounts

    def _load(self) -> None:
        try:
            accounts = read_accounts_file(str(self._path)).accounts
            self._check(accounts)
        except ValueError as error:
            raise ValueError(f"{error}; after {MAX_STALE_SECONDS:.0f} s of this every decision fails") from error
        if accounts != self._accounts:
            added, removed = sorted(accounts - self._accounts), sorted(self._accounts - accounts)
            get_logger().info("accounts changed", file=str(self._path), added=added, removed=removed)
        self._accounts = accounts
