"""Estimate the wait for the upstream that a decision needs next. If that wait is too long, refuse the decision now.

A decision about a new key needs a role from IAM, and only the answer of STS names the role. If a new call to IAM would have
its turn after the decision's deadline, the decision is refused before its turn at STS. But the role may be in the cache
already, so the decision is not refused if its turn at STS comes within `NEAR_SECONDS`.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from app.calls.budget import Priority
from app.calls.upstream import Asker, Pending

# If its turn at STS comes within this time, a decision waits: a healthy STS then answers within a second from now.
NEAR_SECONDS: Final = 0.5
# The pause between two checks of the decisions that wait.
EXAMINED_EVERY_SECONDS: Final = 0.25

AnyPending = Pending[Any, Any]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class NextCalls(Generic[_Answer]):
    """The calls to the upstream that decisions need next.

    Attributes:
        seconds_to: returns the seconds until a new call for an owner could go out to the next upstream.
        ask_ahead: queues the call to the next upstream that an answer makes possible. The queue uses this function if no
            decision waits for the answer any more, because its caller will retry. The function raises no exception.
    """

    seconds_to: Callable[[Hashable], float]
    ask_ahead: Callable[[_Answer], None]


class NextUpstream:
    """The decisions whose turn is not within `NEAR_SECONDS`. Refuses them if their turn at the next upstream is too late."""

    def __init__(
        self,
        seconds_to: Callable[[Hashable], float],
        seconds_to_turn: Callable[[AnyPending], float],
        tell_each: Callable[[list[tuple[Asker, AnyPending]]], None],
    ) -> None:
        """Begin with no decision.

        Args:
            seconds_to: returns the seconds until a new call for an owner could go out to the next upstream.
            seconds_to_turn: returns the seconds until a call's turn at this upstream.
            tell_each: refuses decisions whose turn at the next upstream comes too late.
        """
        self._seconds_to = seconds_to
        self._seconds_to_turn = seconds_to_turn
        self._tell_each = tell_each
        # The decisions by owner, in the order of their arrival, which is also the order of their deadlines.
        self._waiting: dict[Hashable, dict[Asker, tuple[AnyPending, float]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_too_late(self, pending: AnyPending, seconds_to_turn: float, deadline: float) -> bool:
        """Return whether a decision should be refused if its call has its turn in so many seconds."""
        if pending.priority is not Priority.NEW or seconds_to_turn <= NEAR_SECONDS:
            return False
        return _now() + self._seconds_to(pending.owner) > deadline

    def add(self, asker: Asker, pending: AnyPending, deadline: float) -> None:
        """Record that a decision waits for a call."""
        if pending.priority is Priority.NEW and self._seconds_to_turn(pending) > NEAR_SECONDS:
            self._waiting.setdefault(pending.owner, {})[asker] = pending, deadline
            self._look_again()

    def remove(self, asker: Asker, pending: AnyPending) -> None:
        """Remove a decision that does not wait any more."""
        waiting = self._waiting.get(pending.owner)
        if waiting is not None:
            waiting.pop(asker, None)
            if not waiting:
                del self._waiting[pending.owner]

    def close(self) -> None:
        """Stop checking decisions."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_again(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EXAMINED_EVERY_SECONDS, self._examine)

    def _examine(self) -> None:
        """Refuse decisions whose turn at the next upstream has become too late.

        For each owner, stop at the first decision that is in time: all decisions after it have later deadlines.
        """
        self._timer = None
        for owner in list(self._waiting):
            late = self._take_late(self._waiting[owner], _now() + self._seconds_to(owner))
            if not self._waiting[owner]:
                del self._waiting[owner]
            self._tell_each(late)
        if self._waiting:
            self._look_again()

    def _take_late(
        self, waiting: dict[Asker, tuple[AnyPending, float]], next_turn: float
    ) -> list[tuple[Asker, AnyPending]]:
        late: list[tuple[Asker, AnyPending]] = []
        while waiting:
            asker, (pending, deadline) = next(iter(waiting.items()))
            if next_turn <= deadline:
                break
            del waiting[asker]
            if self._seconds_to_turn(pending) > NEAR_SECONDS:
                late.append((asker, pending))
        return late


def _now() -> float:
    return asyncio.get_running_loop().time()
