"""What a worker is told by its parent, and by nobody else: which one it is, and what it has been handed.

It comes in a variable of the environment, since a worker is started with the very command line of its parent. No operator
sets it.
"""

import json
import os
from dataclasses import asdict, dataclass
from typing import Final

_VARIABLE: Final = "_KUMA_AWS_IAM_SEAT"
# Where prometheus_client looks for the folder that metrics are in.
_METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One of several workers; whoever takes the seat of one that ended is told the same.

    Attributes:
        number: from 1 up.
        lifeline: file descriptor of a socket to the parent. It closes when the parent ends, in whatever way.
        api: file descriptor of the API's listening socket.
        diagnostics: that of the second listener, if there is one.
        folder: that all workers share.
    """

    number: int
    lifeline: int
    api: int
    diagnostics: int | None
    folder: str

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The file descriptors that the worker inherits."""
        handed = (self.lifeline, self.api, self.diagnostics)
        return tuple(descriptor for descriptor in handed if descriptor is not None)

    def environment(self) -> dict[str, str]:
        """Return the environment of the worker: that of this process, and the seat."""
        return {**os.environ, _VARIABLE: json.dumps(asdict(self)), _METRICS_VARIABLE: self.folder}


def take_seat() -> Seat | None:
    """Return this process's seat, if it was started as a worker; nothing that it starts itself sees it again."""
    text = os.environ.pop(_VARIABLE, None)
    # One that cannot be read ends the start: taken for none, the process would start workers of its own.
    return None if text is None else Seat(**json.loads(text))
