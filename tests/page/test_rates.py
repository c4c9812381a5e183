"""How often something occurred in the last minutes."""

import pytest

from app.page.rates import MAX_MINUTES, Rates


class Clock:
    now = 30.0

    def __call__(self) -> float:
        return self.now


def test_a_window_has_the_present_minute_and_those_before_it() -> None:
    clock = Clock()
    rates = Rates(clock)
    for now, kind in ((30.0, "a"), (65.0, "a"), (65.0, "b"), (299.0, "a"), (300.0, "b")):
        clock.now = now
        rates.count(kind)
    assert rates.within(5).counts == {"a": 2, "b": 2}
    assert rates.within(60).counts == {"a": 3, "b": 2}


@pytest.mark.parametrize(("now", "minutes", "seconds"), [(90.0, 5, 60.0), (400.0, 5, 280.0), (400.0, 60, 370.0)])
def test_a_window_is_no_longer_than_the_count(now: float, minutes: int, seconds: float) -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.count("a")
    clock.now = now
    assert rates.within(minutes).seconds == seconds
    assert rates.within(60).a_minute("a") == pytest.approx(60 / (now - 30))
    assert rates.within(60).a_minute("other") == 0


def test_no_more_minutes_are_kept_than_a_window_can_have() -> None:
    clock = Clock()
    rates = Rates(clock)
    for minute in range(3 * MAX_MINUTES):
        clock.now = minute * 60.0
        rates.count("a")
    assert rates.within(1000).counts["a"] == MAX_MINUTES
