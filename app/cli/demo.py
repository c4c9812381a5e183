"""``demo``: proxies, the service and a local AWS that really checks SigV4, all on this machine."""

import contextlib
import sys

import click

from app.cli.options import fail


@click.command(short_help="Play sidecars against a service on a local AWS.")
@click.option("--verbose", is_flag=True, help="Show the service's own log, its audit lines among it.")
def demo(*, verbose: bool) -> None:
    """Present the credentials of simulated sidecars to a real service on a local AWS.

    The command starts the emulator (STS and IAM that recompute SigV4) with tagged roles in three accounts, and this
    service as a separate process. Then sidecars present credentials, some of which the service must accept and some of
    which it must not. For each, the command prints what the sidecar sent, what the service decided, and why. Nothing
    leaves this machine. Exit status 0 if every decision was the expected one.
    """
    # Only this command needs the emulator, the signers and rich.
    from app.demo.sidecars import SIDECARS, play  # noqa: PLC0415
    from app.demo.stage import StageError, exit_on_sigterm, open_stage  # noqa: PLC0415
    from app.demo.table import DecisionTable  # noqa: PLC0415

    exit_on_sigterm()
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
        table = DecisionTable()
        table.print_head()
        for sidecar, outcome in play(stage, SIDECARS):
            surprise = outcome.reason != sidecar.expected
            surprises += surprise
            why = f"UNEXPECTED, not {sidecar.expected or 'allowed'}: {outcome.why}" if surprise else outcome.why
            table.print_row(outcome.verdict, f"{sidecar.title}\n{sidecar.sent}", why)
    click.echo(f"\n{len(SIDECARS)} sidecars: {len(SIDECARS) - surprises} decided as expected, {surprises} not")
    sys.exit(surprises != 0)
