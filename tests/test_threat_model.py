"""The page of the threat model names a test for each invariant and each advisory, and the page of limits every bound.

A row without a test, a test that does not exist, and a bound of the code that stands nowhere fail here.
"""

import ast
import functools
import importlib
import inspect
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.test_docs import Row, tables
from tools import limits_registry
from tools.limits_registry import LIMITS

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent
APP: Final = ROOT / "app"
THREAT_MODEL: Final = (ROOT / "docs" / "explanation" / "threat-model.md").read_text(encoding="utf-8")

INVARIANTS: Final = tuple(f"I{number}" for number in range(1, 28))
# Published faults of systems that do this job (also of designs and proposals), and of the libraries below.
ADVISORIES: Final = (
    # Systems that forward a signed GetCallerIdentity, or trust one.
    "CVE-2020-16250",
    "CVE-2020-16251",
    "CVE-2022-2385",
    "GHSA-pp3f-98qg-5g75",
    "CVE-2025-49827",
    "GHSA-gmc5-9mpc-xg75",
    "CVE-2025-49831",
    "GHSA-952q-mjrf-wp5j",
    "CVE-2026-45177",
    "CVE-2025-11621",
    "HCSEC-2025-30",
    "GHSA-9g4h-h484-3578",
    "CVE-2025-59048",
    "GHSA-jp7h-4f3c-9rc7",
    "CVE-2026-71861",
    "GHSA-wq26-3j2m-4hvv",
    "SECVULN-8630",
    "PR 67620",
    "PR 15337",
    "RFD 41",
    "PR 3983",
    "PR 2814",
    "PR 3213",
    "PR 7546",
    "PR 6344",
    "commit 9fa86f7d",
    "issue 5982",
    "issue 477",
    "Omegapoint 2023",
    # SigV4 verifiers that trusted unsigned parts.
    "CVE-2026-54330",
    "CVE-2026-97731",
    "CVE-2026-94368",
    "CVE-2026-115374",
    "GHSA-xm99-m3gq-83g8",
    "GHSA-g8w9-qw9q-fghr",
    "PR 1525",
    "PR 19",
    "PR 65",
    # Caches, and calls that were merged.
    "CVE-2026-35039",
    "CVE-2025-67490",
    "CVE-2026-40155",
    "CVE-2026-19202",
    # Parsers and libraries.
    "CVE-2023-24329",
    "CVE-2022-0391",
    "CVE-2024-11168",
    "CVE-2025-0938",
    "CVE-2019-9636",
    "CVE-2021-23336",
    "CVE-2025-43859",
    "CVE-2025-50181",
    "CVE-2025-66471",
    "CVE-2026-21441",
    "aiohttp 3.13.3",
    "CVE-2025-54121",
    "CVE-2025-62727",
    "CVE-2023-30798",
    "CVE-2025-59043",
    "CVE-2024-27454",
    "CVE-2025-67221",
    "CVE-2013-0340",
    "CVE-2022-25313",
    "IDNA",
    "GO-2026-6013",
    "CVE-2026-50166",
)


# Invariants and advisories.


@functools.cache
def functions_of(path: str) -> frozenset[str]:
    """Return the test functions of a file below ``tests/``; empty if there is no such file."""
    file = TESTS / path
    if not file.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, functions) and node.name.startswith("test_"))


@functools.cache
def corpus_rows() -> dict[str, frozenset[str]]:
    """Return every row of the hostile corpus, with the advisories that it covers."""
    return {
        f"{file.stem}/{case['id']}": frozenset(case["origin"])
        for file in (TESTS / "corpus").glob("*.toml")
        for case in tomllib.loads(file.read_text(encoding="utf-8")).get("case", ())
    }


def named(cell: str) -> list[str]:
    """Return the names in backticks in a cell, which contains nothing else."""
    names = re.findall(r"`([^`]+)`", cell)
    assert cell == ", ".join(f"`{name}`" for name in names), f"{cell!r} is no list of names"
    return names


def fault(name: str, origins: frozenset[str]) -> str | None:
    """Return what is wrong with the name of a test or of a row of the corpus."""
    if "::" in name:
        path, _, test = name.partition("::")
        return None if test in functions_of(path) else f"there is no test {name}"
    if name not in corpus_rows():
        return f"there is neither a test nor a row of the corpus {name}"
    return None if corpus_rows()[name] & origins else f"the row {name} of the corpus does not stand for it"


def invariant_rows() -> dict[str, Row]:
    return {row["Id"].strip("`"): row for row in tables(THREAT_MODEL, "Id")}


def advisory_rows() -> dict[str, Row]:
    rows = list(tables(THREAT_MODEL, "Fault"))
    ids = [name for row in rows for name in row["Fault"].split(", ")]
    assert len(set(ids)) == len(ids), "an advisory has two rows"
    return {name: row for row in rows for name in row["Fault"].split(", ")}


