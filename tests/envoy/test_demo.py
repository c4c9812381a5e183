"""``make demo-envoy``: every row has the expected result, and the command fails for a row that does not."""

import re
import sys

import pytest

from app.core.reasons import Reason
from tests.support.envoy import find_envoy
from tests.support.process import Done, run_program

# isort: split
# After what skips all of this where gRPC is not there.
from demos.envoy.kuma import NO_TOKEN
from demos.envoy.rows import Outcome, Row, dataplane, rows
from demos.envoy.streams import Answer


def run_demo(before: str = "pass") -> Done:
    """Run it with lines that are long enough for each text, after some Python code of the test."""
    script = (
        f"import runpy; from demos.envoy import rows; {before}; runpy.run_module('demos.envoy', run_name='__main__')"
    )
    return run_program(sys.executable, "-c", script, COLUMNS="1000")


def test_it_plays_every_row_to_its_expected_end() -> None:
    assert find_envoy() is not None
    done = run_demo()
    assert (done.status, done.err.count("\n")) == (0, 2)
    assert done.out.endswith(f"\n{len(rows()) + 1} rows, 0 not as expected\n")
    assert "UNEXPECTED" not in done.out
    for row in rows():
        assert row.title in done.out
    # The output contains no credential and no token: neither a presigned URL in base64 nor the three parts of a
    # JWT.
    assert re.findall(r"[A-Za-z0-9_]{40,}|eyJ|kuma-aws-v1\.", done.out) == []


def test_a_row_that_is_not_as_expected_is_a_failure() -> None:
    change = (
        "from dataclasses import replace; rows.rows = lambda played=rows.rows(): [replace(played[0], code='UNKNOWN')]"
    )
    done = run_demo(change)
    assert done.status == 1
    assert "UNEXPECTED: not UNKNOWN" in done.out
    assert done.out.endswith("\n2 rows, 1 not as expected\n")


def test_it_plays_what_it_is_for() -> None:
    assert {row.code for row in rows()} == {
        *("OK", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE", "UNKNOWN", "UNIMPLEMENTED")
    }
    assert {row.word for row in rows()} >= {
        Reason.ACCOUNT_NOT_AUTHORIZED,
        Reason.CREDENTIAL_EXPIRED,
        Reason.CREDENTIAL_MALFORMED,
        Reason.STS_REJECTED,
    }
    assert {row.proxy["type"] for row in rows() if row.code == "OK"} == {"dataplane", "ingress", "egress"}


async def nothing(_front: object) -> list[str]:
    return []


ADMITTED = Row(title="a", sent="b", present=nothing, proxy=dataplane())
DENIED = Row(title="a", sent="b", present=nothing, proxy=dataplane(), code="PERMISSION_DENIED", word="a_reason")


@pytest.mark.parametrize(
    ("row", "outcome", "problems"),
    [
        (ADMITTED, Outcome(Answer("OK"), "token of key 1"), []),
        (ADMITTED, Outcome(Answer("UNAVAILABLE"), None), ["not OK", "it did not come through"]),
        (ADMITTED, Outcome(Answer("OK"), NO_TOKEN), ["what came in went further"]),
        (DENIED, Outcome(Answer("PERMISSION_DENIED", "a_reason: do this"), None), []),
        (DENIED, Outcome(Answer("PERMISSION_DENIED", "another"), None), ["not a_reason"]),
        (DENIED, Outcome(Answer("PERMISSION_DENIED", "a_reason"), "token of key 1"), ["it came through"]),
    ],
)
def test_what_is_not_as_it_must_be_is_told(row: Row, outcome: Outcome, problems: list[str]) -> None:
    assert list(outcome.problems(row)) == problems
