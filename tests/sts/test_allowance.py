"""An account whose new keys are rejected gets a short queue, and one whose new keys are real gets a full one."""

from collections.abc import Hashable

import pytest

from app.limits.rate_limiter import RateLimiter
from app.sts.allowance import MAX_RESTRICTED, MIN_ALLOWED, Allowances
from tests.support.ports import Time

MOST = 32_768


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def allowances(time: Time) -> Allowances:
    return new_allowances(time)


def new_allowances(time: Time, most: int = MOST) -> Allowances:
    return Allowances(most, RateLimiter(10, burst=1, timer=time.timer))


def may_wait(allowances: Allowances, owner: Hashable, most: int = MOST) -> int:
    """Return how many calls of an owner may wait."""
    return next((waiting for waiting in range(most) if not allowances.has_room(owner, waiting)), most)


def test_everybody_may_have_the_whole_queue_at_first(allowances: Allowances) -> None:
    assert may_wait(allowances, "a") == MOST
    assert not allowances


def test_rejected_keys_leave_a_short_queue_and_no_shorter_one(allowances: Allowances) -> None:
    for _ in range(100):
        allowances.rejected("a")
    assert may_wait(allowances, "a") == MIN_ALLOWED
    assert may_wait(allowances, "b") == MOST
    assert allowances


def test_a_few_rejected_keys_in_a_storm_change_next_to_nothing(allowances: Allowances) -> None:
    for number in range(10_000):
        if number % 20:
            allowances.vouched("a")
        else:
            allowances.rejected("a")
    assert may_wait(allowances, "a") > MOST * 0.9


def test_vouched_keys_open_it_again(allowances: Allowances) -> None:
    for _ in range(100):
        allowances.rejected("a")
    for _ in range(100):
        allowances.vouched("a")
    assert may_wait(allowances, "a") == MOST
    assert not allowances


def test_a_flood_beside_a_few_real_tasks_is_kept_short(allowances: Allowances) -> None:
    """One call in twenty is real; it would wait because of the others."""
    for number in range(2_000):
        if number % 20:
            allowances.rejected("a")
        else:
            allowances.vouched("a")
    assert may_wait(allowances, "a") < MIN_ALLOWED * 2


def test_owners_with_the_shortest_queue_share_a_pace(time: Time, allowances: Allowances) -> None:
    for owner in ("a", "b"):
        for _ in range(100):
            allowances.rejected(owner)
        assert allowances.has_room(owner, 0)
    allowances.added("a")
    assert not allowances.has_room("a", 0)
    assert not allowances.has_room("b", 0)
    assert allowances.has_room("c", 0)
    time.passed = 0.1
    assert allowances.has_room("b", 0)


def test_other_owners_have_no_pace(allowances: Allowances) -> None:
    allowances.rejected("a")
    for owner in ("a", "b"):
        for _ in range(100):
            assert allowances.has_room(owner, 0)
            allowances.added(owner)


def test_a_queue_that_is_shorter_than_the_least_keeps_its_length(time: Time) -> None:
    allowances = new_allowances(time, 10)
    allowances.rejected("a")
    assert may_wait(allowances, "a", 10) == 10


def test_it_remembers_a_bounded_number_of_owners(allowances: Allowances) -> None:
    for owner in range(MAX_RESTRICTED + 1):
        allowances.rejected(owner)
    assert may_wait(allowances, 0) == MOST
    assert may_wait(allowances, 1) < MOST
