"""Write the tables of docs/reference/configuration.md out of the settings: ``make docs``.

A comment in the page names the group of settings whose table follows. The text around the tables is written by hand.

Usage: python -m tools.settings_tables
"""

import re
from pathlib import Path
from typing import Final

from app.settings.environment import Settings, shown
from app.settings.parsing import SettingsGroup, variable_of

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"
_TABLE: Final = re.compile(r"(?<=^<!-- make docs: )(\w+)( -->\n\n)(?:\|.*\n)*", re.MULTILINE)


def write_tables(page: str) -> str:
    """Return the page with the current tables.

    Raises:
        KeyError: a comment names no group of settings.
    """
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}{_table_of(found[1])}", page)


def _table_of(group_name: str) -> str:
    group = {group.__name__: group for group in Settings.__bases__ if issubclass(group, SettingsGroup)}[group_name]
    lines = ["| Variable | Meaning | Default |", "|---|---|---|"]
    for name, field in group.model_fields.items():
        meaning = str(field.description).replace("|", "\\|")
        lines.append(f"| `{variable_of(group, name)}` | {meaning} | `{shown(name, field.default)}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(write_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
