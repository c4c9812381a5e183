"""How many are let in at once, and what becomes of the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.adapters import limits
from app.adapters.limits import Gate, Lane, Lanes, LocalBudget, retry_seconds
from app.adapters.pacing import Pace
from app.errors import UpstreamError
from app.reasons import Reason


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
    others = Others([1.5])
    with pytest.raises(UpstreamError) as raised:
        async with lane("STS (1, r)", rate=7.0, shared=others).turn(asyncio.get_running_loop().time() + 1, nothing):
            raise AssertionError("it was let in")
    assert raised.value.reason is Reason.OVERLOADED
    assert others.asked == [("STS (1, r)", 7.0, 1.0)]


async def test_a_shared_budget_is_that_of_the_setting_whatever_aws_throttles() -> None:
    """Replicas that name different rates would undo each other's budget."""
    others = Others([0.0])
    road = lane(rate=7.0, shared=others)
    road.pace.throttled()
    await _pass(road)
    assert others.asked == [("x", 7.0, 1.0)]


async def test_the_longest_wait_means_that_no_turn_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WAIT_SECONDS", 0.02)
    others = Others([0.02, 0.02, 0.01])
    await _pass(lane(shared=others))
    assert len(others.asked) == 3


async def test_a_shared_budget_that_never_keeps_a_turn_does_not_hold_anybody_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever can write to the store can say so; then our own pace counts."""
    monkeypatch.setattr(limits, "MAX_WAIT_SECONDS", 0.01)
    others = Others([0.01] * 100)
    await _pass(lane(shared=others))
    assert len(others.asked) == limits.MAX_SHARED_WAITS


async def test_a_shared_budget_never_shortens_the_wait() -> None:
    road = lane(rate=0.01, shared=Others([0.0, 0.0]))
    await _pass(road)
    with pytest.raises(UpstreamError):
        await _pass(road)


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, 1), (0.9, 1), (2.9, 2), (29.0, 29), (1e9, 30)])
def test_retry_after_is_whole_seconds_within_bounds(wait: float, seconds: int) -> None:
    assert retry_seconds(wait) == seconds


async def test_one_key_does_not_starve_another() -> None:
    lanes: Lanes[str] = Lanes(lambda key: lane(key, queue=0), most=10)
    async with lanes.of("slow").turn(soon(), nothing):
        with pytest.raises(UpstreamError, match="slow"):
            await _pass(lanes.of("slow"))
        await _pass(lanes.of("other"))


async def test_lanes_are_bounded_and_forget_none_in_use() -> None:
    lanes: Lanes[object] = Lanes(lambda _key: lane(queue=0), most=2)
    busy = lanes.of("busy")
    async with busy.turn(soon(), nothing):
        for number in range(50):
            lanes.of(number)
        assert len(lanes._lanes) <= 2
        assert lanes.of("busy") is busy
    for number in range(50):
        lanes.of(number)
    assert lanes.of("busy") is not busy
