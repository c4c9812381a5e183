"""``demo``: the whole way on this machine, on a local AWS that really checks SigV4."""

import contextlib
import itertools
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import click

from app.cli.options import fail

_COLORS: Final = {"allowed": "green", "denied": "red", "undecided": "yellow", "accepted": "green", "refused": "red"}
_MIN_WIDTH: Final = 100
_NUMBER_WIDTH: Final = 2
_VERDICT_WIDTH: Final = 9
_GAP: Final = "  "


@click.command(short_help="Play sidecars against a service on a local AWS.")
@click.option("--verbose", is_flag=True, help="Show the service's own log, its audit lines among it.")
@click.option(
    "--kuma", is_flag=True, help="Play agents and a stock control plane instead, which takes the tokens of the service."
)
def demo(*, verbose: bool, kuma: bool) -> None:
    """Play sidecars against a real service on a local AWS.

    It starts the emulator (STS and IAM that recompute SigV4) with tagged roles in three accounts, and this service as a
    process of its own; then sidecars present credentials: some that must be accepted, and some that must not. For each it
    prints what was sent, what was decided and why. Nothing leaves this machine. Exit status 0 when every decision was the
    expected one.
    """
    # The emulator and the signers are needed by nobody else.
    from app.demo.sidecars import SIDECARS, play  # noqa: PLC0415
    from app.demo.stage import StageError, exit_on_sigterm, open_stage  # noqa: PLC0415

    exit_on_sigterm()
    if kuma:
        _demo_kuma(verbose=verbose)
    click.echo("Starting a local AWS and the service ...", err=True)
    surprises = 0
    with contextlib.ExitStack() as stack:
        try:
            stage = stack.enter_context(open_stage(verbose=verbose))
        except StageError as error:
            fail(str(error))
        click.echo(
            f"  AWS      {stage.emulator.url} (accounts {', '.join(sorted(stage.emulator.world.accounts()))})", err=True
        )
        click.echo(f"  service  {stage.service_url} (authorized: {', '.join(stage.authorized_accounts)})\n", err=True)
        table = Table(max(shutil.get_terminal_size().columns, _MIN_WIDTH))
        for line in table.head():
            click.echo(line)
        for number, (sidecar, outcome) in enumerate(play(stage, SIDECARS), start=1):
            surprise = outcome.reason != sidecar.expected
            surprises += surprise
            why = f"UNEXPECTED, not {sidecar.expected or 'allowed'}: {outcome.why}" if surprise else outcome.why
            for line in table.row(number, outcome.verdict, f"{sidecar.title}\n{sidecar.sent}", why):
                click.echo(line)
    click.echo(f"\n{len(SIDECARS)} sidecars: {len(SIDECARS) - surprises} decided as expected, {surprises} not")
    sys.exit(surprises != 0)


def _demo_kuma(*, verbose: bool) -> NoReturn:
    from app.demo.kuma import CHECKS, make_keys, play  # noqa: PLC0415 - likewise
    from app.demo.stage import StageError, open_stage  # noqa: PLC0415

    surprises = 0
    with contextlib.ExitStack() as stack:
        try:
            keys = make_keys(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kuma-aws-iam-demo-"))))
            click.echo("The control plane's configuration, as kuma-aws-iam keys generate has printed it:\n", err=True)
            click.echo(keys.printed)
            click.echo("Starting a local AWS and the service ...\n", err=True)
            stage = stack.enter_context(open_stage(verbose=verbose, settings=keys.settings))
        except StageError as error:
            fail(str(error))
        table = Table(max(shutil.get_terminal_size().columns, _MIN_WIDTH))
        for line in table.head():
            click.echo(line)
        for number, (check, outcome) in enumerate(play(stage, keys), start=1):
            surprise = not check.is_met_by(outcome)
            surprises += surprise
            why = f"UNEXPECTED, not {check.verdict} ({check.because}): {outcome.why}" if surprise else outcome.why
            for line in table.row(number, outcome.verdict, f"{check.title}\n{check.sent}", why):
                click.echo(line)
    click.echo(f"\n{len(CHECKS)} checks: {len(CHECKS) - surprises} as expected, {surprises} not")
    sys.exit(surprises != 0)


class Table:
    """Three columns of wrapped text: who sent what, what was decided, and why."""

    def __init__(self, width: int) -> None:
        free = width - _NUMBER_WIDTH - _VERDICT_WIDTH - 3 * len(_GAP)
        self._widths = (free * 9 // 20, _VERDICT_WIDTH, free - free * 9 // 20)

    def head(self) -> Iterator[str]:
        """Yield the names of the columns."""
        yield self._line("#", "who, and what was sent", "decided", "why")
        yield self._line("-" * _NUMBER_WIDTH, *("-" * width for width in self._widths))

    def row(self, number: int, verdict: str, sent: str, why: str) -> Iterator[str]:
        """Yield the lines of one sidecar; the first tells at a glance."""
        columns = [
            [line for paragraph in text.splitlines() for line in textwrap.wrap(paragraph, width)]
            for text, width in zip((sent, verdict, why), self._widths, strict=True)
        ]
        for index, (who, decided, reason) in enumerate(itertools.zip_longest(*columns, fillvalue="")):
            line = self._line(str(number) if index == 0 else "", who, decided, reason)
            yield line.replace(verdict, click.style(verdict, fg=_COLORS[verdict], bold=True), 1) if decided else line
        yield ""

    def _line(self, number: str, *texts: str) -> str:
        cells = (
            f"{number:>{_NUMBER_WIDTH}}",
            *(f"{text:{width}}" for text, width in zip(texts, self._widths, strict=True)),
        )
        return _GAP.join(cells).rstrip()
