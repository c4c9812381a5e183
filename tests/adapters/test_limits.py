"""How many are let in at once, and what becomes of the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from app.adapters.gate import Gate
from app.adapters.limits import Lane, Lanes, LocalBudget, retry_seconds
from app.adapters.pacing import Pace

from app.adapters import limits
from app.adapters.store_budget import MAX_WAIT_SECONDS
from app.errors import UpstreamError
from app.reasons import Reason
from app.trail import SharedWait
from tests.support.upstreams import settle


def soon() -> float:
    return asyncio.get_running_loop().time() + 60


def past() -> float:
    return asyncio.get_running_loop().time() - 1


@asynccontextmanager
async def slot(gate: Gate, deadline: float) -> AsyncIterator[None]:
    """Hold a slot while the context lasts."""
    await gate.enter(deadline)
    try:
        yield
    finally:
        gate.leave()


async def refused(gate: Gate, deadline: float) -> str:
    with pytest.raises(UpstreamError) as raised:
        async with slot(gate, deadline):
            raise AssertionError("it was let in")
    assert raised.value.reason is Reason.OVERLOADED
    return raised.value.detail


async def test_a_gate_lets_so_many_in_and_the_next_when_one_leaves() -> None:
    gate = Gate("x", at_once=2, queue=1)
    inside = asyncio.Event()

    async def third() -> None:
        async with slot(gate, soon()):
            inside.set()

    async with AsyncExitStack() as two:
        await two.enter_async_context(slot(gate, soon()))
        await two.enter_async_context(slot(gate, soon()))
        waiting = asyncio.create_task(third())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not inside.is_set()
    await waiting
    assert inside.is_set()
    assert gate.idle


async def test_a_gate_with_somebody_inside_is_not_idle() -> None:
    gate = Gate("x", at_once=10, queue=1)
    async with slot(gate, soon()):
        assert not gate.idle
    assert gate.idle


async def test_a_full_queue_turns_away_at_once() -> None:
    gate = Gate("x", at_once=1, queue=0)
    async with slot(gate, soon()):
        assert "full" in await refused(gate, soon())


async def test_who_waits_leaves_at_its_deadline_and_leaves_its_place_to_others() -> None:
    gate = Gate("x", at_once=1, queue=1)
    async with slot(gate, soon()):
        for _ in range(3):
            assert "deadline" in await refused(gate, past())
    async with slot(gate, soon()):
        pass


async def test_the_queues_of_a_gate_take_turns() -> None:
    """A long queue of one key delays the next call of another by one call."""
    gate, order = Gate("x", at_once=1, queue=10), []

    async def go(key: str) -> None:
        await gate.enter(soon(), key)
        order.append(key)
        gate.leave()

    await gate.enter(soon(), "a")
    tasks = [asyncio.create_task(go(key)) for key in "aaaabb"]
    await asyncio.sleep(0)
    assert (gate.ahead("a"), gate.ahead("b"), gate.ahead("c")) == (6, 5, 2)
    gate.leave()
    await asyncio.gather(*tasks)
    assert "".join(order) == "ababaa"
    assert gate.idle


async def test_a_full_queue_of_one_key_is_none_of_another() -> None:
    gate = Gate("x", at_once=1, queue=1)
    await gate.enter(soon())
    waiting = [asyncio.create_task(gate.enter(soon(), key)) for key in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(UpstreamError, match="full"):
        await gate.enter(soon(), "a")
    for _ in range(2):
        gate.leave()
    await asyncio.gather(*waiting)
    gate.leave()
    assert gate.idle


async def test_a_place_that_is_given_to_a_waiter_that_is_cancelled_goes_to_the_next() -> None:
    """I19."""
    gate = Gate("x", at_once=1, queue=5)
    await gate.enter(soon())
    first, second = asyncio.create_task(gate.enter(soon())), asyncio.create_task(gate.enter(soon()))
    await asyncio.sleep(0)
    gate.leave()  # the place is the first one's, which has not run yet
    first.cancel()
    await second
    gate.leave()
    assert gate.idle
    await asyncio.gather(first, return_exceptions=True)


async def test_a_cancelled_waiter_takes_no_slot_with_it() -> None:
    """I19: cancellation of one waiter harms no other."""
    gate = Gate("x", at_once=1, queue=5)

    async def wait() -> None:
        async with slot(gate, soon()):
            pass

    async with slot(gate, soon()):
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        first.cancel()
    await second
    assert gate.idle


def lane(name: str = "x", **given: Any) -> Lane:
    options: dict[str, Any] = {"rate": 1e6, "burst": 1.0, "at_once": 1, "queue": 10, "shared": LocalBudget()} | given
    rate = options.pop("rate")
    return Lane(name, Pace(rate, burst=options["burst"], timer=lambda: 0.0), **options)


async def nothing() -> None:
    """Let every call out."""


async def test_a_turn_that_cannot_come_before_the_deadline_is_refused_at_once_and_says_when() -> None:
    """Waiting for it would hold memory and tell the caller nothing."""
    slow = lane(rate=0.1)
    async with slow.turn(soon(), nothing):
        pass
    for _ in range(3):
        with pytest.raises(UpstreamError) as raised:
            async with slow.turn(asyncio.get_running_loop().time() + 1, nothing):
                raise AssertionError("it was let in")
        assert raised.value.reason is Reason.OVERLOADED
        # Always the same: nobody who was refused has taken a turn from others.
        assert raised.value.retry_after == 10


async def test_those_who_wait_count_in_what_the_next_would_wait() -> None:
    slow = lane(rate=1.0)
    async with slow.turn(soon(), nothing):
        waiting = asyncio.create_task(_pass(slow))
        await asyncio.sleep(0)
        assert slow.wait() == pytest.approx(2.0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert slow.idle


async def _pass(through: Lane) -> None:
    async with through.turn(soon(), nothing):
        pass


async def test_a_queue_behind_something_dead_ends_at_once_and_spends_no_turns() -> None:
    road = lane(rate=1.0)

    async def dead() -> None:
        raise UpstreamError(Reason.STS_UNAVAILABLE, "dead")

    for _ in range(5):
        with pytest.raises(UpstreamError, match="dead"):
            async with road.turn(soon(), dead):
                raise AssertionError("it was let in")
    assert road.wait() == 0
    assert road.idle


@dataclass
class Others:
    """Replicas that leave so many seconds to wait, at one time after the other."""

    waits: list[float]
    asked: list[tuple[str, float, float]] = field(default_factory=list)

    async def take(self, budget: str, rate: float, burst: float) -> float:
        self.asked.append((budget, rate, burst))
        return self.waits.pop(0)


async def test_a_shared_budget_adds_to_the_wait_and_is_asked_for_this_budget() -> None:
    others = Others([0.05])
    clock = asyncio.get_running_loop().time
    began = clock()
    await _pass(lane("STS (1, r)", rate=7.0, shared=others))
    assert clock() - began >= 0.05
    assert others.asked == [("STS (1, r)", 7.0, 1.0)]


async def test_a_shared_budget_turns_nobody_away() -> None:
    """Whoever can write to the store can name any wait: a call whose time is short goes out before its deadline."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + 0.2
    async with lane(shared=Others([MAX_WAIT_SECONDS])).turn(deadline, nothing):
        assert clock() < deadline


