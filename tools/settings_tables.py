"""Write the tables of docs/reference/configuration.md out of the settings: ``make docs``.

A comment in the page names the group of settings whose table follows.

Usage: python -m tools.settings_tables
"""

from pathlib import Path
from typing import Final

from app.settings.environment import Settings, shown
from app.settings.parsing import SettingsGroup, variable_of
from tools.generated_tables import write_tables

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"


def rows_of(group_name: str) -> list[tuple[str, ...]]:
    """Return the rows of a group of settings, the head first.

    Raises:
        KeyError: there is no such group.
    """
    group = {group.__name__: group for group in Settings.__bases__ if issubclass(group, SettingsGroup)}[group_name]
    return [
        ("Variable", "Meaning", "Default"),
        *(
            (f"`{variable_of(group, name)}`", str(field.description), f"`{shown(name, field.default)}`")
            for name, field in group.model_fields.items()
        ),
    ]


if __name__ == "__main__":
    PAGE.write_text(write_tables(PAGE.read_text(encoding="utf-8"), rows_of), encoding="utf-8")
