"""Replicas that are about to make the same call: one makes it, and the others wait for a bounded time."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.store import replicas
from app.store.replicas import Replicas, SharedCall
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


def replicas_of(store: SharedStore, patience: float = PATIENCE) -> Replicas:
    return Replicas(store, "identity", patience=patience, rate=1.0, burst=1.0)


def call(replica: Replicas) -> SharedCall[bytes]:
    return SharedCall(replica, KEY, "b", read)


def shared(store: SharedStore) -> SharedCall[bytes]:
    """Return the call of another replica."""
    return call(replicas_of(store))


async def test_an_answer_that_another_replica_left_is_found() -> None:
    store = SharedStore(Time())
    store.put("identity", KEY, b"answer", 60)
    assert await shared(store).look() == b"answer"
    assert await shared(store).wait_for_answer() == b"answer"


async def test_a_record_that_cannot_be_read_is_no_answer() -> None:
    store = SharedStore(Time())
    store.put("identity", KEY, b"", 60)
    assert await shared(store).look() is None
    assert await shared(store).wait_for_answer() is None


async def test_of_a_call_without_a_key_replicas_share_the_budget_alone() -> None:
    store = SharedStore(Time())
    keyless: SharedCall[bytes] = SharedCall(replicas_of(store), None, "b", read)
    assert await keyless.look() is None
    assert await keyless.wait_for_answer() is None
    assert await keyless.take_turn() == 0.0
    keyless.share(b"answer", 60)
    await keyless.delete()
    keyless.give_up_claim()
    assert (store.records, store.claims) == ({}, set())


@virtual
async def test_one_replica_claims_and_the_other_waits_for_its_answer() -> None:
    store = SharedStore(Time())
    first, second = shared(store), shared(store)
    assert await first.wait_for_answer() is None
    waiting = asyncio.create_task(second.wait_for_answer())
    await asyncio.sleep(0.1)
    first.share(b"answer", 60)
    assert await waiting == b"answer"
    second.give_up_claim()
    assert len(store.claims) == 1, "a claim ends by itself where there is an answer, and only its owner gives it up"


@virtual
async def test_where_the_first_replica_fails_the_other_makes_the_call() -> None:
    store = SharedStore(Time())
    first, second = shared(store), shared(store)
    await first.wait_for_answer()
    waiting = asyncio.create_task(second.wait_for_answer())
    await asyncio.sleep(0.05)
    first.give_up_claim()
    assert await waiting is None
    assert second.is_claimed
    second.give_up_claim()
    assert store.claims == set()


@virtual
async def test_a_claim_that_nobody_keeps_is_waited_for_no_longer_than_the_patience() -> None:
    """The claim of a replica that ended, or of somebody else who can write to the store."""
    store = SharedStore(Time())
    await store.claim("identity", KEY, 60)
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await shared(store).wait_for_answer() is None
    assert 0.5 * PATIENCE <= clock() - began <= PATIENCE + 1e-6


@dataclass
class FarAway(SharedStore):
    """A store that answers after 30 ms. Each call is claimed, and the budgets return one wait after the other."""

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
    one = shared(FarAway(Time(), waits=[2.0]))
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await one.wait_for_answer() is None
    await asyncio.sleep(await one.take_turn())
    assert clock() - began <= PATIENCE + 0.1


@virtual
async def test_a_shared_budget_that_uses_up_the_patience_is_not_asked_for_a_while() -> None:
    """ADR 12: if no replica gets a turn, nothing is spent, and the budget would seem to be full again."""
    replica = replicas_of(FarAway(Time(), waits=[0.1, 2.0, 0.2]))
    assert await call(replica).take_turn() == 0.1
    assert await call(replica).take_turn() == pytest.approx(PATIENCE - 0.03)
    for _ in range(5):
        assert await call(replica).take_turn() == 0.0
    await asyncio.sleep(replicas.DISBELIEVED_SECONDS)
    assert await call(replica).take_turn() == 0.2


@virtual
async def test_the_next_look_comes_after_twice_the_pause() -> None:
    clock = asyncio.get_running_loop().time
    looks: list[float] = []

    class Noted(SharedStore):
        async def get(self, kind: Kind, key: bytes) -> Opened | None:
            looks.append(clock())
            return await super().get(kind, key)

    store = Noted(Time())
    await store.claim("identity", KEY, 60)
    waiting = asyncio.create_task(call(replicas_of(store, patience=100.0)).wait_for_answer())
    await asyncio.sleep(0.9)
    waiting.cancel()
    pauses = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert pauses == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.25, 0.25])
