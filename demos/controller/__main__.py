"""``make demo-controller``: the controller over three passes. Exit status 0 if all is as expected."""

import asyncio
import sys

import structlog
from rich import box
from rich.console import Console
from rich.table import Table

from demos.controller.play import PASSES, play


def main() -> int:
    """Play, print, and return the exit status."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print("Starting moto (ECS and Secrets Manager) and a control plane that issues tokens ...\n")
    table = Table(box=box.SIMPLE, show_lines=True, expand=True)
    heads = {"pass": 5, "service": 3, "its secret before": 6, "done, and why": 10, "the control plane": 5}
    for head, ratio in heads.items():
        table.add_column(head, ratio=ratio, overflow="fold")
    surprises = 0
    with structlog.testing.capture_logs():
        for row in asyncio.run(play()):
            table.add_row(*row.cells(), style="" if row.is_expected else "red")
            surprises += not row.is_expected
    console.print(table)
    console.print(
        "moto starts every task as running, lists all tasks in one page, and has no policies, no throttling and"
    )
    console.print("no containers. So pages, pending tasks, denied calls and the start of a task are not shown here.")
    console.print("Without a VersionStage, moto's GetSecretValue returns the version before; AWS returns AWSCURRENT.\n")
    rows = sum(len(each.expected) for each in PASSES)
    console.print(f"{len(PASSES)} passes, {rows} expectations: {rows - surprises} met, {surprises} not")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
