"""What `app.calls.call_queue` calls, and the state of one call until it ends."""

import asyncio
from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar

from app.calls.budget import Call, Priority
from app.calls.outcomes import Settled
from app.core.reasons import Reason
from app.decision.record import DecisionRecord
from app.store.replicas import ComeAgain, Found, ReplicaWait

_Payload = TypeVar("_Payload")
_Asked_contra = TypeVar("_Asked_contra", contravariant=True)
_Answer = TypeVar("_Answer")

# A decision that waits: it is told the end of the call, or None at its deadline.
Asker = asyncio.Future[Settled[Any] | None]


class Upstream(Protocol[_Asked_contra, _Answer]):
    """What is called."""

    @property
    def name(self) -> str:
        """Return its name, for details of errors."""

    @property
    def unavailable(self) -> Reason:
        """Return the reason while it does not answer."""

    @property
    def attempt_seconds(self) -> float:
        """Return how long one attempt may take before the upstream counts as failing."""

    @property
    def silence_seconds(self) -> float:
        """Return how long the first calls to an endpoint may have no answer until the decisions that wait are told."""

    @property
    def patience(self) -> float | None:
        """Return for how many seconds one call waits for other replicas; None if there are none."""

    def seconds_for(self, payload: _Asked_contra) -> float:
        """Return how long a call may take."""

    def recheck(self, payload: _Asked_contra) -> _Answer | None:
        """Check again, when its turn comes, that a call is of use; return an answer that came to be known meanwhile.

        Raises:
            AuthError: it is of no use any more.
        """

    async def ask_replicas(self, payload: _Asked_contra, wait: ReplicaWait) -> Found[_Answer] | ComeAgain | None:
        """Claim a call, or find another replica's answer, and remember that."""

    async def take_shared_turn(self, payload: _Asked_contra, wait: ReplicaWait) -> float:
        """Take a turn in the budget that replicas share; return the seconds until it comes."""

    def give_up_claim(self, payload: _Asked_contra, wait: ReplicaWait) -> None:
        """Let other replicas make a call that ended."""

    async def call(self, payload: _Asked_contra, trail: DecisionRecord, wait: ReplicaWait | None) -> _Answer:
        """Make a call before ``trail.deadline``, and remember its answer; fill in the trail.

        Raises:
            AuthError: there is no answer, or it is a denial.
        """


class Pending(Call, Generic[_Payload, _Answer]):
    """A call that has not ended.

    Attributes:
        key: equal keys are one call.
        payload: what is asked.
        askers: the decisions that wait for it; None if there are none.
        began: when it went out, in seconds of the event loop's clock; None before.
        wait: what it spent on waiting for replicas; None before its turn, or where there are none.
        is_cleared: whether no replica has the answer, and the shared budget gave it a turn.
        settled: how it ended.
    """

    __slots__ = ("askers", "began", "is_cleared", "key", "payload", "settled", "wait")

    def __init__(
        self,
        key: Hashable,
        payload: _Payload,
        *,
        owner: Hashable,
        budget: Hashable,
        circuit: Hashable,
        priority: Priority,
        doubtful: bool = False,
    ) -> None:
        super().__init__(owner=owner, budget=budget, circuit=circuit, priority=priority, doubtful=doubtful)
        self.key = key
        self.payload = payload
        self.askers: set[Asker] | None = None
        self.began: float | None = None
        self.wait: ReplicaWait | None = None
        self.is_cleared = False
        self.settled: Settled[_Answer] | None = None


def tell(asker: Asker, settled: Settled[Any] | None) -> None:
    """Tell a decision the end of its call, unless it was told before; None: its deadline came first."""
    if not asker.done():
        asker.set_result(settled)
