"""The waiting places of each account in the queue."""

import pytest

from app.api.authenticate import MAX_DECISIONS
from app.calls.waiting_places import MAX_WAITING, MAX_WAITING_NEW, WaitingPlaces


def take(places: WaitingPlaces, account: str, *, is_new: bool) -> int:
    """Take as many places as one account can get."""
    taken = 0
    while places.enter(account, is_new=is_new):
        taken += 1
    return taken


def test_one_account_takes_two_thirds_of_the_places_and_leaves_the_others() -> None:
    places = WaitingPlaces(90, 60)
    assert take(places, "a", is_new=False) == 60
    assert take(places, "b", is_new=False) == 20
    assert places.enter("c", is_new=False)


@pytest.mark.parametrize("accounts", [1, 2, 5, 20])
def test_accounts_that_take_all_they_can_leave_a_share_to_the_next_one(accounts: int) -> None:
    places = WaitingPlaces(1_000, 1_000)
    for _ in range(1_000):
        for number in range(accounts):
            places.enter(number, is_new=True)
    assert take(places, "next", is_new=True) >= 1_000 // (2 * accounts + 1) // 2


def test_new_decisions_leave_places_to_known_ones() -> None:
    places = WaitingPlaces(100, 60)
    for number in range(50):
        take(places, f"account-{number}", is_new=True)
    assert take(places, "known", is_new=False) >= 25


def test_a_place_that_is_given_back_can_be_taken_again() -> None:
    places = WaitingPlaces(6, 6)
    for is_new in (True, False):
        for _ in range(10):
            assert take(places, "a", is_new=is_new) == 4
            for _ in range(4):
                places.leave("a", is_new=is_new)


def test_decisions_that_wait_never_take_the_last_place_of_those_that_need_not() -> None:
    assert MAX_WAITING < MAX_DECISIONS
    assert MAX_WAITING_NEW < MAX_WAITING
