"""The version of a control plane, as its operator declares it."""

import re
from typing import Final, NamedTuple

_VERSION: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.[0-9]{1,4})?", re.ASCII)
VERSION_RULE: Final = (
    "write the version of the control plane as MAJOR.MINOR or MAJOR.MINOR.PATCH, such as 3.0 or 2.14.3"
)


class KumaVersion(NamedTuple):
    """The version of a control plane, as far as the form of a resource depends on it."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"Kuma {self.major}.{self.minor}"


LABELS_ONLY: Final = KumaVersion(3, 0)
"""From this version on, labels replace inbound tags, and a Dataplane with listeners is the only form of a zone proxy."""


def parse_kuma_version(text: str) -> KumaVersion:
    """Parse the version of a control plane.

    Raises:
        ValueError: the text is no version; the message is `VERSION_RULE`.
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(VERSION_RULE)
    return KumaVersion(int(match[1]), int(match[2]))
