"""At which step a decision ended."""

from typing import Any

import pytest

from app.core.reasons import Reason
from app.decision import authenticator
from app.page.steps import AFTER, BEFORE, STEPS, ended_at, steps_of

# The fields of a record after the steps up to a number have succeeded.
MARKS: dict[int, dict[str, Any]] = {
    1: {"form": "native"},
    3: {"sts": {"cache": "miss"}},
    4: {"principal": {}},
    6: {"iam": {"cache": "miss"}, "role": {}},
    8: {"granted": {}},
}
NOTHING: dict[str, Any] = {
    "form": None,
    "sts": {"cache": "none"},
    "principal": None,
    "iam": {"cache": "none"},
    "role": None,
    "granted": None,
    "claimed": {},
}


def fields(reason: Reason | None, *, done: int, **more: Any) -> dict[str, Any]:
    """A decision that ended with a reason after so many steps had succeeded."""
    found = {**NOTHING, "reason": None if reason is None else reason.value}
    for step, marks in MARKS.items():
        if step <= done:
            found |= marks
    return {**found, **more}


def test_the_steps_are_those_of_the_decision() -> None:
    """Code, docs and page have the same numbers and names."""
    for number, (name, _) in STEPS.items():
        assert f"    {number} {name} " in str(authenticator.__doc__)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_ends_at_a_step(reason: Reason) -> None:
    end = ended_at(fields(reason, done=0))
    assert end is not None
    assert BEFORE <= end <= AFTER


@pytest.mark.parametrize(
    ("reason", "done", "end"),
    [
        (Reason.MALFORMED_REQUEST, 0, BEFORE),
        (Reason.OVERLOADED, 0, BEFORE),
        (Reason.CREDENTIAL_MALFORMED, 0, 1),
        (Reason.CREDENTIAL_MALFORMED, 1, 2),
        (Reason.AUDIENCE_MISMATCH, 1, 2),
        (Reason.CREDENTIAL_EXPIRED, 4, 2),  # each time, also on a hit
        (Reason.OVERLOADED, 3, 3),
        (Reason.STS_REJECTED, 3, 3),
        (Reason.INTERNAL_ERROR, 4, 5),
        (Reason.ACCOUNT_NOT_AUTHORIZED, 4, 5),
        (Reason.IAM_UNAVAILABLE, 4, 6),
        (Reason.OVERLOADED, 6, 7),
        (Reason.ROLE_TAG_INVALID, 6, 7),
        (Reason.ROLE_WORKLOAD_MISSING, 6, 7),
        (Reason.ROLE_WORKLOAD_MISSING, 8, AFTER),  # a token of a zone proxy in a Dataplane
        (Reason.PROXY_MESH_MISMATCH, 6, 8),
        (Reason.SIGNING_KEY_MISSING, 8, AFTER),
        (Reason.INTERNAL_ERROR, 8, AFTER),
        (None, 8, None),
    ],
)
def test_a_decision_ends_at_a_step(reason: Reason | None, done: int, end: int | None) -> None:
    assert ended_at(fields(reason, done=done)) == end


def test_a_decision_that_waits_for_iam_ends_there() -> None:
    waiting = {"iam": {"cache": "miss"}}
    assert ended_at(fields(Reason.OVERLOADED, done=4, **waiting)) == 6


def verdicts(decision: dict[str, Any]) -> list[str]:
    return [step.verdict for step in steps_of(decision)]


def test_the_steps_of_a_denial() -> None:
    assert verdicts(fields(Reason.ACCOUNT_NOT_AUTHORIZED, done=4)) == [
        *["done"] * 4,
        "ended here",
        *["not reached"] * 3,
    ]


def test_the_steps_of_an_approval() -> None:
    assert verdicts(fields(None, done=8)) == ["done"] * 8
    assert verdicts(fields(None, done=8, claimed=None))[-1] == "nothing to compare"


def test_a_token_needs_neither_sts_nor_iam() -> None:
    assert verdicts(fields(None, done=8, form="token")) == [
        "done",
        "done",
        "not needed for a token",
        "not needed for a token",
        "done",
        "not needed for a token",
        "done",
        "done",
    ]
