"""What replicas share about credentials."""

import asyncio
from dataclasses import dataclass

import pytest

from app.core.errors import (
    AuthError,
)
from app.store.sealing import Kind, Opened
from app.sts.upstream import request_digest
from tests.support.ports import SharedStore, Sts, Time, new_trail
from tests.support.signing import judge
from tests.support.sts_caller import ACCOUNT, DENIALS, ERRORS, LIFETIME, RECIPE, STRANGER, Caller, renewed
from tests.support.upstreams import settle
from tests.support.virtual_time import run_in_virtual_time


@pytest.fixture
def time() -> Time:
    return Time()


async def test_what_one_replica_was_answered_another_knows(time: Time) -> None:
    store, first, second = SharedStore(time), Sts(), Sts()
    identity = await Caller(first, time, store=store).ask()
    trail, other = new_trail(), Caller(second, time, store=store)
    assert await other.ask(trail=trail) == identity
    assert (trail.sts.cache, trail.sts.request_id) == ("shared", "sts-1")
    await other.ask()
    assert (first.asked, second.asked) == (1, 0)
    # The next credential of this key must not wait among those with invented key ids (I20).
    assert other.keys.account_of(RECIPE.access_key_id) == ACCOUNT


async def test_what_came_out_of_the_store_ends_with_the_signature_and_is_not_put_there_again(time: Time) -> None:
    """I17: otherwise its life would start again each time that a replica starts."""
    store = SharedStore(time)
    await Caller(Sts(), time, store=store).ask()
    [written] = store.records.values()
    time.passed = 100.0
    other = Caller(Sts(), time, store=store)
    await other.ask()
    assert list(store.records.values()) == [written]
    time.passed = LIFETIME
    await other.ask()
    assert other.sts.asked == 1


async def test_no_denial_and_no_stranger_is_shared(time: Time) -> None:
    store = SharedStore(time)
    await Caller(Sts(error=DENIALS[0]), time, store=store).refused()
    await Caller(Sts(account=STRANGER), time, store=store).ask()
    assert store.records == {}


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"account":"999999999999"}', b"\xff", b"null"],
    ids=["empty", "object", "part", "bytes", "null"],
)
async def test_a_record_that_is_none_is_asked_about(time: Time, payload: bytes) -> None:
    store, trail = SharedStore(time), new_trail()
    store.put("identity", request_digest(judge(RECIPE.credential())), payload, 900)
    caller = Caller(Sts(), time, store=store)
    await caller.ask(trail=trail)
    assert (caller.sts.asked, trail.sts.cache) == (1, "miss")


async def test_another_credential_takes_nothing_out_of_the_store(time: Time) -> None:
    """I16, I19."""
    store = SharedStore(time)
    await Caller(Sts(), time, store=store).ask()
    other = Caller(Sts(), time, store=store)
    await other.ask(renewed(0))
    assert other.sts.asked == 1


async def test_one_credential_at_two_replicas_at_the_same_time_is_one_call(time: Time) -> None:
    store = SharedStore(time)
    sides = [Sts(released=asyncio.Event()), Sts(released=asyncio.Event())]
    trails = [new_trail(), new_trail()]
    tasks = [
        asyncio.create_task(Caller(sts, time, store=store).ask(trail=trail))
        for sts, trail in zip(sides, trails, strict=True)
    ]
    await settle()
    for sts in sides:
        assert sts.released is not None
        sts.released.set()
    one, other = await asyncio.gather(*tasks)
    assert one == other
    assert sorted(sts.asked for sts in sides) == [0, 1]
    assert sorted(trail.sts.cache for trail in trails) == ["miss", "shared"]


@pytest.mark.parametrize("error", [DENIALS[0], ERRORS[1]], ids=["denial", "outage"])
async def test_a_failure_is_each_replicas_own_and_keeps_no_claim(time: Time, error: AuthError) -> None:
    """I18."""
    store, first, second = SharedStore(time), Sts(error=error), Sts()
    await Caller(first, time, store=store).refused()
    assert (store.claims, store.records) == (set(), {})
    await Caller(second, time, store=store).ask()
    assert (first.asked, second.asked) == (1, 1)


@dataclass
class Intruded(SharedStore):
    """A store that answers after a moment. Each call is claimed, and each budget is spent."""

    seconds: float = 0.03
    wait: float = 0.0
    is_claimed: bool = True

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        await asyncio.sleep(self.seconds)
        return await super().get(kind, key)

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - the port's parameters
        await asyncio.sleep(self.seconds)
        return not self.is_claimed

    async def take(self, budget: str, rate: float, burst: float) -> float:  # noqa: ARG002 - likewise
        await asyncio.sleep(self.seconds)
        return self.wait


@pytest.mark.parametrize(
    ("wait", "is_claimed"), [(0.0, True), (2.0, False), (1.9, True)], ids=["claims", "budgets", "both"]
)
def test_whoever_writes_to_the_store_delays_a_call_by_its_patience_and_no_more(
    wait: float, *, is_claimed: bool
) -> None:
    """ADR 12: all of them at the same time, and without a place in the queue."""

    async def scene() -> None:
        time = Time()
        caller = Caller(Sts(), time, store=Intruded(time, wait=wait, is_claimed=is_claimed), rate=1000.0)
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.gather(*(caller.ask(renewed(number)) for number in range(300)))
        assert clock() - began < 0.5 + 1.0
        assert caller.sts.asked == 300

    run_in_virtual_time(scene())
