"""A bounded mapping whose entries expire individually."""

from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.limits.ttl_cache import TtlCache


class Clock:
    passed = 0.0

    def __call__(self) -> float:
        return self.passed


def test_an_entry_lives_as_long_as_it_was_put_for() -> None:
    clock = Clock()
    store: TtlCache[str] = TtlCache(10, clock)
    store.put("short", "a", 10)
    store.put("long", "b", 20)
    clock.passed = 9.999
    assert (store.get("short"), store.get("long")) == ("a", "b")
    clock.passed = 10
    assert (store.get("short"), store.get("long")) == (None, "b")


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_what_has_no_time_left_is_not_put_and_takes_the_place_of_nothing_older(seconds: float) -> None:
    store: TtlCache[str] = TtlCache(10, Clock())
    store.put("key", "older", 10)
    store.put("key", "value", seconds)
    assert store.get("key") is None
    assert len(store) == 0


def test_it_is_bounded_and_forgets_what_was_not_used() -> None:
    store: TtlCache[int] = TtlCache(2, Clock())
    store.put("a", 1, 60)
    store.put("b", 2, 60)
    assert store.get("a") == 1
    store.put("c", 3, 60)
    assert (store.get("a"), store.get("b"), store.get("c")) == (1, None, 3)
    assert len(store) == 2


def test_an_expired_entry_goes_before_a_live_one_that_was_used_longer_ago() -> None:
    clock = Clock()
    store: TtlCache[int] = TtlCache(2, clock)
    store.put("live", 1, 60)
    store.put("brief", 2, 1)
    clock.passed = 2
    store.put("new", 3, 60)
    assert (store.get("live"), store.get("brief"), store.get("new")) == (1, None, 3)


def test_an_owner_with_its_share_or_more_evicts_its_own_entries() -> None:
    store: TtlCache[int] = TtlCache(4, Clock())
    for number in range(2):
        store.put(f"other {number}", number, 60, owner="other")
    for number in range(10):
        store.put(f"greedy {number}", number, 60, owner="greedy")
    assert sorted(map(str, store)) == ["greedy 8", "greedy 9", "other 0", "other 1"]


def test_an_owner_with_less_than_its_share_evicts_the_entries_of_the_one_that_holds_most() -> None:
    store: TtlCache[int] = TtlCache(4, Clock())
    for number in range(4):
        store.put(f"greedy {number}", number, 60, owner="greedy")
    for number in range(10):
        store.put(f"late {number}", number, 60, owner="late")
    assert sorted(map(str, store)) == ["greedy 2", "greedy 3", "late 8", "late 9"]


def test_an_owner_is_bounded_beside_the_whole() -> None:
    store: TtlCache[int] = TtlCache(10, Clock(), most_of_one=2)
    for number in range(5):
        store.put(f"a {number}", number, 60, owner="a")
        store.put(f"b {number}", number, 60, owner="b")
    assert sorted(map(str, store)) == ["a 3", "a 4", "b 3", "b 4"]


def test_an_entry_that_changes_its_owner_is_one_entry() -> None:
    store: TtlCache[int] = TtlCache(2, Clock())
    store.put("key", 1, 60, owner="a")
    store.put("key", 2, 60, owner="b")
    store.put("another", 3, 60, owner="a")
    assert (len(store), store.get("key"), store.get("another")) == (2, 2, 3)


def test_dropping_what_is_not_there_is_nothing() -> None:
    store: TtlCache[int] = TtlCache(2, Clock())
    store.drop("a")
    store.put("a", 1, 60)
    store.drop("a")
    assert store.get("a") is None


class Model(RuleBasedStateMachine):
    """Compare with a plain model: no entry is returned that expired, was dropped, or belongs to another key."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store: TtlCache[int] = TtlCache(4, self.clock)
        self.put: OrderedDict[int, tuple[int, float]] = OrderedDict()
        self.number = 0

    @rule(key=st.integers(0, 6), seconds=st.integers(-1, 5), owner=st.sampled_from("abc"))
    def remember(self, key: int, seconds: int, owner: str) -> None:
        self.number += 1
        self.store.put(key, self.number, seconds, owner=owner)
        self.put[key] = (self.number, self.clock.passed + seconds)

    @rule(key=st.integers(0, 6))
    def drop(self, key: int) -> None:
        self.store.drop(key)
        self.put.pop(key, None)

    @rule(key=st.integers(0, 6))
    def recall(self, key: int) -> None:
        found = self.store.get(key)
        expected: tuple[Any, float] = self.put.get(key, (None, 0.0))
        assert found is None or (found == expected[0] and self.clock.passed < expected[1])

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.passed += seconds

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.store) <= 4


TestModel = Model.TestCase
