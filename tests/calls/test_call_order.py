"""Which call is sent next, and when a waiting call will be sent."""

import heapq
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.calls.budget import Call, Priority
from app.calls.call_order import CallOrder
from app.calls.limits import CallLimits, QueueFullError
from app.limits.circuits import BREAKER_PAUSE_SECONDS, UNPROVEN_IN_FLIGHT

KNOWN, NEW = Priority.KNOWN, Priority.NEW
LIMITS = CallLimits(
    rate=100.0,
    burst=1.0,
    in_flight=6,
    new_in_flight=4,
    circuit_in_flight=8,
    total_in_flight=12,
    total_new_in_flight=8,
    total_unproven_in_flight=4,
    queued=1_000,
    new_queued=1_000,
    failures_to_open=3,
)


class Clock:
    """A clock whose time changes only when the test changes it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A `CallOrder`, and the calls that it started."""

    def __init__(self, *proven: str, **changes: float) -> None:
        self.clock = Clock()
        self.order = CallOrder(replace(LIMITS, **changes), self.clock)  # type: ignore[arg-type]
        self.out: list[Call] = []
        for circuit in proven:
            self.order.answered(circuit)

    def add(self, priority: Priority = NEW, *, account: str = "a", circuit: str = "host", **more: bool) -> Call:
        call = Call(owner=account, budget=account, circuit=circuit, priority=priority, **more)
        self.order.add(call)
        return call

    def begin(self) -> list[Call]:
        """Start the calls that may start now."""
        begun = []
        while (call := self.order.next()) is not None:
            begun.append(call)
        self.out += begun
        return begun

    def end(self, call: Call, *, fails: bool = False) -> None:
        self.out.remove(call)
        if fails:
            self.order.failed(call.circuit)
        else:
            self.order.answered(call.circuit)
        self.order.ended(call, called=True)

    def drain(self, most: int = 1_000) -> list[Call]:
        """End each call as soon as it begins, and return all in their order."""
        done: list[Call] = []
        while len(done) < most:
            for call in self.begin():
                self.end(call)
                done.append(call)
            seconds = self.order.seconds_to_next()
            if seconds is None:
                return done
            self.clock.now += seconds + 1e-9
        return done


def test_a_call_that_nothing_holds_up_needs_no_place_in_the_queue() -> None:
    run = Run("host", queued=0, new_queued=0)
    call = Call(owner="a", budget="a", circuit="host", priority=NEW)
    assert run.order.begin_at_once(call)
    assert run.order.next() is None
    run.order.ended(call, called=True)


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        ({}, 1),
        ({"burst": 9.0}, 4),
        ({"burst": 9.0, "circuit_in_flight": 2}, 2),
        ({"burst": 9.0, "total_in_flight": 1}, 1),
    ],
    ids=["rate", "limit of the account", "limit of the endpoint", "limit of all accounts"],
)
def test_a_call_that_has_to_wait_does_not_go_out_at_once(changes: dict[str, float], before: int) -> None:
    run = Run("host", **changes)
    begun = [
        run.order.begin_at_once(Call(owner="a", budget="a", circuit="host", priority=NEW)) for _ in range(before + 1)
    ]
    assert begun == [True] * before + [False]


def test_a_call_goes_out_at_once_only_where_no_other_waits_for_the_same_place() -> None:
    run = Run("host", "other", burst=9.0, circuit_in_flight=2)
    for _ in range(3):
        run.add()
    first, _ = run.begin()
    run.order.ended(first, called=True)
    rival = Call(owner="b", budget="b", circuit="host", priority=NEW)
    assert not run.order.begin_at_once(rival), "a call of another account waits for the free place"
    assert not run.order.begin_at_once(Call(owner="a", budget="a", circuit="other", priority=NEW)), "likewise"
    assert run.order.begin_at_once(Call(owner="b", budget="b", circuit="other", priority=NEW))


def test_calls_of_a_budget_go_out_evenly() -> None:
    run = Run("host")
    calls = [run.add() for _ in range(10)]
    assert [run.order.wait(call) for call in calls] == pytest.approx([number / 100 for number in range(10)])
    assert run.drain() == calls
    assert run.clock.now == pytest.approx(0.09)


def test_known_and_new_calls_take_turns_when_both_wait() -> None:
    run = Run("host")
    new = [run.add() for _ in range(50)]
    known = [run.add(KNOWN) for _ in range(3)]
    assert run.order.wait(known[-1]) <= 6 / 100
    order = run.drain()
    assert max(order.index(call) for call in known) <= 5
    assert len(order) == len(new) + len(known)


