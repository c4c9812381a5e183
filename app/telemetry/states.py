"""The state of parts of the service, for people who look at it: budgets and endpoints of AWS, and watched files."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol

from app.telemetry.metrics import Reloadable


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The calls of one account, or of one account in one region.

    Attributes:
        key: the account, or a pair of account and region.
        waiting: the calls that wait for their turn.
        in_flight: the calls without an answer.
        rate: the calls a second that may go out at present.
        is_slowed: whether the rate is low because AWS throttled a call.
    """

    key: Hashable
    waiting: int
    in_flight: int
    rate: float
    is_slowed: bool


@dataclass(frozen=True, slots=True)
class EndpointState:
    """The circuit breaker of one endpoint.

    Attributes:
        key: the host, or the account whose IAM it is.
        is_open: whether only probes go out.
        is_proven: whether the last call that ended got an answer.
        failures: the failures in a row.
        in_flight: the calls without an answer.
    """

    key: Hashable
    is_open: bool
    is_proven: bool
    failures: int
    in_flight: int


class QueueStates(Protocol):
    """The queue in front of an upstream. There can be thousands of states, so a reader may pause between them."""

    def budget_states(self) -> Iterator[BudgetState]:
        """Yield the state of each budget."""

    def endpoint_states(self) -> Iterator[EndpointState]:
        """Yield the state of each endpoint."""


@dataclass(frozen=True, slots=True)
class FileState:
    """Files that are read again when they change.

    Attributes:
        what: what the files contain.
        paths: the files.
        changed_at: when the newest of them was changed, in seconds since 1970; None if no check has ended yet.
        bad_for: for how many seconds they have been invalid; 0 if they are valid.
    """

    what: Reloadable
    paths: tuple[str, ...]
    changed_at: float | None
    bad_for: float
