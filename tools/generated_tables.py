"""The tables of a page that ``make docs`` writes. The text around them is written by hand."""

import re
from collections.abc import Callable
from typing import Final

_TABLE: Final = re.compile(r"(?<=^<!-- make docs: )(.+)( -->\n\n)(?:\|.*\n)*", re.MULTILINE)


def write_tables(page: str, rows_of: Callable[[str], list[tuple[str, ...]]]) -> str:
    """Return the page with its current tables.

    Args:
        page: Markdown. A comment ``<!-- make docs: NAME -->`` stands above the place of each table.
        rows_of: gives the rows of the table of that name, the head first.

    Raises:
        KeyError: a comment names no table.
    """
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}{_table(rows_of(found[1]))}", page)


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = rows
    return "\n".join([_line(head), f"|{'---|' * len(head)}", *map(_line, body)]) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "|" + "".join(f" {text} |" if text else " |" for text in (cell.replace("|", "\\|") for cell in cells))
