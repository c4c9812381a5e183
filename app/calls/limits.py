"""The limits on the calls to one upstream."""

from dataclasses import dataclass
from typing import Final

MAX_BUDGETS: Final = 10_000
MAX_CIRCUITS: Final = 10_000


class QueueFullError(Exception):
    """The queue has no place for a call.

    Attributes:
        seconds: the expected time until the queue has a place.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The limits on the calls to one upstream.

    Attributes:
        rate: calls a second of one budget.
        burst: calls of one budget that may go out at once after a pause.
        in_flight: calls of one budget at once.
        new_in_flight: new calls among them.
        circuit_in_flight: calls to one endpoint at once.
        total_in_flight: calls at once in all.
        total_new_in_flight: new calls among them.
        total_unproven_in_flight: calls at once, in all, to endpoints that are not known to answer. They count against none
            of the other limits, so that they never block calls to endpoints that answer.
        queued: known calls that wait.
        new_queued: new calls that wait.
        failures_to_open: failures in a row that open an endpoint's circuit.
        budgets: number of budgets that are remembered; one that nobody uses is forgotten.
        circuits: number of endpoints whose failures are counted, likewise.
    """

    rate: float
    burst: float
    in_flight: int
    new_in_flight: int
    circuit_in_flight: int
    total_in_flight: int
    total_new_in_flight: int
    total_unproven_in_flight: int
    queued: int
    new_queued: int
    failures_to_open: int
    budgets: int = MAX_BUDGETS
    circuits: int = MAX_CIRCUITS