def test_doubtful_calls_have_every_second_turn_of_their_priority() -> None:
    run = Run("host")
    for _ in range(50):
        run.add(doubtful=True)
    new = run.add()
    assert run.drain().index(new) <= 1


def test_a_budget_has_no_more_calls_in_flight_than_its_limit_and_new_ones_fewer() -> None:
    run = Run("host", burst=100.0)
    for _ in range(20):
        run.add()
    assert len(run.begin()) == LIMITS.new_in_flight
    for _ in range(20):
        run.add(KNOWN)
    assert len(run.begin()) == LIMITS.in_flight - LIMITS.new_in_flight
    run.end(run.out[0])
    assert len(run.begin()) == 1


def test_an_account_that_holds_all_its_places_slows_no_other() -> None:
    run = Run("host", burst=100.0)
    for _ in range(20):
        run.add()
    run.begin()
    run.add(account="b")
    assert [call.owner for call in run.begin()] == ["b"]


def test_the_limit_over_all_accounts_is_passed_on_in_turns() -> None:
    run = Run(*"abc", burst=100.0, total_new_in_flight=2)
    for account in "abc":
        for _ in range(4):
            run.add(account=account, circuit=account)
    assert len(run.begin()) == 2
    seen = []
    for _ in range(10):
        run.end(run.out[0])
        seen += [str(call.owner) for call in run.begin()]
    assert max(Counter(seen).values()) - min(Counter(seen).values()) <= 2


def test_an_endpoint_that_has_not_answered_gets_two_calls_and_then_all() -> None:
    run = Run(burst=100.0)
    for _ in range(10):
        run.add(KNOWN)
    first = run.begin()
    assert len(first) == UNPROVEN_IN_FLIGHT
    run.end(first[0])
    # The other call counts towards the limits of endpoints that do not answer.
    assert len(run.begin()) == LIMITS.in_flight


def test_endpoints_that_do_not_answer_take_no_place_of_those_that_do() -> None:
    run = Run("alive", burst=100.0)
    for number in range(50):
        for _ in range(3):
            run.add(circuit=f"dead-{number}")
    assert len(run.begin()) == LIMITS.total_unproven_in_flight
    for _ in range(10):
        run.add(circuit="alive")
    assert len(run.begin()) == LIMITS.new_in_flight


def test_an_open_circuit_keeps_its_calls_and_lets_one_probe_out_in_each_pause() -> None:
    run = Run("host", burst=100.0)
    calls = [run.add(KNOWN) for _ in range(20)]
    for _ in range(LIMITS.failures_to_open):
        run.begin()
        run.end(run.out[0], fails=True)
    assert run.order.is_open("host")
    while run.out:
        run.end(run.out[0], fails=True)
        assert run.begin() == []
    left = sum(call.queue is not None for call in calls)
    assert run.order.seconds_to_next() == pytest.approx(BREAKER_PAUSE_SECONDS)
    for number in range(3):
        run.clock.now += BREAKER_PAUSE_SECONDS
        [probe] = run.begin()
        run.end(probe, fails=number < 2)
    assert not run.order.is_open("host")
    assert len(run.drain()) == left - 3


def test_a_probe_that_hangs_lets_another_one_out_after_the_pause() -> None:
    run = Run(burst=100.0)
    for _ in range(LIMITS.failures_to_open):
        run.order.failed("host")
    for _ in range(5):
        run.add(KNOWN)
    assert run.begin() == []
    for _ in range(2):
        run.clock.now += BREAKER_PAUSE_SECONDS
        assert len(run.begin()) == 1
    run.clock.now += BREAKER_PAUSE_SECONDS
    assert run.begin() == [], "no more than two calls to an endpoint that does not answer"


def open_circuit(**changes: float) -> Run:
    """Return an endpoint with an open circuit breaker, which may send its next probe."""
    run = Run(burst=100.0, **changes)
    for _ in range(LIMITS.failures_to_open):
        run.order.failed("host")
    run.clock.now += BREAKER_PAUSE_SECONDS
    return run


def test_a_call_that_is_not_made_after_all_is_no_probe() -> None:
    """Otherwise each credential that expires during an outage would keep the circuit open for another pause."""
    run = open_circuit()
    expired, *others = (run.add(KNOWN) for _ in range(3))
    assert run.begin() == [expired]
    run.order.ended(expired, called=False)
    assert run.begin() == others[:1]


