"""The table of `make chaos` is complete. The command itself runs the faults."""

from collections import Counter

import pytest

from app.core.reasons import EXPLANATIONS, Reason
from app.emulator import FaultKind
from chaos.calls import ALLOWED, Answer
from chaos.row import Promise, Row, Seen, judge
from chaos.table import lanes

ROWS = tuple(row for lane in lanes() for row in lane.rows)
STATUS_BY_REASON = {reason.value: explanation.status for reason, explanation in EXPLANATIONS.items()}


def name(row: Row) -> str:
    return row.fault.replace(" ", "-")


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_a_row_names_its_promise_in_outcomes_that_there_are(row: Row) -> None:
    assert row.promise.outcomes
    assert row.promise.within > 0
    for outcome in row.promise.outcomes:
        status, _, reason = outcome.partition(" ")
        assert outcome in (ALLOWED, "no answer") or str(STATUS_BY_REASON[Reason(reason)]) == status


@pytest.mark.parametrize("row", [row for row in ROWS if row.kind is not None], ids=name)
def test_a_row_of_the_emulators_faults_promises_no_approval_and_recovery(row: Row) -> None:
    assert ALLOWED not in row.promise.outcomes
    assert row.promise.recovery is not None


def test_every_fault_of_the_emulator_is_played() -> None:
    assert {row.kind for row in ROWS} >= set(FaultKind)


def test_no_fault_stands_twice() -> None:
    assert max(Counter(row.fault for row in ROWS).values()) == 1


PROMISE = Promise(outcomes=("503 sts_unavailable",), within=1.0, recovery=2.0)
KEPT = Answer("503 sts_unavailable", 0.5)


def test_a_kept_promise_is_no_problem() -> None:
    assert judge(PROMISE, Seen([KEPT], recovered=1.0)) == []


def test_a_row_with_very_many_callers_is_not_blamed_for_a_busy_machine() -> None:
    slow = Answer("503 sts_unavailable", 1.5)
    assert judge(PROMISE, Seen([slow], recovered=1.0, without_core=0.6)) == []
    assert judge(PROMISE, Seen([slow], recovered=1.0, without_core=0.4)) == ["an answer took 1.5 s"]


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (Seen([KEPT, Answer(ALLOWED, 0.1)], recovered=1.0), "AN APPROVAL THAT SHOULD NOT BE"),
        (Seen([KEPT, Answer("500 internal_error", 0.1)], recovered=1.0), "answered 500 internal_error"),
        (Seen([Answer("503 sts_unavailable", 1.5)], recovered=1.0), "an answer took 1.5 s"),
        (Seen([Answer("503 sts_unavailable", 0.5, "it repeats a secret")], recovered=1.0), "it repeats a secret"),
        (Seen([KEPT]), "it did not recover"),
        (Seen([KEPT], recovered=2.5), "it recovered after 2.5 s only"),
        (Seen([], recovered=1.0), "nothing was asked"),
        (Seen([KEPT], recovered=1.0, problems=["memory grew"]), "memory grew"),
    ],
)
def test_a_broken_promise_is_told(seen: Seen, problem: str) -> None:
    assert judge(PROMISE, seen) == [problem]
