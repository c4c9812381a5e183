"""Write the tables of docs/reference/limits.md out of the registry of bounds and of the reasons: ``make docs``.

A comment in the page names the section whose table follows.

Usage: python -m tools.limits_tables
"""

from pathlib import Path
from typing import Final

from app.core.reasons import EXPLANATIONS
from tools.generated_tables import write_tables
from tools.limits_registry import LIMITS

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "limits.md"
RETRY_AFTER: Final = "Retry-After"


def rows_of(section: str) -> list[tuple[str, ...]]:
    """Return the rows of a section, the head first.

    Raises:
        KeyError: the registry has no such section.
    """
    if section == RETRY_AFTER:
        return [("Reason", "Seconds"), *_retry_after()]
    return [("What", "Bound", "Beyond the bound"), *LIMITS[section]]


def _retry_after() -> list[tuple[str, ...]]:
    """Return the reasons with a fixed ``Retry-After``, joined by its seconds."""
    reasons: dict[int, list[str]] = {}
    for reason, explanation in EXPLANATIONS.items():
        if explanation.retry_after is not None:
            reasons.setdefault(explanation.retry_after, []).append(reason.value)
    return [(", ".join(names), str(seconds)) for seconds, names in reasons.items()]


if __name__ == "__main__":
    PAGE.write_text(write_tables(PAGE.read_text(encoding="utf-8"), rows_of), encoding="utf-8")
