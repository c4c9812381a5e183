"""Files that are read again when they change: certificates, keys, and caller tokens.

What cannot be taken over leaves what was there before in force, loudly. Nothing here drops a connection.
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

# A poll works on every file system, and with every way of putting a file in another's place.
INTERVAL_SECONDS: Final = 2.0
# Without a check that came to its end, for so long.
SILENT_SECONDS: Final = 60.0

_Stamp = tuple[int, ...] | None


class FileWatch:
    """One thing that is made of some files.

    Attributes:
        what: it is, in metrics and logs.
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
        """Start with what was read with the settings.

        Args:
            what: what the files contain.
            paths: the files; symbolic links are followed. Or, where a file names others, a function that returns all of
                them: newly named files are read once more at the next check.
            load: takes the files over, or raises and leaves everything as it is. It may run in another thread.
            metrics: counts what could not be taken over.
            timer: of `bad_for`.
            warnings: returns warnings about the files, after they are taken over.
        """
        self.what = what
        self._paths = paths if callable(paths) else lambda: paths
        self._load = load
        self._metrics = metrics
        # None: read them at the first occasion, since they may have changed since the settings were read.
        self._seen: tuple[_Stamp, ...] | None = None
        self._problem: str | None = None
        self._timer = timer
        self._warnings = warnings
        self._good_at = timer()
        self._lock = threading.Lock()

    def check(self, *, forced: bool = False) -> None:
        """Read the files if one has changed, or if they could not be taken over the last time; ``forced``: in any case."""
        with self._lock:
            # Before the files are read: what changes afterwards is seen the next time.
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
        """Return for how many seconds the files have not been what they should; 0 while they are.

        A file system that hangs lets no check come to its end: then they are what nobody knows.
        """
        seconds = self._timer() - self._good_at
        return 0.0 if self._problem is None and seconds < SILENT_SECONDS else seconds

    def _failed(self, problem: str, *, forced: bool) -> None:
        self._metrics.reload_failed(self.what)
        # Whoever sent SIGHUP looks for a line: none would mean to them that it was taken over.
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
    """Check every few seconds until it is cancelled; in a thread, since a file system can hang."""
    while True:
        for watch in watches:
            await asyncio.to_thread(watch.check)
        await asyncio.sleep(interval)


def _stamp(path: Path) -> _Stamp:
    """Return what changes when a file does, also when another is put in its place or its mode is changed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino, status.st_size
