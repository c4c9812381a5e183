"""The interface through which `app.calls.call_queue` uses an upstream, and the state of one call until it ends."""

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

# A decision that waits. The future's result is the end of the call, or None if the decision's deadline came first.
Asker = asyncio.Future[Settled[Any] | None]


class Upstream(Protocol[_Asked_contra, _Answer]):
    """The interface of an upstream for its queue."""

    @property
    def name(self) -> str:
        """Return the upstream's name, for the details of errors."""

    @property
    def unavailable(self) -> Reason:
        """Return the reason of an error while the upstream does not answer."""

    @property
    def attempt_seconds(self) -> float:
        """Return how long one attempt may take before the upstream counts as failing."""

    @property
    def silence_seconds(self) -> float:
        """Return how many seconds the first calls to an endpoint may have no answer. Then waiting decisions are refused."""

    @property
    def patience(self) -> float | None:
        """Return for how many seconds one call waits for other replicas; None if there is no shared store."""

    def seconds_for(self, payload: _Asked_contra) -> float:
        """Return how long a call may take."""

    def recheck(self, payload: _Asked_contra) -> _Answer | None:
        """Return the answer if the service has learned it while the call waited. The queue calls this at the call's turn.

        Raises:
            AuthError: the call is not needed any more, for the reason of this error.
        """

    async def ask_replicas(self, payload: _Asked_contra, wait: ReplicaWait) -> Found[_Answer] | ComeAgain | None:
        """Find another replica's answer and cache it. If there is none, try to claim the call in the shared store."""

    async def take_shared_turn(self, payload: _Asked_contra, wait: ReplicaWait) -> float:
        """Take a turn in the budget that replicas share. Return the seconds until that turn."""

    def give_up_claim(self, payload: _Asked_contra, wait: ReplicaWait) -> None:
        """Release the claim on a call that ended without an answer, so that other replicas can make the call."""

    async def call(self, payload: _Asked_contra, trail: DecisionRecord, wait: ReplicaWait | None) -> _Answer:
        """Make a call before ``trail.deadline``, and cache its answer. Fill in ``trail``.

        Raises:
            AuthError: there is no answer, or the answer is a denial.
        """


class Pending(Call, Generic[_Payload, _Answer]):
    """A call that has not ended.

    Attributes:
        key: identifies the call. Decisions with equal keys share one call.
        payload: the content of the call.
        askers: the decisions that wait for the call; None if there are none.
        began: when the call went out, in seconds of the event loop's clock; None before that.
        wait: the state of the call's wait for replicas; None before the call's turn, or if there is no shared store.
        is_cleared: True once no replica has the answer and the shared budget has given the call a turn.
        settled: the end of the call; None until then.
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
    """Give a decision the end of its call, unless the decision has a result already.

    None means that the decision's deadline came first.
    """
    if not asker.done():
        asker.set_result(settled)
