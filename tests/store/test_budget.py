"""Replicas share one budget of calls. A writer to the store can delay a call only by a bounded time."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.store.budget import MAX_WAIT_SECONDS, read_wait, script_arguments
from tests.support.redis_server import RedisServer, redis_on_socket
from tests.support.shared_store import OTHER_SECRET, SECRET, Clocks, Intruder, Replica, intruder, replica

# So slow that no allowance returns within a test, however long the test takes.
RATE = 0.001
TURN = 1 / RATE
NAME = "sts 111122223333 eu-west-1"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_on_socket() as running:
        yield running


@pytest.fixture
def writer(server: RedisServer) -> Iterator[Intruder]:
    with intruder(server) as somebody:
        yield somebody


@pytest.fixture
async def one(tmp_path: Path, server: RedisServer) -> AsyncIterator[Replica]:
    async with replica(tmp_path, server.address, Clocks()) as running:
        yield running


@pytest.fixture
async def another(tmp_path: Path, server: RedisServer) -> AsyncIterator[Replica]:
    async with replica(tmp_path, server.address, Clocks()) as running:
        yield running


async def test_replicas_spend_from_one_budget(one: Replica, another: Replica) -> None:
    assert await one.store.take(NAME, RATE, 2) == 0.0
    assert await another.store.take(NAME, RATE, 2) == 0.0
    assert await one.store.take(NAME, RATE, 2) > 0.0
    assert await another.store.take(NAME, RATE, 2) > 0.0
    assert one.counted("take") == {"done": 2}


async def test_however_many_ask_at_once_no_more_go_out_than_there_are_turns(one: Replica, another: Replica) -> None:
    waits = await asyncio.gather(*(each.store.take(NAME, RATE, 30) for _ in range(50) for each in (one, another)))
    assert waits.count(0.0) == 30


async def test_a_turn_that_is_near_is_kept(one: Replica, writer: Intruder) -> None:
    """The next caller has to wait for the turn after it."""
    rate = 1 / MAX_WAIT_SECONDS
    await one.store.take(NAME, rate, 1)
    name = writer.only_name()
    before = int(writer.read(name))
    wait = await one.store.take(NAME, rate, 1)
    assert wait <= MAX_WAIT_SECONDS
    assert int(writer.read(name)) - before >= MAX_WAIT_SECONDS * 10**6


async def test_budgets_are_apart(one: Replica) -> None:
    assert await one.store.take(NAME, RATE, 1) == 0.0
    assert await one.store.take(f"{NAME}2", RATE, 1) == 0.0


async def test_no_turn_is_kept_that_is_further_away_than_the_most(one: Replica, writer: Intruder) -> None:
    """So failed reservations of a queue do not delay the next available turn."""
    assert await one.store.take(NAME, RATE, 1) == 0.0
    kept = writer.read(writer.only_name())
    for _ in range(5):
        assert await one.store.take(NAME, RATE, 1) == MAX_WAIT_SECONDS
    assert writer.read(writer.only_name()) == kept


async def test_a_budget_that_is_whole_again_is_forgotten(one: Replica, writer: Intruder) -> None:
    await one.store.take(NAME, RATE, 5)
    left = writer.client.pttl(writer.only_name())
    assert isinstance(left, int)
    assert 0 < left <= TURN * 1000 + 2


async def test_the_script_is_sent_again_where_the_store_has_forgotten_it(one: Replica, writer: Intruder) -> None:
    assert await one.store.take(NAME, RATE, 1) == 0.0
    writer.client.script_flush()
    assert await one.store.take(NAME, RATE, 1) > 0.0
    assert one.counted("take") == {"done": 2}


async def test_a_budget_is_one_while_keys_are_exchanged(tmp_path: Path, server: RedisServer) -> None:
    """Two replicas with at least one common key share one of the two names of the budget."""
    for first, second in [
        ((SECRET,), (SECRET, OTHER_SECRET)),
        ((SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET)),
        ((OTHER_SECRET, SECRET), (OTHER_SECRET,)),
    ]:
        budget = f"{NAME} {first!r}"
        async with (
            replica(tmp_path, server.address, Clocks(), secrets=first) as before,
            replica(tmp_path, server.address, Clocks(), secrets=second) as after,
        ):
            assert await before.store.take(budget, RATE, 1) == 0.0
            assert await after.store.take(budget, RATE, 1) > 0.0


HOSTILE = [
    b"",
    b"x",
    b"nan",
    b"-nan",
    b"inf",
    b"-inf",
    b"1e400",
    b"-1e400",
    b"0",
    b"-1",
    b"9" * 400,
    b"0x7fffffffffffffff",
    b"9007199254740993",
    b"1 ",
    b"\0",
    b"x" * 10_000_000,
]


@pytest.mark.parametrize("content", HOSTILE, ids=[repr(content[:20]) for content in HOSTILE])
async def test_whatever_stands_in_a_budget_the_wait_is_bounded_and_it_mends(
    one: Replica, writer: Intruder, content: bytes
) -> None:
    await one.store.take(NAME, RATE, 1)
    name = writer.only_name()
    writer.client.set(name, content)
    assert 0.0 <= await one.store.take(NAME, RATE, 1) <= MAX_WAIT_SECONDS
    assert await one.store.take(NAME, RATE, 1) > 0.0
    assert writer.read(name).isdigit()


async def test_a_budget_far_ahead_delays_nobody(one: Replica, writer: Intruder) -> None:
    await one.store.take(NAME, RATE, 1)
    writer.client.set(writer.only_name(), b"9" * 18)
    assert await one.store.take(NAME, RATE, 1) == 0.0


async def test_a_budget_just_within_what_is_believed_delays_by_the_most(one: Replica, writer: Intruder) -> None:
    await one.store.take(NAME, RATE, 1)
    seconds, microseconds = writer.client.time()
    ahead = seconds * 10**6 + microseconds + round((MAX_WAIT_SECONDS + TURN) * 10**6)
    writer.client.set(writer.only_name(), ahead)
    assert await one.store.take(NAME, RATE, 1) == MAX_WAIT_SECONDS


@pytest.mark.parametrize("command", ["LPUSH", "SADD", "HSET"])
async def test_a_budget_of_another_type_mends(one: Replica, writer: Intruder, command: str) -> None:
    await one.store.take(NAME, RATE, 1)
    name = writer.only_name()
    writer.client.delete(name)
    writer.run(command, name, "x", *(["y"] if command == "HSET" else []))
    assert await one.store.take(NAME, RATE, 1) == 0.0
    assert await one.store.take(NAME, RATE, 1) > 0.0


# What is sent, and which answers are trusted.


@pytest.mark.parametrize(
    ("rate", "burst", "arguments"),
    [
        (1, 1, (1_000_000, 1_000_000, 2_000_000)),
        (500, 50, (2000, 100_000, 2_000_000)),
        (8, 1.5, (125_000, 187_500, 2_000_000)),
        (1e9, 1, (1, 1, 2_000_000)),
    ],
)
def test_the_script_gets_whole_microseconds(rate: float, burst: float, arguments: tuple[int, int, int]) -> None:
    assert script_arguments(rate, burst) == arguments


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(0, 1), (-1, 1), (1, 0.5), (math.inf, 1), (math.nan, 1), (1, math.inf), (1, math.nan)],
)
def test_what_is_no_budget_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="rate over zero"):
        script_arguments(rate, burst)


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (0, 0.0),
        (1_500_000, 1.5),
        (2_000_000, MAX_WAIT_SECONDS),
        (2_000_001, MAX_WAIT_SECONDS),
        (10**30, MAX_WAIT_SECONDS),
        (-1, 0.0),
        (-(10**30), 0.0),
        (b"1500000", None),
        (b"nan", None),
        ([1_500_000], None),
        (1.5, None),
        (math.inf, None),
        (None, None),
    ],
)
def test_a_wait_is_bounded_whatever_the_store_says(reply: object, wait: float | None) -> None:
    assert read_wait(reply) == wait
