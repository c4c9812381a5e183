"""Each decision has a status and a date at its top, and the index of decisions repeats them."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.test_docs import tables

FOLDER: Final = Path(__file__).parents[1] / "docs" / "decisions"
DECISIONS: Final = sorted(FOLDER.glob("[0-9]*.md"))
INDEX: Final = FOLDER / "README.md"

_LINK: Final = r"\[(\d+)\]\(([^)]+)\)"
_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_TOP: Final = re.compile(
    rf"# (?P<number>\d+)\. (?P<title>.+)\n\nStatus: accepted, (?P<date>{_DATE})\."
    rf"(?: (?P<how>Superseded|Superseded in part) by (?P<by>{_LINK}), (?P<end>{_DATE})\.)?"
    rf"(?: Supersedes (?:a part of )?(?P<old>{_LINK})\.)?\n\n## Context\n"
)


def top_of(path: Path) -> re.Match[str]:
    found = _TOP.match(path.read_text(encoding="utf-8"))
    assert found is not None, f"{path.name} does not begin with its title, its status and its context"
    return found


def number_of(path: Path) -> int:
    return int(path.name[:4])


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name[:4])
def test_a_decision_begins_with_its_status_and_its_date(path: Path) -> None:
    top = top_of(path)
    assert int(top["number"]) == number_of(path)
    assert top["end"] is None or top["end"] >= top["date"]


def test_a_superseded_decision_and_its_successor_name_each_other() -> None:
    by = {number_of(path): top_of(path)["by"] for path in DECISIONS}
    old = {number_of(path): top_of(path)["old"] for path in DECISIONS}
    links = {f"[{number_of(path)}]({path.name})" for path in DECISIONS}
    assert {link for link in (*by.values(), *old.values()) if link is not None} <= links
    superseded = {(number, int(link.partition("]")[0][1:])) for number, link in by.items() if link is not None}
    supersedes = {(int(link.partition("]")[0][1:]), number) for number, link in old.items() if link is not None}
    assert superseded == supersedes


def test_the_index_lists_every_decision_with_its_title_status_and_date() -> None:
    listed = [
        (row["Number"], row["Decision"], row["Status"], row["Date"])
        for row in tables(INDEX.read_text(encoding="utf-8"), "Number")
    ]
    expected = []
    for path in DECISIONS:
        top = top_of(path)
        status = "accepted" if top["by"] is None else f"{top['how'].lower()} by {top['by']}"
        expected.append((top["number"], f"[{top['title']}]({path.name})", status, top["date"]))
    assert listed == expected
