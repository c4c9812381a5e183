"""How many are let in at once, and what becomes of the others."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.adapters.limits import Gate, Gates
from app.errors import UpstreamError
from app.reasons import Reason


def soon() -> float:
    return asyncio.get_running_loop().time() + 60


def past() -> float:
    return asyncio.get_running_loop().time() - 1


async def refused(gate: Gate, deadline: float) -> str:
    with pytest.raises(UpstreamError) as raised:
        async with gate.slot(deadline):
            raise AssertionError("it was let in")
    assert raised.value.reason is Reason.OVERLOADED
    return raised.value.detail


async def test_a_gate_lets_so_many_in_and_the_next_when_one_leaves() -> None:
    gate = Gate("x", at_once=2, queue=1)
    inside = asyncio.Event()

    async def third() -> None:
        async with gate.slot(soon()):
            inside.set()

    async with AsyncExitStack() as two:
        await two.enter_async_context(gate.slot(soon()))
        await two.enter_async_context(gate.slot(soon()))
        waiting = asyncio.create_task(third())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not inside.is_set()
    await waiting
    assert inside.is_set()
    assert gate.idle


async def test_a_full_queue_turns_away_at_once() -> None:
    gate = Gate("x", at_once=1, queue=0)
    async with gate.slot(soon()):
        assert "full" in await refused(gate, soon())


async def test_who_waits_leaves_at_its_deadline_and_leaves_its_place_to_others() -> None:
    gate = Gate("x", at_once=1, queue=1)
    async with gate.slot(soon()):
        for _ in range(3):
            assert "deadline" in await refused(gate, past())
    async with gate.slot(soon()):
        pass


async def test_a_cancelled_waiter_takes_no_slot_with_it() -> None:
    """I19: cancellation of one waiter harms no other."""
    gate = Gate("x", at_once=1, queue=5)

    async def wait() -> None:
        async with gate.slot(soon()):
            pass

    async with gate.slot(soon()):
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        first.cancel()
    await second
    assert gate.idle


async def test_one_key_does_not_starve_another() -> None:
    gates = Gates("IAM in", at_once=1, queue=0, most=10)
    async with gates.of("slow").slot(soon()):
        assert "slow" in await refused(gates.of("slow"), soon())
        async with gates.of("other").slot(soon()):
            pass


async def test_gates_are_bounded_and_forget_none_in_use() -> None:
    gates = Gates("x", at_once=1, queue=0, most=2)
    async with gates.of("busy").slot(soon()):
        for number in range(50):
            gates.of(number)
        assert len(gates._gates) <= 3
        assert "full" in await refused(gates.of("busy"), soon())
