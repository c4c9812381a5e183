"""The table of a demonstration: who sent what, the decision, and the reason. Each row is printed immediately."""

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLORS: Final = {"allowed": "green", "denied": "red", "undecided": "yellow", "accepted": "green", "refused": "red"}
_NUMBER_WIDTH: Final = 2
_VERDICT_WIDTH: Final = 9
_GAP: Final = 2


class DecisionTable:
    """Four columns of wrapped text, as wide as the terminal; 80 characters if the output is no terminal.

    Colours appear only on a terminal, and only if ``NO_COLOR`` is not set.
    """

    def __init__(self, console: Console | None = None) -> None:
        """Print to a console. If none is given, print to standard output."""
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._row = 0

    def print_head(self) -> None:
        """Print the names of the columns, and a line below them."""
        self._print("#", "who, and what was sent", Text("decided"), "why")
        line = "-" * self._console.width
        self._print("-" * _NUMBER_WIDTH, line, Text("-" * _VERDICT_WIDTH), line, overflow="crop")

    def print_row(self, verdict: str, sent: str, why: str) -> None:
        """Print one decision, with the next number, and an empty line after it."""
        self._row += 1
        self._print(str(self._row), sent, Text(verdict, style=_COLORS[verdict]), why)
        self._console.print()

    def _print(self, number: str, sent: str, verdict: Text, why: str, *, overflow: str = "fold") -> None:
        # Each row is a table of its own with equal columns, because rich prints a table only when all its rows are known.
        row = Table(box=None, show_header=False, expand=True, pad_edge=False, padding=(0, _GAP, 0, 0))
        row.add_column(width=_NUMBER_WIDTH, justify="right")
        row.add_column(ratio=9, overflow=overflow, no_wrap=overflow == "crop")  # type: ignore[arg-type]
        row.add_column(width=_VERDICT_WIDTH)
        row.add_column(ratio=11, overflow=overflow, no_wrap=overflow == "crop")  # type: ignore[arg-type]
        row.add_row(number, sent, verdict, why)
        self._console.print(row)