def test_every_invariant_has_a_row_and_no_other() -> None:
    assert tuple(invariant_rows()) == INVARIANTS


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_an_invariant_has_a_module_and_a_test_that_exists(invariant: str) -> None:
    row = invariant_rows()[invariant]
    # Names in brackets are names within a module.
    modules = re.findall(r"`([a-z_]+(?:/[a-z_]+)*)(?:/\*)?`", re.sub(r"\([^)]*\)", "", row["Where"]))
    assert modules
    assert [name for name in modules if not (APP / f"{name}.py").is_file() and not (APP / name).is_dir()] == []
    held = named(row["Held by"])
    assert held
    assert [found for name in held if (found := fault(name, frozenset({invariant})))] == []


FEATURES: Final = {
    head: tuple(tables(THREAT_MODEL, head))
    for head in ("Rule of the tokens", "Rule of the controller", "Rule of the page")
}
FEATURE_ROWS: Final = [pytest.param(row, id=row[head][:40]) for head, rows in FEATURES.items() for row in rows]


@pytest.mark.parametrize("row", FEATURE_ROWS)
def test_what_holds_of_a_feature_has_modules_and_tests_that_exist(row: Row) -> None:
    invariants = frozenset(row["Invariants"].split(", "))
    assert invariants <= set(INVARIANTS)
    assert [name for name in named(row["Where"]) if not (APP / f"{name}.py").is_file()] == []
    assert [found for name in named(row["Held by"]) if (found := fault(name, invariants))] == []


def test_every_feature_has_rows() -> None:
    assert all(FEATURES.values())


def test_every_advisory_has_a_row_and_no_other() -> None:
    assert advisory_rows().keys() == set(ADVISORIES)


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_an_advisory_has_a_regression_test_that_exists(advisory: str) -> None:
    row = advisory_rows()[advisory]
    assert set(row["Invariants"].split(", ")) <= set(INVARIANTS)
    held = named(row["Regression test"])
    assert held
    assert [found for name in held if (found := fault(name, frozenset(row["Fault"].split(", "))))] == []


@pytest.mark.parametrize(
    "test", sorted(functions_of("test_cves.py") - {"test_the_baselines_of_this_file_are_accepted"})
)
def test_every_regression_test_has_a_row(test: str) -> None:
    assert f"`test_cves.py::{test}`" in THREAT_MODEL


@pytest.mark.parametrize("name", ["test_cves.py::test_nothing", "test_nothing.py::test_x", "api_json/none", "test_x"])
def test_a_name_of_nothing_is_found_out(name: str) -> None:
    """Otherwise a row could name anything."""
    assert fault(name, frozenset()) is not None


# Bounds.

# A constant with such a name has its number in a row of the page of limits, or says in a comment why it is no bound.
BOUND_NAME: Final = re.compile(
    r"MAX_|MIN_|_SECONDS$|AT_ONCE|IN_FLIGHT$|QUEUE|RATE$|FAILURES|BACKLOG|ATTEMPTS|VOUCHED|LENGTH$|BURST$|SHARE$"
    r"|^REFRESH_|_A_SECOND$|LOOK_AT$|^PAGE_"
)
NO_BOUND: Final = "# no bound: "
# These do not affect decisions: they belong to the command line, or replace AWS.
ELSEWHERE: Final = {"cli", "demo", "diagnosis", "emulator"}

Constant = tuple[str, str]
"""The module and the name of a constant."""


def constants_named_like_a_bound() -> dict[Constant, bool]:
    """Return every number of the service with such a name, and whether a comment says that it is no bound."""
    found: dict[Constant, bool] = {}
    for file in APP.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        text = file.read_text(encoding="utf-8")
        for node in ast.parse(text).body if parts[1] not in ELSEWHERE else ():
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                if name.isupper() and BOUND_NAME.search(name):
                    module = ".".join(parts)
                    if isinstance(getattr(importlib.import_module(module), name), int | float | timedelta):
                        found[module, name] = NO_BOUND in text.splitlines()[(node.end_lineno or 0) - 1]
    return found


def constants_of_the_registry() -> set[Constant]:
    """Return every constant that the registry of bounds takes from a module that it imports."""
    nodes = ast.walk(ast.parse(inspect.getsource(limits_registry)))
    modules = {name: each.__name__ for name, each in vars(limits_registry).items() if inspect.ismodule(each)}
    return {
        (modules[node.value.id], node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    }


def test_every_bound_of_the_code_stands_on_the_page_of_limits() -> None:
    """Its row takes the number from the constant; ``test_docs.py`` compares the page with the rows."""
    named_like_a_bound = constants_named_like_a_bound()
    bounds = {constant for constant, is_no_bound in named_like_a_bound.items() if not is_no_bound}
    assert sorted(bounds - constants_of_the_registry()) == []
    assert sorted((named_like_a_bound.keys() - bounds) & constants_of_the_registry()) == []


def test_no_row_of_the_page_of_limits_stands_twice() -> None:
    for section, rows in LIMITS.items():
        names = [what for what, *_ in rows]
        assert len(set(names)) == len(names), section
