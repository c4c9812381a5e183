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
        rate: calls per second of one budget.
        burst: calls of one budget that may go out together after a pause.
        in_flight: concurrent calls of one budget.
        new_in_flight: concurrent new calls of one budget.
        circuit_in_flight: concurrent calls to one endpoint.
        total_in_flight: concurrent calls to the upstream.
        total_new_in_flight: concurrent new calls to the upstream.
        total_unproven_in_flight: concurrent calls to all endpoints that are not known to answer. These calls count against
            none of the other limits, so that they never block calls to endpoints that answer.
        queued: known calls that may wait.
        new_queued: new calls that may wait.
        failures_to_open: the number of failures in a row that opens an endpoint's circuit breaker.
        budgets: the number of budgets in memory. Unused budgets are deleted.
        circuits: the number of endpoints whose failures are in memory. Unused endpoints are deleted.
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
