"""A budget of calls per second: spaced, with a small burst, and slower while AWS throttles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.rate_limiter import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_calls_of_a_burst_go_out_at_once_and_the_others_evenly_behind_them() -> None:
    pace = RateLimiter(10, burst=3, timer=Clock())
    assert [round(pace.reserve(), 6) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]


def test_a_pause_saves_up_no_more_than_the_burst() -> None:
    clock = Clock()
    pace = RateLimiter(10, burst=2, timer=clock)
    pace.reserve()
    clock.now += 3600
    assert [round(pace.reserve(), 6) for _ in range(4)] == [0, 0, 0.1, 0.2]


def test_wait_says_what_the_next_turn_will_and_takes_none() -> None:
    pace = RateLimiter(10, burst=1, timer=Clock())
    assert pace.wait() == 0
    pace.reserve()
    assert pace.wait() == pace.wait() == pytest.approx(0.1)
    assert pace.reserve() == pytest.approx(0.1)


def test_throttling_halves_the_rate_and_saves_nothing_up() -> None:
    clock = Clock()
    pace = RateLimiter(10, burst=5, timer=clock)
    pace.throttled()
    assert pace.rate == pytest.approx(5)
    assert [round(pace.reserve(), 6) for _ in range(3)] == [0, 0.2, 0.4]


def test_a_budget_that_is_held_gives_no_turn_until_then() -> None:
    clock = Clock()
    pace = RateLimiter(10, burst=1, timer=clock)
    pace.hold(2.0)
    pace.hold(1.0)
    assert pace.wait() == pytest.approx(2.0)
    clock.now += 2.0
    assert [round(pace.reserve(), 6) for _ in range(2)] == [0, 0.1]


def test_a_turn_that_is_given_back_is_the_next_ones() -> None:
    pace = RateLimiter(10, burst=1, timer=Clock())
    pace.reserve()
    pace.reserve()
    pace.give_back()
    assert pace.wait() == pytest.approx(0.1)


def test_answers_to_what_went_out_together_are_one_sign() -> None:
    pace = RateLimiter(10, burst=1, timer=Clock())
    for _ in range(20):
        pace.throttled()
    assert pace.rate == pytest.approx(5)


def test_throttling_that_goes_on_leaves_a_tenth_and_the_rest_comes_back_by_itself() -> None:
    clock = Clock()
    pace = RateLimiter(10, burst=1, timer=clock)
    for _ in range(20):
        pace.throttled()
        clock.now += 1.0
    assert pace.rate == pytest.approx(1, abs=0.6)
    clock.now += 18
    assert pace.rate == pytest.approx(10)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200), st.floats(1, 50), st.integers(1, 10))
def test_no_window_of_a_second_holds_more_than_the_rate_and_the_burst(
    pauses: list[float], rate: float, burst: int
) -> None:
    clock = Clock()
    pace = RateLimiter(rate, burst=burst, timer=clock)
    turns: list[float] = []
    for pause in pauses:
        clock.now += pause
        turns.append(clock.now + pace.reserve())
    for start in turns:
        assert sum(start <= turn < start + 1 for turn in turns) <= rate + burst + 1e-6
