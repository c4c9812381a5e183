"""Lock files: the pinned distributions and their hashes."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


class LockFileError(Exception):
    """A line does not pin a distribution; the message names it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution of a lock file."""

    name: str
    version: str
    hashes: tuple[str, ...]
    """SHA-256, of each file that may be installed."""
    marker: Marker | None

    @property
    def holds_here(self) -> bool:
        """Return whether it is installed with this Python on this system."""
        return self.marker is None or self.marker.evaluate()


def pins_of(path: Path) -> list[Pin]:
    """Read a lock file.

    Raises:
        LockFileError: a line of it does not name one version, or no hash.
    """
    lines = path.read_text("utf-8").replace("\\\n", " ").splitlines()
    return [_pin(line.strip()) for line in lines if line.strip() and not line.startswith("#")]


def _pin(line: str) -> Pin:
    text, *hashes = re.split(r"\s+--hash=sha256:", line)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise LockFileError(f"{text}: {error}") from error
    exact = [each.version for each in requirement.specifier if each.operator == "=="]
    if len(requirement.specifier) != 1 or not exact or not hashes:
        raise LockFileError(f"{text}: not pinned to one version and by hash")
    return Pin(canonicalize_name(requirement.name), exact[0], tuple(sorted(hashes)), requirement.marker)
