"""The folder that the workers of one parent share: what they count, and how many connections each of them has."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from app.workers.balance import Connections

# Memory, and writable in a container whose root file system is not; where it is not there, the place of temporary files.
_MEMORY: Final = "/dev/shm"  # noqa: S108 - what is made in it is the user's alone
_PREFIX: Final = "kuma-aws-iam-"
# For each worker. Where memory for a file runs out, whoever writes to it is killed.
MIN_ROOM_BYTES: Final = 512 * 1024


@contextlib.contextmanager
def shared_folder(workers: int) -> Iterator[str]:
    """Make the folder for so many workers, and remove it at the end.

    Raises:
        OSError: it cannot be made anywhere.
    """
    try:
        folder = _make(_MEMORY, workers)
    except OSError:
        folder = _make(tempfile.gettempdir(), workers)
    try:
        Connections.make(folder, workers)
        yield folder
    finally:
        remove_folder(folder)


def _make(base: str, workers: int) -> str:
    if shutil.disk_usage(base).free < workers * MIN_ROOM_BYTES:
        raise OSError(errno.ENOSPC, "no room is left", base)
    return tempfile.mkdtemp(prefix=_PREFIX, dir=base)


def remove_folder(folder: str) -> None:
    """Remove the folder; workers that still have its files open are not disturbed."""
    shutil.rmtree(folder, ignore_errors=True)


def forget_worker(number: int, folder: str) -> None:
    """Take what was so at a moment of a worker that has ended out of the folder; what it counted stays."""
    mark_process_dead(number, folder)  # type: ignore[no-untyped-call]
    Connections(folder, number).leave()
