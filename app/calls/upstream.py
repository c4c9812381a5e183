"""The interface through which `app.calls.call_queue` uses an upstream, and the state of one call until it ends."""

import asyncio
from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar

from app.calls.budget import Call, Priority
from app.calls.outcomes import Settled
from app.core.reasons import Reason
from app.decision.record import UpstreamCall
from app.store.replicas import SharedCall

_Payload = TypeVar("_Payload")
_Asked_contra = TypeVar("_Asked_contra", contravariant=True)
_Answer = TypeVar("_Answer")
_Answer_co = TypeVar("_Answer_co", covariant=True)

# A decision that waits. The future's result is the end of the call, or None if the decision's deadline came first.
Asker = asyncio.Future[Settled[Any] | None]


class Upstream(Protocol[_Asked_contra, _Answer_co]):
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
    def has_verified_callers(self) -> bool:
        """Return whether STS has verified the caller of every decision that needs a call to this upstream."""

    def seconds_for(self, payload: _Asked_contra) -> float:
        """Return how long a call may take."""

    def recheck(self, payload: _Asked_contra) -> _Answer_co | None:
        """Return the answer if the service has learned it while the call waited. The queue calls this at the call's turn.

        Raises:
            AuthError: the call is not needed any more, for the reason of this error.
        """

    async def call(
        self, payload: _Asked_contra, seen: UpstreamCall, deadline: float, shared: SharedCall[Any] | None
    ) -> _Answer_co:
        """Make a call before the deadline, cache its answer, and fill in ``seen``.

        If there is a shared store, give the answer to the other replicas through ``shared``.

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
        shared: the call as replicas share it; None if there is no shared store.
        is_cleared: True once no replica has the answer and the shared budget has given the call a turn.
        settled: the end of the call; None until then.
    """

    __slots__ = ("askers", "began", "is_cleared", "key", "payload", "settled", "shared")

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
        self.shared: SharedCall[_Answer] | None = None
        self.is_cleared = False
        self.settled: Settled[_Answer] | None = None


def tell(asker: Asker, settled: Settled[Any] | None) -> None:
    """Give a decision the end of its call, unless the decision has a result already.

    None means that the decision's deadline came first.
    """
    if not asker.done():
        asker.set_result(settled)