def test_a_probe_that_was_set_aside_goes_out_in_the_pause_that_it_was_taken_for() -> None:
    run = open_circuit()
    probe, _ = run.add(KNOWN), run.add(KNOWN)
    assert run.begin() == [probe]
    run.order.set_aside(probe)
    run.clock.now += 0.1
    assert run.begin() == []
    run.order.put_back(probe)
    assert run.begin() == [probe]
    assert run.begin() == []


def test_an_endpoint_without_an_answer_for_a_while_is_silent() -> None:
    run = Run()
    run.add()
    [call] = run.begin()
    run.clock.now = 1.9
    assert not run.order.is_silent("host", 2.0)
    run.clock.now = 2.0
    assert run.order.is_silent("host", 2.0)
    run.end(call)
    assert not run.order.is_silent("host", 2.0)


def test_throttling_slows_one_budget_down() -> None:
    run = Run("host")
    run.order.throttled("a")
    calls = [run.add() for _ in range(3)]
    other = [run.add(account="b") for _ in range(3)]
    assert run.order.wait(calls[2]) == pytest.approx(0.04)
    assert run.order.wait(other[2]) == pytest.approx(0.02)


def test_a_turn_of_a_call_that_was_not_made_is_given_back() -> None:
    run = Run("host")
    run.add()
    [call] = run.begin()
    run.order.ended(call, called=False)
    run.add()
    assert len(run.begin()) == 1


def test_a_call_that_was_set_aside_takes_no_place_and_needs_no_other_turn() -> None:
    run = Run("host", in_flight=1)
    first, second = run.add(), run.add()
    assert run.begin() == [first]
    run.order.set_aside(first)
    run.clock.now = 0.01
    assert run.begin() == [second]
    run.order.put_back(first)
    assert run.begin() == [], "there is no place"
    run.end(second)
    assert run.begin() == [first]


def test_a_budget_that_is_held_lets_nothing_out_but_what_had_its_turn() -> None:
    run = Run("host")
    first, second = run.add(), run.add()
    run.begin()
    run.order.set_aside(first)
    run.order.hold("a", 1.0)
    run.order.put_back(first)
    run.clock.now = 0.5
    assert run.begin() == [first]
    assert run.order.wait(second) == pytest.approx(0.5)
    run.clock.now = 1.0
    assert run.begin() == [second]


# The limits of the queue.


def test_a_full_queue_refuses_its_only_owner_and_says_when_a_place_is_expected() -> None:
    run = Run("host", new_queued=10)
    for _ in range(10):
        run.add()
    seconds = []
    for _ in range(20):
        with pytest.raises(QueueFullError) as raised:
            run.add()
        seconds.append(raised.value.seconds)
    assert seconds[:3] == pytest.approx([0.01, 0.02, 0.03])
    assert max(seconds) == pytest.approx(0.1), "by then the queue is empty"
    run.add(KNOWN)


def test_the_owner_of_most_calls_loses_its_last_one_to_another_owner() -> None:
    run = Run("host", new_queued=10)
    calls = [run.add() for _ in range(10)]
    lost = run.order.add(Call(owner="b", budget="b", circuit="host", priority=NEW))
    assert lost is calls[-1]
    assert set(run.drain()) >= set(calls[:-1])


def test_abandoned_calls_lose_their_places_first() -> None:
    run = Run("host", new_queued=10)
    calls = [run.add() for _ in range(10)]
    run.order.mark(calls[3], is_abandoned=True)
    run.order.mark(calls[4], is_abandoned=True)
    run.order.mark(calls[4], is_abandoned=False)
    assert run.order.add(Call(owner="b", budget="b", circuit="host", priority=NEW)) is calls[3]


def test_owners_end_with_equal_shares_of_a_full_queue() -> None:
    run = Run("host", new_queued=12)
    for _ in range(12):
        run.add()
    for account in "bcd":
        for _ in range(12):
            try:
                run.add(account=account)
            except QueueFullError:
                break
    assert Counter(call.owner for call in run.drain()) == {"a": 3, "b": 3, "c": 3, "d": 3}


def test_calls_for_a_dead_endpoint_give_their_places_to_calls_of_the_same_account_for_a_live_one() -> None:
    run = Run("alive", new_queued=5)
    for _ in range(LIMITS.failures_to_open):
        run.order.failed("dead")
    dead = [run.add(circuit="dead") for _ in range(5)]
    with pytest.raises(QueueFullError):
        run.add(circuit="alive")
    run.order.mark(dead[0], is_abandoned=True)
    alive = run.add(circuit="alive")
    assert dead[0].queue is None
    assert run.begin() == [alive]


