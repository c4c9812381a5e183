"""When a dead upstream is not asked, and when it is tried again."""

from app.limits.breaker import Breaker


class Now:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def breaker(now: Now, most: int = 10) -> Breaker:
    return Breaker(threshold=3, pause=2.0, most=most, timer=now)


def fail(subject: Breaker, key: str, times: int) -> None:
    for _ in range(times):
        assert subject.allows(key)
        subject.failed(key)


def test_it_opens_after_enough_failures_in_a_row() -> None:
    subject = breaker(Now())
    fail(subject, "host", 3)
    assert not subject.allows("host")


def test_a_success_in_between_starts_the_count_anew() -> None:
    subject = breaker(Now())
    fail(subject, "host", 2)
    subject.succeeded("host")
    fail(subject, "host", 2)
    assert subject.allows("host")


def test_after_a_pause_it_lets_one_through() -> None:
    now = Now()
    subject = breaker(now)
    fail(subject, "host", 3)
    now.seconds += 1.9
    assert not subject.allows("host")
    now.seconds += 0.1
    assert subject.allows("host")
    assert not subject.allows("host")


def test_the_one_that_succeeds_closes_it() -> None:
    now = Now()
    subject = breaker(now)
    fail(subject, "host", 3)
    now.seconds += 2
    assert subject.allows("host")
    subject.succeeded("host")
    assert subject.allows("host")
    assert subject.allows("host")


def test_the_one_that_fails_opens_it_for_another_pause() -> None:
    now = Now()
    subject = breaker(now)
    fail(subject, "host", 3)
    now.seconds += 2
    assert subject.allows("host")
    subject.failed("host")
    now.seconds += 1.9
    assert not subject.allows("host")
    now.seconds += 0.1
    assert subject.allows("host")


def test_one_that_never_comes_back_does_not_keep_it_open_for_ever() -> None:
    """A probe that is cancelled reports nothing; the next pause lets another through."""
    now = Now()
    subject = breaker(now)
    fail(subject, "host", 3)
    now.seconds += 2
    assert subject.allows("host")
    now.seconds += 2
    assert subject.allows("host")


def test_circuits_are_apart_and_bounded() -> None:
    subject = breaker(Now(), most=2)
    fail(subject, "dead", 3)
    assert subject.allows("alive")
    for number in range(20):
        subject.failed(str(number))
    assert len(subject._states) == 2
