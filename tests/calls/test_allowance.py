"""An account whose new keys are rejected keeps a short queue, and one whose new keys are real has all of it."""

from app.calls.allowance import MAX_RESTRICTED, MIN_ALLOWED, Allowances

MOST = 32_768


def test_everybody_may_have_the_whole_queue_at_first() -> None:
    allowances = Allowances(MOST)
    assert allowances.of("a") == MOST
    assert not allowances


def test_rejected_keys_leave_a_short_queue_and_no_shorter_one() -> None:
    allowances = Allowances(MOST)
    for _ in range(100):
        allowances.rejected("a")
    assert allowances.of("a") == MIN_ALLOWED
    assert allowances.of("b") == MOST
    assert allowances


def test_a_few_rejected_keys_in_a_storm_change_next_to_nothing() -> None:
    allowances = Allowances(MOST)
    for number in range(10_000):
        if number % 20:
            allowances.vouched("a")
        else:
            allowances.rejected("a")
    assert allowances.of("a") > MOST * 0.9


def test_vouched_keys_open_it_again() -> None:
    allowances = Allowances(MOST)
    for _ in range(100):
        allowances.rejected("a")
    for _ in range(100):
        allowances.vouched("a")
    assert allowances.of("a") == MOST
    assert not allowances


def test_a_flood_beside_a_few_real_tasks_is_kept_short() -> None:
    """One call in twenty is real: the others are the reason why it would wait."""
    allowances = Allowances(MOST)
    for number in range(2_000):
        if number % 20:
            allowances.rejected("a")
        else:
            allowances.vouched("a")
    assert allowances.of("a") < MIN_ALLOWED * 2


def test_only_an_owner_with_the_shortest_queue_is_doubtful() -> None:
    allowances = Allowances(MOST)
    assert not allowances.is_doubtful("a")
    allowances.rejected("a")
    assert not allowances.is_doubtful("a")
    for _ in range(100):
        allowances.rejected("a")
    assert allowances.is_doubtful("a")
    allowances.vouched("a")
    assert not allowances.is_doubtful("a")


def test_a_queue_that_is_shorter_than_the_least_keeps_its_length() -> None:
    allowances = Allowances(10)
    allowances.rejected("a")
    assert allowances.of("a") == 10


def test_it_remembers_a_bounded_number_of_owners() -> None:
    allowances = Allowances(MOST)
    for owner in range(MAX_RESTRICTED + 1):
        allowances.rejected(owner)
    assert allowances.of(0) == MOST
    assert allowances.of(1) < MOST
