"""The table of ``doctor``: what was checked, its state, what was found and what to do. Each row is printed at once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.diagnosis.finding import Finding

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_STATE_WIDTH: Final = 7
_CHECK_WIDTH: Final = 23
_GAP: Final = 2


class FindingsTable:
    """Three columns of wrapped text, as wide as the terminal; 80 characters if the output is no terminal.

    Colours appear only on a terminal, and only if ``NO_COLOR`` is not set.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        """Print to standard output, or to standard error if the command's result is not this table."""
        self._console = Console(highlight=False, markup=False, emoji=False, stderr=to_stderr)

    def progress(self) -> AbstractContextManager[object]:
        """Show on a terminal that checks are running. Elsewhere this prints nothing."""
        return self._console.status("checking; each row appears when its check has ended")

    def print_rows(self, findings: Iterable[Finding]) -> None:
        """Print each finding, with its remedy below it."""
        for finding in findings:
            text = Text(finding.found)
            if finding.remedy is not None:
                text.append(f"\n-> {finding.remedy}", style="bold" if finding.state != "ok" else "")
            # Each row is a table of its own with equal columns, because rich prints a table only when all rows are known.
            row = Table(box=None, show_header=False, expand=True, pad_edge=False, padding=(0, _GAP, 0, 0))
            row.add_column(width=_STATE_WIDTH)
            row.add_column(width=_CHECK_WIDTH, overflow="fold")
            row.add_column(ratio=1, overflow="fold")
            row.add_row(Text(finding.state.value, style=_STYLES[finding.state.value]), finding.check, text)
            self._console.print(row)

    def print_summary(self, findings: Sequence[Finding]) -> None:
        """Print how many findings there are of each state."""
        counts = Counter(finding.state.value for finding in findings)
        words = ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state])
        self._console.print(f"\n{len(findings)} checks: {words}")
