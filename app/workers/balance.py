"""Which worker accepts a connection: all of them look at one socket, and one that has more than others gives way to them.

Without this whichever is awake takes all of a burst, and has them for as long as they stand. What each has stands in memory
that all of them see, written when one is accepted and when one is lost.
"""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Final

# By so many may a worker be ahead of another one; and by a part of what that has, so that a storm is not held up.
MAX_AHEAD: Final = 1
MAX_AHEAD_SHARE: Final = 0.125

_FILE: Final = "connections"
_ABSENT: Final = -1
_BYTES: Final = 4


class Connections:
    """How many connections each worker has."""

    def __init__(self, folder: str, number: int) -> None:
        """See what stands in a folder.

        Args:
            folder: of all workers.
            number: of the one that we write for, from 1 up.
        """
        with Path(folder, _FILE).open("r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("i")
        self._mine = number - 1

    @staticmethod
    def make(folder: str, workers: int) -> None:
        """Begin with no worker at all."""
        Path(folder, _FILE).write_bytes(_ABSENT.to_bytes(_BYTES, "little", signed=True) * workers)

    def tell(self, connections: int) -> None:
        """Tell the others how many we have."""
        self._counts[self._mine] = connections

    def is_ahead(self, connections: int) -> bool:
        """Tell the others how many we have; return whether one of them should have the next one."""
        self.tell(connections)
        least = min(count for count in self._counts if count != _ABSENT)
        return connections > least + MAX_AHEAD + least * MAX_AHEAD_SHARE

    def leave(self) -> None:
        """Be absent: nobody gives way to us any more."""
        self._counts[self._mine] = _ABSENT


class Watched(set[object]):
    """The connections that stand here, of which somebody is told how many there are when one is lost."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._tell = tell

    def discard(self, connection: object) -> None:
        """Take out one that was lost."""
        super().discard(connection)
        self._tell(len(self))
