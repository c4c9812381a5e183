"""``make demo-kuma``: agents, and a stock control plane that takes their tokens. Exit status 0 if all is as expected."""

import contextlib
import sys
import tempfile
from pathlib import Path

import click

from app.cli.options import fail
from app.demo.stage import StageError, exit_on_sigterm, open_stage
from app.demo.table import DecisionTable
from demos.kuma.checks import CHECKS
from demos.kuma.play import make_keys, play


def main() -> int:
    """Play, print, and return the exit status."""
    surprises = 0
    with contextlib.ExitStack() as stack:
        try:
            keys = make_keys(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kuma-demo-"))))
            click.echo("Starting a local AWS and the service ...\n", err=True)
            stage = stack.enter_context(open_stage(verbose="--verbose" in sys.argv, settings=keys.settings))
        except StageError as error:
            fail(str(error))
        table = DecisionTable()
        table.print_head()
        for check, outcome in play(stage, keys, CHECKS):
            surprise = not check.is_met_by(outcome)
            surprises += surprise
            why = f"UNEXPECTED, not {check.verdict} ({check.because}): {outcome.why}" if surprise else outcome.why
            table.print_row(outcome.verdict, f"{check.title}\n{check.sent}", why)
        click.echo("The control plane's configuration, as kuma-aws-iam keys generate printed it:\n")
        click.echo(keys.printed)
    click.echo(f"{len(CHECKS)} checks: {len(CHECKS) - surprises} as expected, {surprises} not")
    return 1 if surprises else 0


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
