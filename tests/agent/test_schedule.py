"""When to renew, how long to wait and when to give up, for any times and random numbers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.schedule import (
    CREDENTIAL_SHARE,
    LAST_PAUSE_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    MIN_RENEWAL_SECONDS,
    NEAR_END_SECONDS,
    TOKEN_SHARE,
    believed_end,
    is_hopeless,
    near_end,
    renewal_at,
    retry_pause,
)
from app.tokens.claims import MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
FLOOR = timedelta(seconds=MIN_RENEWAL_SECONDS)
chances = st.floats(0, 1, exclude_max=True)
lives = st.timedeltas(timedelta(0), timedelta(days=1))
shares = st.sampled_from([CREDENTIAL_SHARE, TOKEN_SHARE])


@given(lives, shares, chances)
def test_a_renewal_comes_after_a_part_of_the_life_and_never_after_the_share(
    life: timedelta, share: float, chance: float
) -> None:
    waited = renewal_at(NOW, NOW + life, share, chance) - NOW
    one = timedelta(microseconds=1)
    assert life * share * 0.8 - one <= waited <= max(life * share, FLOOR) + one


@pytest.mark.parametrize(
    ("life", "share", "left"),
    [
        (timedelta(minutes=15), CREDENTIAL_SHARE, timedelta(minutes=10)),
        (timedelta(hours=1), TOKEN_SHARE, timedelta(minutes=20)),
    ],
)
def test_what_is_left_for_an_outage(life: timedelta, share: float, left: timedelta) -> None:
    assert NOW + life - renewal_at(NOW, NOW + life, share, 0.0) == left


def test_chance_spreads_the_renewals_of_one_deployment() -> None:
    """A thousand tasks that start together call the service over several minutes, not in the same second."""
    dues = [renewal_at(NOW, NOW + timedelta(hours=1), TOKEN_SHARE, number / 1000) for number in range(1000)]
    assert max(dues) - min(dues) > timedelta(minutes=7)


@given(st.timedeltas(timedelta(days=-1), timedelta(seconds=5)), shares, chances)
def test_what_has_all_but_ended_is_not_renewed_without_a_pause(left: timedelta, share: float, chance: float) -> None:
    assert renewal_at(NOW, NOW + left, share, chance) == NOW + FLOOR


@given(st.integers(1, 10_000), chances)
def test_a_pause_is_bounded_and_never_nothing(failures: int, chance: float) -> None:
    assert 0.5 <= retry_pause(failures, None, chance).total_seconds() <= LAST_PAUSE_SECONDS


@given(st.integers(1, 50), chances)
def test_pauses_do_not_shrink_while_it_keeps_failing(failures: int, chance: float) -> None:
    assert retry_pause(failures, None, chance) <= retry_pause(failures + 1, None, chance)


def test_the_first_pauses_double() -> None:
    assert [retry_pause(number, None, 0.0).total_seconds() for number in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


@given(st.integers(1, 50), st.floats(0, 1e9), chances)
def test_a_pause_is_no_shorter_than_what_the_service_asked_for(failures: int, asked: float, chance: float) -> None:
    pause = retry_pause(failures, asked, chance).total_seconds()
    assert pause >= min(asked, MAX_RETRY_AFTER_SECONDS) - 1e-6
    assert pause <= max(LAST_PAUSE_SECONDS, MAX_RETRY_AFTER_SECONDS)


@pytest.mark.parametrize("asked", [251.0, 290.0, 299.0, 300.0, 301.0, 1e9])
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_service_delays_a_renewal_by_300_seconds_at_most_jitter_included(asked: float, chance: float) -> None:
    assert retry_pause(1, asked, chance) <= timedelta(seconds=300)


@pytest.mark.parametrize("asked", [30.0, 280.0])
def test_proxies_that_were_turned_away_together_do_not_come_back_together(asked: float) -> None:
    assert retry_pause(1, asked, 0.9) - retry_pause(1, asked, 0.1) > timedelta(seconds=4)


@given(st.timedeltas(timedelta(days=-1), timedelta(days=40_000)))
def test_an_end_is_believed_for_a_day_at_most_and_never_put_off(left: timedelta) -> None:
    ends = NOW + left
    believed = believed_end(NOW, ends)
    assert believed == (ends if left <= timedelta(seconds=86_400) else NOW + timedelta(seconds=86_400))


PATIENCE = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("since", "valid_until", "hopeless"),
    [
        (NOW - PATIENCE, None, True),
        (NOW - PATIENCE + timedelta(seconds=1), None, False),
        (NOW - PATIENCE, NOW, True),
        (NOW - PATIENCE, NOW + timedelta(seconds=1), False),
        (NOW - timedelta(days=1), NOW + timedelta(seconds=1), False),
    ],
    ids=["lasted", "too-short", "lasted-and-ended", "still-holds", "lasted-long-and-still-holds"],
)
def test_it_is_hopeless_once_it_lasted_and_nothing_holds_any_more(
    since: datetime, valid_until: datetime | None, *, hopeless: bool
) -> None:
    assert is_hopeless(NOW, since, valid_until, PATIENCE) is hopeless


@pytest.mark.parametrize("life", [None, timedelta(minutes=12), timedelta(hours=1), timedelta(days=1)])
def test_near_the_end_is_the_last_minute(life: timedelta | None) -> None:
    assert near_end(life) == timedelta(seconds=NEAR_END_SECONDS)


@given(st.integers(MIN_VALIDITY_SECONDS, MAX_VALIDITY_SECONDS), st.floats(0.5, 1), chances)
def test_a_token_is_renewed_before_its_end_is_near_however_short_it_lives(
    validity: int, part: float, chance: float
) -> None:
    """Also a token that the service returns a second time, when only half of its life is left."""
    life = timedelta(seconds=validity)
    ends = NOW + life * part
    left_when_due = ends - renewal_at(NOW, ends, TOKEN_SHARE, chance)
    assert left_when_due >= near_end(life) * 1.99
