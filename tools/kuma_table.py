"""Write the table of docs/explanation/compatibility.md out of the recorded runs of ``make test-kuma``: ``make docs``.

Usage: python -m tools.kuma_table
"""

import json
from pathlib import Path
from typing import Final

from tools.generated_tables import write_tables

PAGE: Final = Path(__file__).parents[1] / "docs" / "explanation" / "compatibility.md"
RUNS: Final = PAGE.parent / "kuma-runs.json"
SECTION: Final = "Kuma"


def rows_of(section: str) -> list[tuple[str, ...]]:
    """Return the rows, the head first: for each module of tests, what became of its tests with each version.

    Raises:
        KeyError: there is no such section.
    """
    if section != SECTION:
        raise KeyError(section)
    runs = json.loads(RUNS.read_text("utf-8"))
    versions = sorted(runs, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    modules = sorted({module for run in runs.values() for module in run})
    head = ("Tests in `tests/kuma/`", *versions)
    return [
        head,
        *((f"`{module}`", *(_cell(runs[version].get(module, {})) for version in versions)) for module in modules),
    ]


def _cell(counts: dict[str, int]) -> str:
    words = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if outcome in counts]
    return ", ".join(words) or "none"


if __name__ == "__main__":
    PAGE.write_text(write_tables(PAGE.read_text(encoding="utf-8"), rows_of), encoding="utf-8")
