"""The calls to one upstream. The service makes each call once, in its turn, even if no decision waits for the call any more.

Decisions that need the same call share it (single flight, I19). `app.calls.call_order` decides when a call goes out. Each
call has its own task and its own deadline. The answer is cached, whether or not a decision still waits for it. If the turn
of a call comes after a decision's deadline, the decision is refused at once, with ``Retry-After``; the call stays queued.

A call has these states. From ``submit`` until the call is settled, `get` finds the call by its key::

    submit ──▶ queued ── turn ──────────────────────────────▶ in flight ── answer or failure ──▶ settled
               │   ▲  │                                                                            ▲
               │   │  └─ turn, where there are replicas ──▶ aside ── a replica has the answer ─────┤
               │   └──── first in its budget: no replica has it, shared turn taken ─┘              │
               └─ no use any more or answered meanwhile (recheck), its place lost, close ──────────┘

A call that can go out at once is not queued. A call in the state "aside" counts against no limit. A call is abandoned when
no decision waits for it: the last decision was answered, was cancelled, reached its deadline or was refused at once. If a
decision joins the call later, the call is no longer abandoned. The only effect is that abandoned calls lose their places
first. When a call is settled, every decision that waits for it gets the result.

`app.limits.single_flight` provides single flight without a queue, for the service's own calls.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar, cast

from app.calls.budget import Priority
from app.calls.call_order import CallOrder
from app.calls.limits import CallLimits, QueueFullError
from app.calls.outcomes import STOPPING, THROTTLED, Failure, Settled, no_answer, not_asked, overloaded
from app.calls.upstream import Asker, Pending, Upstream, tell
from app.calls.waiting_decisions import WaitingDecisions
from app.calls.waiting_places import WaitingPlaces
from app.core.errors import AuthError, OutOfTimeError, OwnCredentialsError, UpstreamDownError, UpstreamError
from app.core.reasons import Reason
from app.decision.record import COALESCED, MISS, SHARED, UpstreamCall
from app.limits.ticks import TICKS
from app.store.replicas import SharedCall
from app.telemetry.audit import get_logger

# The shortest pause of the timer. Calls that are due within this time go out together; `CallLimits.burst` allows that.
_LEAST_PAUSE_SECONDS: Final = 0.005  # no bound: how exactly the rate is kept; saved turns make up for it
# The expected time between a call's turn and its answer.
ANSWER_SECONDS: Final = 0.25
_BEGUN_AT_ONCE: Final = 64  # no bound: calls that go out in one turn of the event loop; the others do in the next

_Payload = TypeVar("_Payload")
_Answer = TypeVar("_Answer")


class CallQueue(Generic[_Payload, _Answer]):
    """The calls to one upstream that wait or are in flight."""

    def __init__(
        self,
        upstream: Upstream[_Payload, _Answer],
        limits: CallLimits,
        places: WaitingPlaces,
        ask_ahead: Callable[[_Answer], None] | None = None,
    ) -> None:
        """Create a queue without calls.

        Args:
            upstream: the upstream to call.
            limits: the limits on calls to the upstream.
            places: the limit on decisions that wait; all upstreams share this limit.
            ask_ahead: gets each answer for which no decision waits any more, because its caller will retry. It queues the
                call to the next upstream that the answer makes possible, and raises no exception. None if decisions need no
                other upstream after this one.
        """
        self._upstream = upstream
        self.order = CallOrder(limits, self._now)
        self._places = places
        self._pending: dict[Hashable, Pending[_Payload, _Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        # The first call sets this attribute, because the queue can be created before the event loop runs.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = WaitingDecisions()
        self._ask_ahead = ask_ahead
        self._is_closing = False

    def get(self, key: Hashable) -> Pending[_Payload, _Answer] | None:
        """Return the pending call with this key, or None."""
        return self._pending.get(key)

    def submit(self, pending: Pending[_Payload, _Answer]) -> None:
        """Queue a call. The call may go out at once.

        Raises:
            UpstreamError: ``overloaded``: the queue has no place for the call.
        """
        if self._is_closing:
            raise STOPPING.error()
        if self.order.begin_at_once(pending):
            self._pending[pending.key] = pending
            self._begin(pending)
            return
        try:
            lost = self.order.add(pending)
        except QueueFullError as error:
            raise self.full(error.seconds) from None
        self._pending[pending.key] = pending
        if lost is not None:
            seconds = self.order.seconds_to_place(lost.owner, lost.priority)
            self._settle(lost, Settled(None, Failure.of(self.full(seconds))))  # type: ignore[arg-type]
        self._pump()

    def full(self, seconds: float) -> UpstreamError:
        """Return the error for a decision whose call has no place in the queue; a place is expected in ``seconds``."""
        return overloaded(f"the queue of {self._upstream.name} is full", seconds)

    async def ask(
        self,
        key: Hashable,
        shared: SharedCall[_Answer] | None,
        make: Callable[[], Pending[_Payload, _Answer]],
        seen: UpstreamCall,
        deadline: float,
    ) -> _Answer:
        """Return the answer of the pending call with this key, or of another replica, or of a new call.

        Args:
            key: the key of the call.
            shared: the call as replicas share it; None if there is no shared store.
            make: returns the new call. It is called only if there is no pending call and no answer of another replica.
            seen: the decision's use of the upstream. This method fills it in, except the request id of a replica's answer.
            deadline: the deadline of the decision, in seconds of the event loop's clock.

        Raises:
            AuthError: as for `submit` and `join`.
        """
        pending = self._pending.get(key)
        if pending is None and shared is not None:
            answer = await shared.look()
            if answer is not None:
                seen.cache = SHARED
                return answer
            pending = self._pending.get(key)
        seen.cache = MISS if pending is None else COALESCED
        if pending is None:
            pending = make()
            self.submit(pending)
        return await self.join(pending, seen, deadline)

    async def join(self, pending: Pending[_Payload, _Answer], seen: UpstreamCall, deadline: float) -> _Answer:
        """Wait for the answer of a call, from `get` or `submit`, and record it.

        Raises:
            AuthError: the call failed with this error.
            UpstreamError: ``overloaded``, with the time until the call's turn, if the turn is after the deadline or no
                waiting place is free. ``sts_unavailable`` or ``iam_unavailable`` if the endpoint does not answer.
        """
        started = time.perf_counter()
        try:
            settled = pending.settled or await self._wait(pending, deadline)
        finally:
            if pending.settled is not None and pending.settled.seen is not None:
                made = pending.settled.seen
                seen.request_id, seen.region = made.request_id, made.region
                seen.seconds = time.perf_counter() - started if seen.cache == COALESCED else made.seconds
        if settled.failure is not None:
            raise settled.failure.error()
        if settled.is_shared and seen.cache == MISS:
            seen.cache = SHARED
        return cast("_Answer", settled.answer)  # a call that has not failed has an answer

    async def close(self) -> None:
        """End every call. Answer decisions that still wait with the error that the service stops."""
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in self.order.take_all():
            pass
        for pending in list(self._pending.values()):
            self._settle(pending, Settled(None, STOPPING))

    def _require_worth_waiting(self, pending: Pending[_Payload, _Answer], deadline: float) -> None:
        """Refuse a decision at once if no answer can come before its deadline. Its call stays in the queue."""
        if pending.began is not None:
            return
        if self.order.is_open(pending.circuit) or self._is_silent(pending.circuit):
            self.abandon(pending)
            raise self._not_asked(pending.circuit).error()
        wait = self.order.wait(pending)
        if wait and self._now() + wait + ANSWER_SECONDS > deadline:
            self.abandon(pending)
            raise overloaded(f"no turn towards {self._upstream.name} before the deadline: {wait:.1f} s to wait", wait)

    async def _wait(self, pending: Pending[_Payload, _Answer], deadline: float) -> Settled[_Answer]:
        """Wait for the end of a call, in one of the places that all upstreams share."""
        self._require_worth_waiting(pending, deadline)
        is_new = pending.priority is Priority.NEW and not self._upstream.has_verified_callers
        if not self._places.enter(pending.owner, is_new=is_new):
            self.abandon(pending)
            raise overloaded(f"no place to wait for {self._upstream.name}", self.order.wait(pending))
        loop = asyncio.get_running_loop()
        told: Asker = loop.create_future()
        if pending.askers is None:
            pending.askers = set()
            self.order.mark(pending, is_abandoned=False)
        pending.askers.add(told)
        self._waiting.add(told, pending)
        timer = loop.call_at(deadline, tell, told, None)
        try:
            settled = await told
        finally:
            timer.cancel()
            self._places.leave(pending.owner, is_new=is_new)
            self._waiting.remove(told, pending)
            if pending.askers is not None:
                pending.askers.discard(told)
                self.abandon(pending)
        # The answer may have come in the same iteration of the event loop as the deadline.
        return settled or pending.settled or Settled(None, self._out_of_time(pending))

    def _out_of_time(self, pending: Pending[_Payload, _Answer]) -> Failure:
        """Return why a decision has no answer at its deadline: the upstream failed, or too many other calls were first."""
        upstream = self._upstream
        is_late = pending.began is not None and self._now() - pending.began >= upstream.attempt_seconds
        if is_late or self.order.is_failing(pending.circuit, upstream.attempt_seconds):
            return no_answer(upstream.name, upstream.unavailable, self.order.cause_of(pending.circuit))
        missing = "turn towards" if pending.began is None else "answer of"
        return Failure.of(overloaded(f"no {missing} {upstream.name} before the deadline", self.order.wait(pending)))

    def _not_asked(self, circuit: Hashable) -> Failure:
        return not_asked(self._upstream.name, self._upstream.unavailable, self.order.cause_of(circuit))

    def _is_silent(self, circuit: Hashable) -> bool:
        return self.order.is_silent(circuit, self._upstream.silence_seconds)

    def abandon(self, pending: Pending[_Payload, _Answer]) -> None:
        """Record that no decision waits for a call any more; the call stays queued."""
        if not pending.askers:
            pending.askers = None
            self.order.mark(pending, is_abandoned=True)

    def _pump(self) -> None:
        """Send every call that may go out now, and set a timer for the next call."""
        for _ in range(_BEGUN_AT_ONCE):
            call = None if self._is_closing else self.order.next()
            if call is None:
                break
            self._begin(call)  # type: ignore[arg-type]
        else:
            # After an outage thousands of queued calls may have expired. They end here in batches, so that the event loop
            # can serve other callers between the batches.
            asyncio.get_running_loop().call_soon(self._pump)
            return
        seconds = self.order.seconds_to_next()
        if self._timer is not None:
            if seconds is not None and self._timer.when() <= self._now() + seconds:
                return
            self._timer.cancel()
            self._timer = None
        if seconds is not None and not self._is_closing:
            pause = max(seconds, _LEAST_PAUSE_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(pause, self._on_timer)

    def _on_timer(self) -> None:
        # Clear `_timer` before `_pump`: a timer can fire slightly early, and `_pump` would then assume that it is still set.
        self._timer = None
        self._pump()

    def _now(self) -> float:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def _begin(self, pending: Pending[_Payload, _Answer]) -> None:
        try:
            settled = Settled(self._upstream.recheck(pending.payload), None)
        except Exception as error:  # noqa: BLE001 - a bug ends one call, and not the queue (I21)
            settled = Settled(None, self._failure_of(error))
        if settled.answer is not None or settled.failure is not None:
            self.order.ended(pending, called=False)
            self._settle(pending, settled)
        elif pending.shared is not None and not pending.is_cleared:
            self.order.set_aside(pending)
            self._start(self._ask_others(pending, pending.shared))
        else:
            pending.began = self._now()
            if self.order.is_unproven(pending):
                self._watch(pending.circuit, TICKS)
            self._start(self._run(pending))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_others(self, pending: Pending[_Payload, _Answer], shared: SharedCall[_Answer]) -> None:
        """Look for another replica's answer. If there is none, queue the call before all other calls of its budget.

        While it waits for replicas, the call counts against no limit.
        """
        settled: Settled[_Answer] | None = None
        try:
            answer = await shared.wait_for_answer()
            if answer is not None:
                settled = Settled(answer, None, is_shared=True)
            elif (seconds := await shared.take_turn()) > 0:
                self.order.hold(pending.budget, seconds)
                await asyncio.sleep(seconds)
        except Exception as error:  # noqa: BLE001 - likewise
            settled = Settled(None, self._failure_of(error))
        if settled is None:
            pending.is_cleared = True
            self.order.put_back(pending)
        else:
            self.order.ended(pending, called=False)
            self._settle(pending, settled)
        self._pump()

    async def _run(self, pending: Pending[_Payload, _Answer]) -> None:
        """Make a call that had its turn and that its concurrency limits allow."""
        upstream, payload = self._upstream, pending.payload
        failure, answer, seen = None, None, UpstreamCall()
        try:
            deadline = self._now() + upstream.seconds_for(payload)
            answer = await upstream.call(payload, seen, deadline, pending.shared)
        except AuthError as error:
            failure = self._learn_from(error, pending)
        except Exception as error:  # noqa: BLE001 - likewise
            failure = self._failure_of(error)
        else:
            self.order.answered(pending.circuit)
        finally:
            self.order.ended(pending, called=True)
        self._settle(pending, Settled(answer, failure, seen))
        self._pump()

    def _failure_of(self, error: Exception) -> Failure:
        """Return the error for the waiting decisions if a call was not made.

        An exception that is no `AuthError` is a bug, and the result is an internal error (fail closed).
        """
        if isinstance(error, AuthError):
            return Failure.of(error)
        bug = type(error).__name__
        get_logger().error("call not made", upstream=self._upstream.name, problem=bug)
        return Failure(AuthError, Reason.INTERNAL_ERROR, f"a bug of ours: {bug}")

    def _learn_from(self, error: AuthError, pending: Pending[_Payload, _Answer]) -> Failure:
        """Update the endpoint's circuit breaker and the budget's rate limiter after an error. Return the failure."""
        if isinstance(error, OutOfTimeError):
            # The event loop of this service was late, so this error is no sign of a fault of the upstream.
            return Failure.of(overloaded(error.detail, 0.0))
        if isinstance(error, UpstreamDownError):
            if self.order.failed(pending.circuit, error.detail):
                get_logger().warning(
                    "upstream does not answer",
                    upstream=self._upstream.name,
                    endpoint=pending.circuit,
                    problem=error.detail,
                )
                self._waiting.tell_of(pending.circuit, Settled(None, self._not_asked(pending.circuit)))
        elif not isinstance(error, OwnCredentialsError):  # such a call did not reach the endpoint
            # A denial, throttling or an invalid answer proves that the endpoint answers.
            self.order.answered(pending.circuit)
            if error.reason in THROTTLED:
                self.order.throttled(pending.budget)
        return Failure.of(error)

    def _watch(self, circuit: Hashable, ticks: int) -> None:
        """Refuse the decisions that wait for an endpoint if its first calls get no answer within ``silence_seconds``.

        The time is measured in ticks of the event loop, because a busy loop may not yet have read answers that have arrived.
        """
        if ticks:
            pause = self._upstream.silence_seconds / TICKS
            asyncio.get_running_loop().call_later(pause, self._watch, circuit, ticks - 1)
        elif self._is_silent(circuit):
            self._waiting.tell_of(circuit, Settled(None, self._not_asked(circuit)))

    def _settle(self, pending: Pending[_Payload, _Answer], settled: Settled[_Answer]) -> None:
        del self._pending[pending.key]
        pending.settled = settled
        if pending.shared is not None:
            pending.shared.give_up_claim()
        askers, pending.askers = pending.askers, None
        for asker in askers or ():
            tell(asker, settled)
        if not askers and settled.answer is not None and self._ask_ahead is not None:
            # The callback runs in a separate iteration of the event loop, so that a bug in it does not stop this queue.
            asyncio.get_running_loop().call_soon(self._ask_ahead, settled.answer)