def test_budgets_and_endpoints_that_nobody_uses_are_forgotten() -> None:
    run = Run(budgets=3, circuits=3)
    busy = run.add(account="busy", circuit="busy")
    run.begin()
    for number in range(50):
        run.clock.now += 1.0
        run.add(account=f"{number}", circuit=f"{number}")
        run.end(run.begin()[0])
    assert len(run.order._budgets) <= 4
    assert len(run.order._circuits) <= 4
    run.end(busy)


def test_all_calls_can_be_taken_at_the_end() -> None:
    run = Run()
    calls = [run.add(priority, circuit=host) for priority in Priority for host in "ab" for _ in range(3)]
    assert set(run.order.take_all()) == set(calls)
    assert list(run.order.take_all()) == []
    assert run.begin() == []


# Rules that hold for every sequence of actions.

ACCOUNTS, HOSTS = "abc", "xyz"
ACTIONS = st.one_of(
    st.tuples(
        st.sampled_from(["add", "add-or-begin"]),
        st.sampled_from(ACCOUNTS),
        st.sampled_from(HOSTS),
        st.sampled_from(Priority),
        st.booleans(),
    ),
    st.tuples(st.sampled_from(["answer", "fail", "not-made", "aside"]), st.integers(0, 20)),
    st.tuples(st.sampled_from(["back", "drop", "abandon"]), st.integers(0, 20)),
    st.tuples(st.just("pass"), st.floats(0, 3)),
    st.tuples(st.sampled_from(["throttle", "hold"]), st.sampled_from(ACCOUNTS)),
)


class Model:
    """Applies actions, and checks every limit after each one."""

    def __init__(self) -> None:
        self.run = Run(burst=3.0, new_queued=8, queued=8)
        self.waiting: list[Call] = []
        self.out: list[Call] = []
        self.aside: list[Call] = []
        self.began: dict[str, list[float]] = {account: [] for account in ACCOUNTS}
        self.returning: set[Call] = set()

    def apply(self, action: tuple[object, ...]) -> None:
        kind, *arguments = action
        getattr(self, f"do_{str(kind).replace('-', '_')}")(*arguments)
        while (call := self.run.order.next()) is not None:
            self.waiting.remove(call)
            self.out.append(call)
            if call in self.returning:
                self.returning.discard(call)
            else:
                self.began[str(call.budget)].append(self.run.clock.now)
        self.check()

    def do_add(self, account: str, host: str, priority: Priority, doubtful: bool) -> None:  # noqa: FBT001
        call = Call(owner=account, budget=account, circuit=host, priority=priority, doubtful=doubtful)
        try:
            lost = self.run.order.add(call)
        except QueueFullError:
            return
        if lost is not None:
            self.waiting.remove(lost)
        self.waiting.append(call)

    def do_add_or_begin(self, account: str, host: str, priority: Priority, doubtful: bool) -> None:  # noqa: FBT001
        call = Call(owner=account, budget=account, circuit=host, priority=priority, doubtful=doubtful)
        if not self.run.order.begin_at_once(call):
            self.do_add(account, host, priority, doubtful)
            return
        assert not [waiting for waiting in self.waiting if waiting.budget == account], "it overtakes none"
        self.out.append(call)
        self.began[account].append(self.run.clock.now)

    def _end(self, number: int, *, called: bool) -> Call | None:
        if not self.out:
            return None
        call = self.out.pop(number % len(self.out))
        self.run.order.ended(call, called=called)
        if not called:
            self.began[str(call.budget)].pop()
        return call

    def do_answer(self, number: int) -> None:
        if call := self._end(number, called=True):
            self.run.order.answered(call.circuit)

    def do_fail(self, number: int) -> None:
        if call := self._end(number, called=True):
            self.run.order.failed(call.circuit)

    def do_not_made(self, number: int) -> None:
        self._end(number, called=False)

    def do_aside(self, number: int) -> None:
        if self.out:
            call = self.out.pop(number % len(self.out))
            self.run.order.set_aside(call)
            self.aside.append(call)

    def do_back(self, number: int) -> None:
        if self.aside:
            call = self.aside.pop(number % len(self.aside))
            self.run.order.put_back(call)
            self.waiting.append(call)
            self.returning.add(call)

    def do_drop(self, number: int) -> None:
        usual = [call for call in self.waiting if call not in self.returning]
        if usual:
            call = usual[number % len(usual)]
            self.run.order.drop(call)
            self.waiting.remove(call)

    def do_abandon(self, number: int) -> None:
        if self.waiting:
            self.run.order.mark(self.waiting[number % len(self.waiting)], is_abandoned=True)

    def do_pass(self, seconds: float) -> None:
        self.run.clock.now += seconds

    def do_throttle(self, account: str) -> None:
        self.run.order.throttled(account)

    def do_hold(self, account: str) -> None:
        self.run.order.hold(account, 0.5)

    def check(self) -> None:
        limits = self.run.order._limits
        proven = [call for call in self.out if call.places is not self.run.order._unproven]
        assert len(self.out) - len(proven) <= limits.total_unproven_in_flight
        assert len(proven) <= limits.total_in_flight
        new = [call for call in proven if call.priority is NEW]
        assert len(new) <= limits.total_new_in_flight
        assert all(count <= limits.in_flight for count in Counter(call.budget for call in proven).values())
        assert all(count <= limits.new_in_flight for count in Counter(call.budget for call in new).values())
        assert all(call.queue is not None for call in self.waiting), "no call is lost"
        for priority in Priority:
            usual = [call for call in self.waiting if call.priority is priority and call not in self.returning]
            assert len(usual) == len(self.run.order._shares[priority]) <= 8
        for moments in self.began.values():
            for start in moments[-20:]:
                assert sum(start <= moment < start + 1 for moment in moments) <= limits.rate + limits.burst

    def finish(self) -> None:
        """Every waiting call is sent once the upstream answers: none starves."""
        for _ in range(5_000):
            while self.aside:
                self.do_back(0)
            while self.out:
                self.do_answer(0)
            self.apply(("pass", 0.1))
            if not self.waiting and not self.out:
                break
        assert (self.waiting, self.out) == ([], [])
        order = self.run.order
        assert list(order.take_all()) == []
        assert [places.in_flight for places in (order._all, order._new, *order._unproven)] == [0, 0, 0]
        assert all(circuit.in_flight == 0 for circuit in order._circuits.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTIONS, max_size=120))
