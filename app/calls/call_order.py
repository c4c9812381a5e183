"""The order of calls to one upstream: which call goes out next, and when a waiting call will have its turn.

`CallOrder` combines a rate limiter for each budget (`app.limits.rate_limiter`), concurrency limits, a circuit breaker for
each endpoint (`app.limits.circuits`) and the division of the queue's places between accounts (`app.calls.queue_share`). It
reads the time only from the given timer, and never waits. Every operation takes constant or logarithmic amortised time.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Hashable, Iterator

from app.calls.budget import RETURNING, Budget, Call, Places, Priority, Queue
from app.calls.limits import CallLimits, QueueFullError
from app.calls.queue_share import QueueShare
from app.limits.bounded_map import BoundedMap
from app.limits.circuits import Circuit
from app.limits.rate_limiter import RateLimiter
from app.local.clock import Timer
from app.telemetry.states import BudgetState, EndpointState


class CallOrder:
    """The calls to one upstream that wait or are in flight."""

    def __init__(self, limits: CallLimits, timer: Timer) -> None:
        self._limits = limits
        self._timer = timer
        self._budgets = BoundedMap(self._new_budget, limits.budgets)
        self._circuits = BoundedMap(
            lambda _key: Circuit(limits.circuit_in_flight, limits.failures_to_open), limits.circuits
        )
        self._shares: tuple[QueueShare[Call], ...] = (QueueShare(limits.queued), QueueShare(limits.new_queued))
        self._all = Places(limits.total_in_flight)
        self._new = Places(limits.total_new_in_flight)
        self._unproven = (Places(limits.total_unproven_in_flight),)
        # `_roomy`: the limits and circuits that allow a call again and for which queues wait. `_timed`: the times at which
        # budgets and open circuits are checked again.
        self._roomy: deque[Places | Circuit] = deque()
        self._timed: list[tuple[float, int, Budget | Circuit]] = []
        self._ticket = itertools.count()

    @property
    def is_full(self) -> bool:
        """Whether a queue is full, so that a new call may find no place in it."""
        return any(share.is_full for share in self._shares)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for their turn."""
        return sum(map(len, self._shares))

    @property
    def open_circuits(self) -> int:
        """The number of endpoints whose circuit breaker is open."""
        return sum(circuit.is_open for circuit in self._circuits.values())

    def budget_states(self) -> Iterator[BudgetState]:
        """Yield the state of each budget; see `app.telemetry.states.QueueStates`."""
        for key, budget in self._budgets.items():
            waiting = sum(len(queue.calls) for queue in budget.queues.values())
            limiter = budget.limiter
            yield BudgetState(key, waiting, budget.all_places.in_flight, limiter.rate, limiter.is_slowed)

    def endpoint_states(self) -> Iterator[EndpointState]:
        """Yield the state of each endpoint; see `app.telemetry.states.QueueStates`."""
        for key, circuit in self._circuits.items():
            yield EndpointState(key, circuit.is_open, circuit.answers, circuit.failures, circuit.in_flight)

    def has_place(self, owner: Hashable, priority: Priority) -> bool:
        """Return whether the queue has a place for a call of this owner."""
        return self._shares[priority].has_place(owner)

    def calls_of(self, owner: Hashable, priority: Priority) -> int:
        """Return the number of an owner's calls that wait."""
        return self._shares[priority].calls_of(owner)

    def seconds_to_place(self, owner: Hashable, priority: Priority) -> float:
        """Return after how many seconds the queue should have a place for an owner whose call is refused now.

        Each further refused call gets a later time. The latest possible time is when all calls of the owner have gone out.
        """
        share = self._shares[priority]
        last = share.last(owner)
        if last is None or last.queue is None:
            return 0.0
        budget, now = last.queue.budget, self._timer()
        drained = budget.limiter.wait() + share.calls_of(owner) / budget.limiter.rate
        budget.promised = min(max(budget.promised, now) + 1 / budget.limiter.rate, now + drained)
        return budget.promised - now

    def add(self, call: Call) -> Call | None:
        """Queue a call.

        Returns:
            The call that lost its place to the new call; None if no call lost its place.

        Raises:
            QueueFullError: the queue has no place for the call.
        """
        share = self._shares[call.priority]
        victim = None
        if not share.has_place(call.owner):
            victim = self._replaceable(call)
            if victim is None:
                raise QueueFullError(self.seconds_to_place(call.owner, call.priority))
        victim = victim or share.victim(call.owner)
        if victim is not None:
            self.drop(victim)
        share.add(call)
        self._enter(call, call.priority)
        return victim

    def begin_at_once(self, call: Call) -> bool:
        """Let a call go out without queueing it, if all its limits allow the call and no other call waits for them.

        Returns:
            True if the call goes out now, as if `next` had returned it. False if the caller must queue the call; then this
            method has changed nothing.
        """
        budget, circuit, now = self._budgets.of(call.budget), self._circuits.of(call.circuit), self._timer()
        limits = self._limits_of(call, budget, circuit)
        if (
            budget.queues
            or circuit.waiting
            or not circuit.has_room(now)
            or any(places.waiting or not places.has_room(now) for places in limits)
            or budget.limiter.wait() > 0
        ):
            return False
        self._take_turn(call, budget)
        self._take_places(call, limits, circuit, now)
        return True

    def drop(self, call: Call) -> None:
        """Remove a waiting call from its queue."""
        queue = call.queue
        if queue is not None:
            queue.budget.take(queue, call)
            self._shares[call.priority].remove(call)

    def mark(self, call: Call, *, is_abandoned: bool) -> None:
        """Record whether a decision waits for a call. Abandoned calls lose their places first."""
        if call.queue is not None and call.queue.kind != RETURNING:
            self._shares[call.priority].mark(call, is_abandoned=is_abandoned)

    def wait(self, call: Call) -> float:
        """Return the estimated seconds until a queued call has its turn; 0 for a call that is not queued."""
        queue = call.queue
        if queue is None:
            return 0.0
        limiter = queue.budget.limiter
        return limiter.wait() + queue.budget.turns_before(queue, call) / limiter.rate

    def next(self) -> Call | None:
        """Return a call that must go out now, or None. The caller reports the end of that call by `ended` or `set_aside`."""
        now = self._timer()
        call = self._next_with_room(now)
        while call is None and self._timed and self._timed[0][0] <= now:
            due, _, timed = heapq.heappop(self._timed)
            if isinstance(timed, Circuit):
                timed.is_timed = False
                self._roomy.append(timed)
                call = self._next_with_room(now)
                continue
            if due == timed.due:
                timed.due = float("inf")
            call = self._begin_from(timed, now)
        return call

    def seconds_to_next(self) -> float | None:
        """Return after how many seconds `next` should be called again; None if only the end of a call can let one go out."""
        return max(0.0, self._timed[0][0] - self._timer()) if self._timed else None

    def ended(self, call: Call, *, called: bool) -> None:
        """Record the end of a call that `next` returned, or of a call that was set aside.

        If the upstream was not ``called``, give the call's turn back to the rate limiter.
        """
        if call.places is not None:
            self._leave_places(call)
        if not called:
            self._budgets.of(call.budget).limiter.give_back()
            circuit = self._circuits.of(call.circuit)
            circuit.not_called()
            self._note_room(circuit)

    def set_aside(self, call: Call) -> None:
        """Exclude a call that `next` returned from the concurrency limits while the call waits for other replicas.

        The call keeps its turn.
        """
        self._leave_places(call)

    def put_back(self, call: Call) -> None:
        """Queue a call that was set aside. The call goes out before all others of its budget, and needs no second turn."""
        self._enter(call, RETURNING)

    def hold(self, budget: Hashable, seconds: float) -> None:
        """Let no call of a budget go out for so many seconds, except calls that already had their turn."""
        self._budgets.of(budget).limiter.hold(seconds)

    def throttled(self, budget: Hashable) -> None:
        """Halve the rate of a budget: AWS throttled one of its calls."""
        self._budgets.of(budget).limiter.throttled()

    def answered(self, circuit: Hashable) -> None:
        """Record that an endpoint answered, whatever the answer was."""
        known = self._circuits.of(circuit)
        known.answered()
        self._note_room(known)

    def failed(self, circuit: Hashable, cause: str = "") -> bool:
        """Record that an endpoint did not answer or had an internal error. Return whether its circuit breaker opened."""
        return self._circuits.of(circuit).failed(self._timer(), cause)

    def cause_of(self, circuit: Hashable) -> str:
        """Return why the last call to an endpoint failed, in words; empty if it did not."""
        return self._circuits.of(circuit).cause

    def is_open(self, circuit: Hashable) -> bool:
        """Return whether the circuit breaker of an endpoint is open, so that only probes go out."""
        return self._circuits.of(circuit).is_open

    def is_failing(self, circuit: Hashable, seconds: float) -> bool:
        """Return whether the last call to an endpoint failed, or its calls have had no answer for so many seconds."""
        known = self._circuits.of(circuit)
        return known.failures > 0 or known.is_silent(self._timer(), seconds)

    def is_silent(self, circuit: Hashable, seconds: float) -> bool:
        """Return whether calls to an endpoint that is not known to answer have had no answer for so many seconds."""
        return self._circuits.of(circuit).is_silent(self._timer(), seconds)

    def is_unproven(self, call: Call) -> bool:
        """Return whether a call in flight goes to an endpoint that is not known to answer."""
        return call.places is self._unproven

    def take_all(self) -> Iterator[Call]:
        """Remove and yield every waiting call."""
        for budget in self._budgets.values():
            for queue in list(budget.queues.values()):
                for call in list(queue.calls):
                    budget.take(queue, call)
                    if queue.kind != RETURNING:
                        self._shares[call.priority].remove(call)
                    yield call

    def _next_with_room(self, now: float) -> Call | None:
        """Return a call of a queue that waited for a concurrency limit or a circuit breaker, if these allow a call now."""
        while self._roomy:
            resource = self._roomy[0]
            while resource.waiting and resource.has_room(now):
                queue = resource.waiting.popleft()
                queue.budget.unpark(queue)
                call = self._begin_from(queue.budget, now)
                if call is not None:
                    return call
            self._roomy.popleft()
            if resource.waiting and isinstance(resource, Circuit):
                self._look_again(resource)
        return None

    def _replaceable(self, call: Call) -> Call | None:
        """Return a call of the same owner that waits for an open circuit, if the circuit of the new call is closed."""
        last = self._shares[call.priority].last_abandoned(call.owner)
        if last is None or self.is_open(call.circuit) or not self.is_open(last.circuit):
            return None
        return last

    def _enter(self, call: Call, kind: int) -> None:
        budget = self._budgets.of(call.budget)
        key = (kind, call.circuit, call.doubtful, call.priority)
        queue = budget.queues.get(key)
        if queue is None:
            circuit = self._circuits.of(call.circuit)
            queue = budget.queues[key] = Queue(budget, circuit, kind, key, budget.limits[call.priority])
            queue.circuit.queues += 1
        budget.append(queue, call)
        self._schedule(budget)

    def _begin_from(self, budget: Budget, now: float) -> Call | None:
        """Take the next call of a budget, if its rate limiter and the concurrency limits allow a call.

        A queue whose limits allow no call is excluded from the turns and waits for the limits.
        """
        for kind in (RETURNING, 1 - budget.last, budget.last):
            ready = budget.ready[kind]
            while ready:
                if kind != RETURNING and budget.limiter.wait() > 0:
                    self._schedule(budget)
                    return None
                queue = next(iter(ready))
                full = self._full(queue, now)
                if full is None:
                    return self._begin(queue, now)
                budget.park(queue)
                full.waiting.append(queue)
                if isinstance(full, Circuit):
                    self._look_again(full)
        return None

    def _begin(self, queue: Queue, now: float) -> Call:
        budget, circuit = queue.budget, queue.circuit
        call = next(iter(queue.calls))
        if queue.kind != RETURNING:
            self._shares[call.priority].remove(call)
            self._take_turn(call, budget)
        self._take_places(call, self._limits_of(call, budget, circuit), circuit, now)
        budget.take(queue, call)
        if queue.is_listed:
            budget.ready[queue.kind].move_to_end(queue)
        self._schedule(budget)
        return call

    def _limits_of(self, call: Call, budget: Budget, circuit: Circuit) -> tuple[Places, ...]:
        """Return the concurrency limits that count a call if it goes out now."""
        return budget.limits[call.priority] if circuit.answers else self._unproven

    @staticmethod
    def _take_turn(call: Call, budget: Budget) -> None:
        budget.limiter.reserve()
        budget.last = call.priority

    @staticmethod
    def _take_places(call: Call, limits: tuple[Places, ...], circuit: Circuit, now: float) -> None:
        call.places = limits
        for places in limits:
            places.in_flight += 1
        circuit.began(now)

    def _full(self, queue: Queue, now: float) -> "Circuit | Places | None":
        circuit = queue.circuit
        # A returning call had its turn already. If the circuit breaker is open, this call is the probe that was allowed
        # before the call was set aside.
        if not circuit.has_room(float("inf") if queue.kind == RETURNING else now):
            return circuit
        limits = queue.limits if circuit.answers else self._unproven
        return next((places for places in limits if not places.has_room(now)), None)

    def _leave_places(self, call: Call) -> None:
        for places in call.places or ():
            places.in_flight -= 1
            self._note_room(places)
        call.places = None
        circuit = self._circuits.of(call.circuit)
        circuit.ended()
        self._note_room(circuit)

    def _note_room(self, resource: "Circuit | Places") -> None:
        if resource.waiting:
            self._roomy.append(resource)

    def _schedule(self, budget: Budget) -> None:
        """Plan the next check of a budget for the time when its rate limiter allows a call."""
        if budget.ready[RETURNING]:
            due = self._timer()
        elif budget.ready[0] or budget.ready[1]:
            due = self._timer() + budget.limiter.wait()
        else:
            return
        if due < budget.due:
            budget.due = due
            heapq.heappush(self._timed, (due, next(self._ticket), budget))

    def _look_again(self, circuit: Circuit) -> None:
        """Plan the next check of an open circuit breaker for the time when its next probe may go out."""
        if circuit.is_open and not circuit.is_timed and circuit.retry_at > self._timer():
            circuit.is_timed = True
            heapq.heappush(self._timed, (circuit.retry_at, next(self._ticket), circuit))

    def _new_budget(self, _key: Hashable) -> Budget:
        limits = self._limits
        limiter = RateLimiter(limits.rate, burst=limits.burst, timer=self._timer)
        own = Places(limits.in_flight)
        # The first tuple of limits is for known calls, the second for new calls.
        known = (self._all, own)
        return Budget(limiter, own, (known, (self._new, Places(limits.new_in_flight), *known)))
