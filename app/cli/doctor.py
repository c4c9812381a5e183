"""``doctor``: check a deployment from within, and print a table with the remedies."""

import json
from typing import TYPE_CHECKING

import click

from app.cli.options import leave

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.cli.findings_table import FindingsTable
    from app.diagnosis.checkup import Outcome
    from app.diagnosis.finding import Finding
    from app.diagnosis.role_name import RoleName


def _role_names(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> "list[RoleName]":
    from app.diagnosis.role_name import parse_role_name  # noqa: PLC0415 - only these commands need it

    try:
        return [parse_role_name(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(short_help="Check a deployment: settings, clock, network, AWS credentials, roles, store.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ACCOUNT/NAME",
    callback=_role_names,
    help="A role, by name or ARN, that the service must be able to read; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, when all checks have ended.")
def doctor(*, roles: "list[RoleName]", as_json: bool) -> None:
    """Check a deployment: settings, clock, network, AWS credentials, roles, store.

    The command has the settings and the AWS credentials of the service: run it in the service's container, or as a task
    with the same task definition. It calls STS, IAM and the store as the service does, and prints what it found and what to
    do. It prints no secret, changes nothing, and ends within 35 seconds.

    \b
    kuma-aws-iam doctor
    kuma-aws-iam doctor --role 111122223333/demo-app

    check-config makes no call: it says whether serve would start, and prints the settings. health and authenticate ask a
    running service. explain-role says what one role is granted.

    Exit status: 0 nothing failed, 1 a check failed, 2 usage, or the settings are invalid.
    """
    from app.cli.findings_table import FindingsTable  # noqa: PLC0415 - it brings rich
    from app.diagnosis.doctor import examine  # noqa: PLC0415 - it brings all clients
    from app.diagnosis.finding import exit_status, worst  # noqa: PLC0415 - likewise
    from app.diagnosis.quiet import without_log  # noqa: PLC0415 - likewise
    from app.diagnosis.running import run_to_end  # noqa: PLC0415 - likewise

    table = FindingsTable(to_stderr=as_json)
    with without_log(), table.progress():
        findings, hangs = run_to_end(_collect(examine(roles), table, shows_rows=not as_json))
    status = exit_status(findings)
    if as_json:
        report = {"state": worst(findings).value, "checks": [finding.members() for finding in findings]}
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        table.print_summary(findings)
    leave(status, at_once=hangs)


async def _collect(outcomes: "AsyncIterator[Outcome]", table: "FindingsTable", *, shows_rows: bool) -> "list[Finding]":
    findings: list[Finding] = []
    async for outcome in outcomes:
        findings += outcome.findings
        if shows_rows:
            table.print_rows(outcome.findings)
    return findings
