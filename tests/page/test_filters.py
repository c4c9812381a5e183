"""Which decisions a filter matches."""

from typing import Any

import orjson
import pytest

from app.page.filters import MAX_FILTER_CHARS, Filter, meshes_of, read_filter, read_number
from tests.support.decisions_page import denial, recent_decisions, record


def decision(text: str = "Payments") -> dict[str, Any]:
    recent = recent_decisions()
    recent.note(record(text), denial(), 0.001)
    kept: dict[str, Any] = orjson.loads(recent.lines()[0].json)
    return kept


@pytest.mark.parametrize(
    ("name", "match", "other"),
    [
        ("outcome", "denied", "allowed"),
        ("reason", "proxy_mesh_mismatch", "role_not_found"),
        ("account", "Pay", "pay"),
        ("role", "ments", "Demo"),
        ("mesh", "Payments", "Payments-2"),
        ("text", "THE ROLE IS FOR", "claimed"),  # any text in any case, and no name of a field
    ],
)
def test_a_filter_matches(name: str, match: str, other: str) -> None:
    assert Filter(**{name: match}).matches(decision())
    assert not Filter(**{name: other}).matches(decision())
    assert not Filter(**{name: match, "outcome": "error"}).matches(decision())


def test_a_filter_without_values_matches_everything() -> None:
    assert Filter().matches(decision())
    assert Filter().matches({})
    assert not Filter(account="1", role="1", mesh="1", text="1").matches({})


def test_a_decision_without_a_principal_is_found_by_the_account_of_its_key() -> None:
    found = {**decision(), "principal": None, "access_key": {"id": "AKIA", "unverified_account": "111122223333"}}
    assert Filter(account="1111").matches(found)


def test_a_mesh_is_what_is_asserted_tagged_or_granted() -> None:
    found = decision()
    found["claimed"]["mesh"], found["role"]["tags"]["kuma.io/mesh"], found["granted"]["mesh"] = "a", "b", "c"
    assert meshes_of(found) == ["a", "b", "c"]


def test_a_filter_is_read_from_a_query_and_written_into_one() -> None:
    wanted = read_filter({"mesh": " default ", "text": "a&b<", "other": "x", "before": "7"})
    assert wanted == Filter(mesh="default", text="a&b<")
    assert wanted.query(before="7") == "mesh=default&text=a%26b%3C&before=7"
    assert Filter().query() == ""
    assert len(read_filter({"text": "x" * 10_000}).text) == MAX_FILTER_CHARS


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("", None), ("-1", None), ("７", None), ("9" * 5000, None)])  # noqa: RUF001 - a digit of another script
def test_a_number_is_digits(text: str, number: int | None) -> None:
    assert read_number(text) == number
