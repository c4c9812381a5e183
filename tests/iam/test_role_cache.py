"""The states of a cached role. A role has one state at a time."""

from collections.abc import Callable

import pytest

from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.iam.role_cache import RoleKey, RoleTable
from app.telemetry.metrics import Metrics

KEY = RoleKey("aws", "111122223333", "AROAEXAMPLE00000000AA", "demo-app")
ROLE = RoleRecord(
    arn="arn:aws:iam::111122223333:role/demo-app", role_id=KEY.role_id, name=KEY.name, tags=(), request_id=""
)
OTHER = RoleRecord(arn=ROLE.arn, role_id="AROAEXAMPLE00000000BB", name=KEY.name, tags=(), request_id="")


class Table(RoleTable):
    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(Metrics(), ttl=100.0, max_stale=400.0, timer=lambda: self.now)

    def read(self) -> None:
        self.put(KEY, ROLE, self.now)

    def missing(self) -> None:
        self.note_missing(KEY, "no such role")

    def denied(self) -> None:
        self.note_denied(KEY, "denied")

    def mismatched(self) -> None:
        self.note_mismatched(KEY, OTHER)

    def seen(self) -> tuple[RoleRecord | None, Reason | None, RoleRecord | None, bool]:
        """Return whether the entry is fresh, an error, stale or missing."""
        error = self.failure(KEY)
        return self.fresh(KEY), None if error is None else error.reason, self.stale(KEY), self.is_missing(KEY)


STATES = {
    "read": (Table.read, (ROLE, None, ROLE, False)),
    "missing": (Table.missing, (None, Reason.ROLE_NOT_FOUND, None, True)),
    "denied": (Table.denied, (None, Reason.IAM_ACCESS_DENIED, None, False)),
    "mismatched": (Table.mismatched, (OTHER, None, None, False)),
}


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_what_iam_says_next_ends_the_state_before_it(before: str, after: str) -> None:
    table = Table()
    STATES[before][0](table)
    table.now = 1.0
    STATES[after][0](table)
    assert table.seen() == STATES[after][1]


@pytest.mark.parametrize("said", ["missing", "denied", "mismatched"])
@pytest.mark.parametrize("asked_at", [9.0, 10.5])
def test_an_older_record_does_not_end_a_newer_state(said: str, asked_at: float) -> None:
    """The record can be of a page that was under way for long, or of another replica."""
    table = Table()
    table.now = 10.0
    STATES[said][0](table)
    table.now = 11.0
    table.put(KEY, ROLE, asked_at)
    assert table.seen() == STATES["read" if asked_at > 10.0 else said][1]


@pytest.mark.parametrize(
    ("say", "seconds", "seen"),
    [
        pytest.param(Table.read, 99.9, (ROLE, None, ROLE, False), id="fresh"),
        pytest.param(Table.read, 100.0, (None, None, ROLE, False), id="stale"),
        pytest.param(Table.read, 400.0, (None, None, None, False), id="unknown-after-stale"),
        pytest.param(Table.missing, 10.0, (None, None, None, True), id="missing-and-asked-again"),
        pytest.param(Table.missing, 600.0, (None, None, None, False), id="unknown-after-missing"),
        pytest.param(Table.denied, 30.0, (None, None, None, False), id="unknown-after-denied"),
        pytest.param(Table.mismatched, 10.0, (None, None, None, False), id="unknown-after-mismatched"),
    ],
)
def test_a_state_ends_with_its_time(say: Callable[[Table], None], seconds: float, seen: object) -> None:
    table = Table()
    say(table)
    table.now = seconds
    assert table.seen() == seen


def test_a_role_is_due_for_refresh_after_three_quarters_of_its_time_and_then_every_twentieth() -> None:
    table = Table()
    table.read()
    due = []
    for table.now in (0.0, 74.9, 75.0, 79.9, 80.0, 100.0):
        due.append(table.begin_refresh(KEY))
    assert due == [False, False, True, False, True, False]
