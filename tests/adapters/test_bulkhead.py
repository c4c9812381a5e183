"""The places of decisions that wait, divided among accounts."""

import contextlib
from collections import Counter

import pytest
from app.adapters.bulkhead import MAX_WAITING_KNOWN, MAX_WAITING_UNKNOWN, Bulkhead, Share
from hypothesis import given
from hypothesis import strategies as st

from app.api.authenticate import MAX_DECISIONS
from app.errors import UpstreamError
from app.reasons import Reason


def fill(bulkhead: Bulkhead, account: str) -> int:
    """Take every place that an account can get; return how many those are."""
    for taken in range(10_000):
        try:
            bulkhead.enter(account)
        except UpstreamError:
            return taken
    raise AssertionError("there is no bound")


def test_one_account_takes_at_most_half_of_all_places() -> None:
    bulkhead = Bulkhead("x", 100)
    assert fill(bulkhead, "a") == 50
    assert fill(bulkhead, "b") == 25


@given(st.integers(1, 40))
def test_however_many_accounts_take_all_they_can_get_another_one_finds_a_place(accounts: int) -> None:
    bulkhead, held = Bulkhead("x", 2_000), Counter[str]()
    for turn in range(2_000):
        account = f"account {turn % accounts}"
        with contextlib.suppress(UpstreamError):
            bulkhead.enter(account)
            held[account] += 1
    assert max(held.values()) - min(held.values()) <= 1
    assert 2_000 - held.total() >= 2_000 // (accounts + 1) - accounts
    assert fill(bulkhead, "another") >= 1


def test_places_that_are_given_back_are_there_again() -> None:
    bulkhead = Bulkhead("x", 8)
    for _ in range(3):
        assert fill(bulkhead, "a") == 4
        for _ in range(4):
            bulkhead.leave("a")


def test_a_refusal_says_when_those_who_wait_have_had_their_turns() -> None:
    bulkhead = Bulkhead("x", 100)
    share = Share(bulkhead, "a", rate=10.0)
    assert fill(bulkhead, "a") == 50
    with pytest.raises(UpstreamError) as raised, share:
        raise AssertionError("it was let in")
    assert (raised.value.reason, raised.value.retry_after) == (Reason.OVERLOADED, 5)


def test_a_share_gives_its_place_back_whatever_happens() -> None:
    share = Share(Bulkhead("x", 2), "a")
    for _ in range(5):
        with pytest.raises(KeyError), share:
            raise KeyError
    with share:
        pass


def test_decisions_that_wait_never_take_the_last_place_of_all() -> None:
    """Those that are about to be refused need one as well, and those that STS has vouched for must find one."""
    assert MAX_WAITING_UNKNOWN <= MAX_DECISIONS / 2
    assert MAX_WAITING_UNKNOWN + MAX_WAITING_KNOWN < MAX_DECISIONS