def test_no_limit_is_passed_no_call_is_lost_and_none_starves(actions: list[tuple[object, ...]]) -> None:
    model = Model()
    for action in actions:
        model.apply(action)
    model.finish()


@given(st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(Priority)), min_size=1, max_size=60))
def test_the_announced_wait_is_no_shorter_than_the_real_one(calls: list[tuple[str, Priority]]) -> None:
    """Otherwise a decision would wait for a call that is sent after its deadline.

    More known calls could arrive; here none do.
    """
    run = Run("host")
    added: list[Call] = []
    for account, priority in calls:
        added.append(run.add(priority, account=account))
    announced = {call: run.order.wait(call) for call in added}
    due: list[tuple[float, int]] = []
    while len(due) < len(added):
        for call in run.begin():
            heapq.heappush(due, (run.clock.now, id(call)))
            assert run.clock.now <= announced[call] + 1e-6
            run.end(call)
        run.clock.now += run.order.seconds_to_next() or 0.0
        run.clock.now += 1e-9


def test_the_states_are_those_of_the_queues_and_of_the_circuits() -> None:
    run = Run("host")
    for _ in range(3):
        run.add(account="a")
    run.begin()
    run.add(account="b", circuit="away")
    [away] = run.begin()
    run.end(away, fails=True)
    run.order.throttled("b")
    states = {state.key: state for state in run.order.budget_states()}
    assert (states["a"].waiting, states["a"].in_flight, states["a"].rate, states["a"].is_slowed) == (2, 1, 100.0, False)
    assert (states["b"].waiting, states["b"].in_flight, states["b"].rate, states["b"].is_slowed) == (0, 0, 50.0, True)
    endpoints = {state.key: state for state in run.order.endpoint_states()}
    assert (endpoints["host"].is_proven, endpoints["host"].in_flight, endpoints["host"].is_open) == (True, 1, False)
    assert (endpoints["away"].is_proven, endpoints["away"].failures, endpoints["away"].is_open) == (False, 1, False)
    for _ in range(LIMITS.failures_to_open):
        run.order.failed("away")
    assert {state.key: state.is_open for state in run.order.endpoint_states()} == {"host": False, "away": True}
