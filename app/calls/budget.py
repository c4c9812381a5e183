"""One budget of calls to AWS: a rate limiter, and a first-in, first-out queue for each endpoint and priority.

If both known and new calls wait, they go out alternately. Queues of the same priority also take turns. So a flood of new
calls delays the next known call of the same account by one turn only.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import IntEnum
from typing import Final

from app.limits.circuits import Circuit
from app.limits.rate_limiter import RateLimiter


class Priority(IntEnum):
    """The priority of a call."""

    KNOWN = 0
    """STS has accepted the access key within the last 24 hours, or the role is cached."""
    NEW = 1
    """Every other call. Anybody can cause such calls."""


# The kind of queue for calls that had their turn and then waited for other replicas. These calls go out before all others.
RETURNING: Final = 2


class Call:
    """One call to an upstream, from the moment when it is queued to its end.

    Attributes:
        owner: the AWS account that the call counts for when the service divides the places of the queue.
        budget: identifies the rate limiter.
        circuit: identifies the endpoint's circuit breaker.
        priority: whether the call is known or new.
        doubtful: True if IAM answered in the last 10 minutes that this role does not exist. Such calls have their own queue.
        is_abandoned: True if no decision waits for the call any more.
    """

    __slots__ = ("budget", "circuit", "doubtful", "is_abandoned", "number", "owner", "places", "priority", "queue")

    def __init__(
        self, *, owner: Hashable, budget: Hashable, circuit: Hashable, priority: Priority, doubtful: bool = False
    ) -> None:
        self.owner = owner
        self.budget = budget
        self.circuit = circuit
        self.priority = priority
        self.doubtful = doubtful
        self.is_abandoned = False
        # `CallOrder` sets these: the queue in which the call waits, its number there, and the limits that count the call.
        self.queue: Queue | None = None
        self.number = 0
        self.places: tuple[Places, ...] | None = None


class Places:
    """A concurrency limit, and the queues whose next call waits until this limit allows one more call."""

    __slots__ = ("in_flight", "most", "waiting")

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self.waiting: deque[Queue] = deque()

    def has_room(self, _now: float) -> bool:
        """Return whether one more call may go out."""
        return self.in_flight < self.most


class Queue:
    """A first-in, first-out queue of calls of one budget, priority and endpoint."""

    __slots__ = ("budget", "calls", "circuit", "is_listed", "is_parked", "key", "kind", "limits", "numbers")

    def __init__(
        self, budget: "Budget", circuit: Circuit, kind: int, key: Hashable, limits: tuple[Places, ...]
    ) -> None:
        self.budget = budget
        self.circuit = circuit
        self.kind = kind
        self.key = key
        self.limits = limits
        self.calls: OrderedDict[Call, None] = OrderedDict()
        self.numbers = 0
        self.is_listed = False
        # True while the queue waits for a concurrency limit or for its circuit breaker. Such a queue is kept even if it is
        # empty.
        self.is_parked = False

    def append(self, call: Call) -> None:
        """Add a call at the end of the queue."""
        self.numbers += 1
        call.number = self.numbers
        call.queue = self
        self.calls[call] = None

    def ahead_of(self, call: Call) -> int:
        """Return how many calls of this queue can go out before the given call, at most."""
        return min(len(self.calls) - 1, call.number - next(iter(self.calls)).number)


class Budget:
    """The state of one budget.

    Attributes:
        limiter: the rate limiter of this budget.
        all_places: the limit on the number of calls of this budget in flight.
        limits: for each priority, all limits that count its calls.
        queues: the queues that contain calls.
        ready: for each priority, and for returning calls, the queues whose next call may go out when the rate limiter allows
            a call, in the order of their turns. All other queues wait for a concurrency limit or for a circuit breaker.
        listed: the number of calls in the ready queues, for each of these kinds.
        last: the priority that had the last turn.
        due: when `CallOrder` checks this budget next.
        promised: the latest time that `Retry-After` has named for a place in a full queue.
    """

    __slots__ = ("all_places", "due", "last", "limiter", "limits", "listed", "promised", "queues", "ready")

    def __init__(self, limiter: RateLimiter, all_places: Places, limits: tuple[tuple[Places, ...], ...]) -> None:
        self.limiter = limiter
        self.all_places = all_places
        self.limits = limits
        self.queues: dict[Hashable, Queue] = {}
        self.ready: tuple[OrderedDict[Queue, None], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        self.listed = [0, 0, 0]
        self.last = Priority.NEW
        self.due = float("inf")
        self.promised = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether the budget can be deleted: no call waits or is in flight, and the rate limiter has its whole budget."""
        return not self.queues and not self.all_places.in_flight and self.limiter.is_whole

    def append(self, queue: Queue, call: Call) -> None:
        """Add a call at the end of a queue."""
        queue.append(call)
        if queue.is_listed:
            self.listed[queue.kind] += 1
        elif not queue.is_parked:
            self._list(queue)

    def take(self, queue: Queue, call: Call) -> None:
        """Remove a call from its queue."""
        del queue.calls[call]
        call.queue = None
        if queue.is_listed:
            self.listed[queue.kind] -= 1
        if not queue.calls and not queue.is_parked:
            self._forget(queue)

    def park(self, queue: Queue) -> None:
        """Exclude a queue from the turns until its concurrency limits and its circuit breaker allow its next call."""
        queue.is_listed, queue.is_parked = False, True
        del self.ready[queue.kind][queue]
        self.listed[queue.kind] -= len(queue.calls)

    def unpark(self, queue: Queue) -> None:
        """Include a queue in the turns again."""
        queue.is_parked = False
        if queue.calls:
            self._list(queue)
        else:
            self._forget(queue)

    def _list(self, queue: Queue) -> None:
        queue.is_listed = True
        self.ready[queue.kind][queue] = None
        self.listed[queue.kind] += len(queue.calls)

    def _forget(self, queue: Queue) -> None:
        if queue.is_listed:
            queue.is_listed = False
            del self.ready[queue.kind][queue]
        del self.queues[queue.key]
        queue.circuit.queues -= 1

    def turns_before(self, queue: Queue, call: Call) -> int:
        """Return the estimated number of turns of this budget before the turn of a call."""
        if queue.kind == RETURNING:
            return 0
        ahead = queue.ahead_of(call)
        own = len(queue.calls) if queue.is_listed else 0
        rivals = len(self.ready[queue.kind]) - queue.is_listed
        ahead += min(self.listed[queue.kind] - own, rivals * (ahead + 1))
        return ahead + min(self.listed[1 - queue.kind], ahead + 1) + self.listed[RETURNING]
