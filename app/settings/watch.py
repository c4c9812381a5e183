"""Read files again when they change: certificates, keys, and caller tokens.

If the new content is invalid, the previous content stays in force, and an error is logged. No connection is closed.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from app.local.clock import Timer
from app.telemetry.audit import get_logger
from app.telemetry.metrics import Metrics, Reloadable
from app.telemetry.states import FileState

# The files are checked this often. Polling works on every file system, and with every way of replacing a file.
INTERVAL_SECONDS: Final = 2.0
# A file counts as invalid if no check has ended for this many seconds.
SILENT_SECONDS: Final = 60.0

_Stamp = tuple[int, ...] | None


class FileWatch:
    """A set of files that are read together.

    Attributes:
        what: what the files contain; its name in metrics and logs.
    """

    def __init__(
        self,
        what: Reloadable,
        paths: Sequence[Path] | Callable[[], Sequence[Path]],
        load: Callable[[], None],
        metrics: Metrics,
        timer: Timer = time.monotonic,
        warnings: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Start with the content that was read with the settings.

        Args:
            what: what the files contain.
            paths: the files; symbolic links are followed. If a file names other files, this is a function that returns all
                of them: after a reading, newly named files are read once more at the next check.
            load: reads the files and puts their content in force, or raises and changes nothing. It may run in another
                thread.
            metrics: counts failed readings.
            timer: the clock of `bad_for`.
            warnings: returns warnings about the files, after they were read.
        """
        self.what = what
        self._paths = paths if callable(paths) else lambda: paths
        self._load = load
        self._metrics = metrics
        # None makes the first check read the files, because they may have changed since the settings were read.
        self._seen: tuple[_Stamp, ...] | None = None
        self._problem: str | None = None
        self._timer = timer
        self._warnings = warnings
        self._good_at = timer()
        self._lock = threading.Lock()

    def check(self, *, forced: bool = False) -> None:
        """Read the files if one has changed, or if the last reading failed. With ``forced``, read them in any case."""
        with self._lock:
            # The stamps are taken before the files are read, so that the next check detects a change during the reading.
            stamps = tuple(_stamp(path) for path in self._paths())
            if stamps == self._seen and self._problem is None and not forced:
                self._good_at = self._timer()
                return
            first, self._seen = self._seen is None, stamps
            try:
                self._load()
            except (ValueError, OSError) as error:
                self._failed(str(error), forced=forced)
            except Exception as error:  # noqa: BLE001 - a bug in a parser must not end the watch; its text may hold secrets
                self._failed(f"a bug of ours: {type(error).__name__}", forced=forced)
            else:
                if not first or self._problem is not None:
                    get_logger().info("reloaded", what=self.what, files=[str(path) for path in self._paths()])
                    for warning in self._warnings():
                        get_logger().warning("setting", detail=warning)
                self._problem, self._good_at = None, self._timer()

    def bad_for(self) -> float:
        """Return for how many seconds the files have been invalid; 0 if they are valid.

        If a file system hangs, no check ends. If no check has ended for `SILENT_SECONDS`, the files count as invalid too.
        """
        seconds = self._timer() - self._good_at
        return 0.0 if self._problem is None and seconds < SILENT_SECONDS else seconds

    def state(self) -> FileState:
        """Return what the last check found. This reads no file."""
        seen = [stamp for stamp in self._seen or () if stamp is not None]
        changed_at = max((stamp[0] for stamp in seen), default=None)
        return FileState(
            self.what,
            tuple(str(path) for path in self._paths()),
            None if changed_at is None else changed_at / 1e9,
            self.bad_for(),
        )

    def _failed(self, problem: str, *, forced: bool) -> None:
        self._metrics.reload_failed(self.what)
        # After a SIGHUP the fault is logged even if it was logged before. Otherwise the operator who sent the signal would
        # believe that the new files are in force.
        if problem != self._problem or forced:
            get_logger().error(
                "not reloaded",
                what=self.what,
                files=[str(path) for path in self._paths()],
                problem=problem,
                remedy="correct the file; until then what was read before stays in force",
            )
        self._problem = problem


async def watch_files(watches: Sequence[FileWatch], interval: float = INTERVAL_SECONDS) -> None:
    """Check every few seconds until cancelled. The checks run in a thread, since a file system can hang."""
    while True:
        for watch in watches:
            await asyncio.to_thread(watch.check)
        await asyncio.sleep(interval)


def _stamp(path: Path) -> _Stamp:
    """Return values that change when a file changes, also when it is replaced or its mode changes."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size