async def test_a_shared_budget_is_that_of_the_setting_whatever_aws_throttles() -> None:
    """Replicas that name different rates would undo each other's budget."""
    others = Others([0.0])
    road = lane(rate=7.0, shared=others)
    road.pace.throttled()
    await _pass(road)
    assert others.asked == [("x", 7.0, 1.0)]


async def test_all_waits_of_a_decision_for_shared_budgets_have_one_bound() -> None:
    """ADR 12: whoever can write to the store delays a decision by so much, and not each of its calls."""
    decision = SharedWait(left=0.1)
    clock = asyncio.get_running_loop().time
    began = clock()
    for _ in range(5):
        async with lane(shared=Others([1.9])).turn(soon(), nothing, shared_wait=decision):
            pass
    assert clock() - began < 1.0
    assert decision.left <= 0


async def test_who_waits_for_a_shared_budget_holds_no_place() -> None:
    """Else a store that lets everybody wait leaves a few calls in that time, whatever the rate is."""
    others = Others([1.0, 0.0])
    road = lane(shared=others, at_once=1)
    waiting = asyncio.create_task(_pass(road))
    await settle()
    assert others.asked
    await asyncio.wait_for(_pass(road), 0.5)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert road.idle


async def test_who_had_a_turn_comes_in_before_those_who_have_none() -> None:
    gate, order = Gate("x", at_once=1, queue=5), []

    async def go(name: str, *, again: bool) -> None:
        await (gate.enter_again(soon()) if again else gate.enter(soon()))
        order.append(name)
        gate.leave()

    await gate.enter(soon())
    tasks = [asyncio.create_task(go("new", again=False)), asyncio.create_task(go("returning", again=True))]
    await asyncio.sleep(0)
    gate.leave()
    await asyncio.gather(*tasks)
    assert order == ["returning", "new"]


async def test_a_shared_budget_that_gives_nobody_a_turn_contradicts_itself_and_is_not_asked_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nobody has a turn nothing is spent, so the budget would be whole again after its longest wait."""
    monkeypatch.setattr(limits, "MAX_WAIT_SECONDS", 0.02)
    others = Others([0.02] * 100)
    road = lane(shared=others)
    for _ in range(20):
        await _pass(road)
    assert len(others.asked) <= 3
    assert road.pace.rate == road.pace.base


async def test_replicas_that_together_spend_more_than_the_budget_slow_down() -> None:
    """Their own pace would let each of them spend the whole of it."""
    road = lane(rate=100.0, shared=Others([0.3]))
    async with road.turn(soon(), nothing, shared_wait=SharedWait(left=0.001)):
        assert road.pace.rate == 50.0


async def test_a_shared_budget_never_shortens_the_wait() -> None:
    road = lane(rate=0.01, shared=Others([0.0, 0.0]))
    await _pass(road)
    with pytest.raises(UpstreamError):
        await _pass(road)


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, 1), (0.9, 1), (2.9, 2), (29.0, 29), (1e9, 30)])
def test_retry_after_is_whole_seconds_within_bounds(wait: float, seconds: int) -> None:
    assert retry_seconds(wait) == seconds


async def test_one_key_does_not_starve_another() -> None:
    lanes: Lanes[str, Lane] = Lanes(lambda key: lane(key, queue=0), most=10)
    async with lanes.of("slow").turn(soon(), nothing):
        with pytest.raises(UpstreamError, match="slow"):
            await _pass(lanes.of("slow"))
        await _pass(lanes.of("other"))


async def test_lanes_are_bounded_and_forget_none_in_use() -> None:
    lanes: Lanes[object, Lane] = Lanes(lambda _key: lane(queue=0), most=2)
    busy = lanes.of("busy")
    async with busy.turn(soon(), nothing):
        for number in range(50):
            lanes.of(number)
        assert len(lanes._lanes) <= 2
        assert lanes.of("busy") is busy
    for number in range(50):
        lanes.of(number)
    assert lanes.of("busy") is not busy
