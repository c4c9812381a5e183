"""Replicas that are about to make the same call: one of them does, and none waits for long."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.store import replicas
from app.store.replicas import ComeAgain, Found, Replicas, ReplicaWait
from app.store.sealing import Kind, Opened
from tests.support.ports import SharedStore, Time
from tests.support.virtual_time import run_in_virtual_time

KEY = b"key"
PATIENCE = 0.5


def virtual(scene: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def test() -> None:
        run_in_virtual_time(scene())

    test.__doc__ = scene.__doc__
    return test


def read(opened: Opened) -> bytes | None:
    return opened.payload or None


def shared(store: SharedStore) -> Replicas[bytes]:
    return Replicas(store, "identity", PATIENCE)


async def wait_for(replica: Replicas[bytes], wait: ReplicaWait) -> bytes | None:
    """Ask as `app.calls.call_queue` does."""
    while (result := await replica.ask(KEY, read, wait)) is not None:
        if isinstance(result, Found):
            answer: bytes = result.answer
            return answer
        await asyncio.sleep(result.seconds)
    return None


async def test_an_answer_that_another_replica_left_is_found() -> None:
    store = SharedStore(Time())
    store.put("identity", KEY, b"answer", 60)
    assert await shared(store).look(KEY, read) == b"answer"
    assert await shared(store).ask(KEY, read, ReplicaWait(PATIENCE)) == Found(b"answer")


async def test_a_record_that_cannot_be_read_is_no_answer() -> None:
    store = SharedStore(Time())
    store.put("identity", KEY, b"", 60)
    assert await shared(store).look(KEY, read) is None
    assert await shared(store).ask(KEY, read, ReplicaWait(PATIENCE)) is None


@virtual
async def test_one_replica_claims_and_the_other_waits_for_its_answer() -> None:
    store = SharedStore(Time())
    first, second = ReplicaWait(PATIENCE), ReplicaWait(PATIENCE)
    assert await shared(store).ask(KEY, read, first) is None
    waiting = asyncio.create_task(wait_for(shared(store), second))
    await asyncio.sleep(0.1)
    shared(store).share(KEY, b"answer", 60, first)
    assert await waiting == b"answer"
    shared(store).give_up_claim(KEY, second)
    assert len(store.claims) == 1, "a claim ends by itself where there is an answer, and only its owner gives it up"


@virtual
async def test_where_the_first_replica_fails_the_other_makes_the_call() -> None:
    store = SharedStore(Time())
    first, second = ReplicaWait(PATIENCE), ReplicaWait(PATIENCE)
    await shared(store).ask(KEY, read, first)
    waiting = asyncio.create_task(wait_for(shared(store), second))
    await asyncio.sleep(0.05)
    shared(store).give_up_claim(KEY, first)
    assert await waiting is None
    assert second.is_claimed
    shared(store).give_up_claim(KEY, second)
    assert store.claims == set()


@virtual
async def test_a_claim_that_nobody_keeps_is_waited_for_no_longer_than_the_patience() -> None:
    """Of a replica that died with it, or of somebody else who can write to the store."""
    store = SharedStore(Time())
    await store.claim("identity", KEY, 60)
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await wait_for(shared(store), ReplicaWait(PATIENCE)) is None
    assert 0.5 * PATIENCE <= clock() - began <= PATIENCE + 1e-6


@dataclass
class FarAway(SharedStore):
    """A store whose every answer takes 30 ms. Each call is claimed there, and the budgets give one wait after the other."""

    waits: list[float] = field(default_factory=list)

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        await asyncio.sleep(0.03)
        return await super().get(kind, key)

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - the port's parameters
        await asyncio.sleep(0.03)
        return False

    async def take(self, budget: str, rate: float, burst: float) -> float:  # noqa: ARG002 - likewise
        await asyncio.sleep(0.03)
        return self.waits.pop(0)


@virtual
async def test_the_time_that_the_store_takes_counts() -> None:
    store, wait = FarAway(Time(), waits=[2.0]), ReplicaWait(PATIENCE)
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await wait_for(shared(store), wait) is None
    await asyncio.sleep(await shared(store).take_turn("b", 1.0, 1.0, wait))
    assert clock() - began <= PATIENCE + 0.1


@virtual
async def test_a_shared_budget_that_uses_up_the_patience_is_not_asked_for_a_while() -> None:
    """ADR 12: where nobody has a turn nothing is spent, so the budget would be whole again."""
    replica = shared(FarAway(Time(), waits=[0.1, 2.0, 0.2]))
    assert await replica.take_turn("b", 1.0, 1.0, ReplicaWait(PATIENCE)) == 0.1
    assert await replica.take_turn("b", 1.0, 1.0, ReplicaWait(PATIENCE)) == pytest.approx(PATIENCE - 0.03)
    for _ in range(5):
        assert await replica.take_turn("b", 1.0, 1.0, ReplicaWait(PATIENCE)) == 0.0
    await asyncio.sleep(replicas.DISBELIEVED_SECONDS)
    assert await replica.take_turn("b", 1.0, 1.0, ReplicaWait(PATIENCE)) == 0.2


async def test_the_next_look_comes_after_twice_the_pause() -> None:
    store, wait = SharedStore(Time()), ReplicaWait(100.0)
    await store.claim("identity", KEY, 60)
    results = [await shared(store).ask(KEY, read, wait) for _ in range(6)]
    pauses = [result.seconds for result in results if isinstance(result, ComeAgain)]
    assert pauses == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.25, 0.25])
