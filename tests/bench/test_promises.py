import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.footprint import Filling, ReadAccounts, words_of_starts
from bench.image_packages import command_without, development_modules, not_of
from bench.promises import promises_of_memory, promises_of_rows
from bench.rows import Row

ROOT = Path(__file__).parents[2]


def row(*cpu: float) -> Row:
    return Row("row", cpu=list(cpu))


def rows() -> dict[str, Row]:
    return {
        "service hit": row(50.0),
        "service miss": row(100.0, 200.0, 400.0),
        "full miss": row(104.0, 208.0, 500.0),
        "go miss": row(160.0),
        "service role": row(500.0),
        "role_not_found": row(60.0),
        "sts_rejected": row(75.0),
    }


def broken(measured: dict[str, Row], *, caches_are_full: bool = True) -> list[str]:
    return [words for holds, words in promises_of_rows(measured, caches_are_full=caches_are_full) if not holds]


def test_promises_of_rows_hold_at_their_bounds() -> None:
    """Full caches are compared round by round: of 4 %, 4 % and 25 % more time, the median counts, 4 %."""
    assert len(list(promises_of_rows(rows(), caches_are_full=True))) == 4
    assert not broken(rows())


@pytest.mark.parametrize(
    ("name", "changed", "part"),
    [
        ("go miss", row(158.0), "of Go for the same time (0.79)"),
        ("service role", row(501.0), "at most 10 hits"),
        ("sts_rejected", row(80.0), "at most 1.5 hits (sts_rejected: 1.6)"),
        ("full miss", row(106.0, 212.0, 400.0), "with empty ones (+6.0%)"),
    ],
)
def test_a_broken_promise_of_a_row_is_named(name: str, changed: Row, part: str) -> None:
    words = broken({**rows(), name: changed})
    assert [part in sentence for sentence in words] == [True]


def test_nothing_is_promised_about_what_was_not_measured() -> None:
    without_go = {name: one for name, one in rows().items() if name != "go miss"}
    assert len(list(promises_of_rows(without_go, caches_are_full=False))) == 2


def test_promises_of_memory_name_their_bounds() -> None:
    read = ReadAccounts(accounts=200, memory=60.0, cpu=0.001)
    assert all(holds for holds, _ in promises_of_memory(70.0, read))
    words = [words for holds, words in promises_of_memory(70.1, ReadAccounts(200, 60.1, 0.001)) if not holds]
    assert ["70 MB" in words[0], "60 MiB" in words[1]] == [True, True]


def test_memory_of_identities_is_told_for_each_beyond_the_first_ones() -> None:
    assert str(Filling(10_000, 5_000, 90.0, 95.0)).endswith("1,000 bytes each")
    assert "each" not in str(Filling(5_000, 5_000, 90.0, 90.0))
    assert words_of_starts([0.5, 0.4, 0.9]) == "cold start to /ready: 500 ms, median of 3 (400 to 900)"


def test_modules_that_no_package_of_the_image_brings_are_told_apart() -> None:
    installed = {
        "yaml": ["PyYAML"],
        "rich": ["rich"],
        "app": ["kuma-aws-iam"],
        "both": ["pyyaml", "rich"],
        "a-b": ["x"],
    }
    assert set(not_of({"pyyaml"}, installed)) == {"rich"}


def test_the_service_runs_without_the_modules_for_development() -> None:
    hidden = development_modules()
    assert "pytest" in hidden
    assert not {"uvicorn", "botocore", "app"} & set(hidden)
    command = command_without(sys.executable, hidden)
    checked = subprocess.run(  # noqa: S603 - our own interpreter
        [*command[:-1], "--help"], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "serve" in checked.stdout
