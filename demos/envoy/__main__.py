"""``make demo-envoy``: proxies against a control plane with a real Envoy in front. Exit status 0 if all is as expected."""

import asyncio
import json
import ssl
import sys

import click
import httpx

from app.demo.stage import StageError, exit_on_sigterm
from app.demo.table import DecisionTable
from demos.envoy.certificates import NAME
from demos.envoy.envoy import EnvoyError
from demos.envoy.rows import Outcome, play, rows
from demos.envoy.stage import Front, open_front

_VERDICTS = {"OK": "allowed", "UNAVAILABLE": "undecided"}


async def main() -> int:
    """Play, print, and return the exit status."""
    click.echo("Starting a local AWS, the service, Envoy and a control plane ...\n", err=True)
    async with open_front(verbose="--verbose" in sys.argv) as front:
        table = DecisionTable()
        table.print_head()
        problems = await _bootstrap(front, table)
        played = rows()
        for row in played:
            outcome = await play(front, row)
            found = list(outcome.problems(row))
            problems += bool(found)
            table.print_row(_verdict(outcome), f"{row.title}\n{row.sent}", _why(outcome, found))
    click.echo(f"\n{len(played) + 1} rows, {problems} not as expected")
    return 1 if problems else 0


def _verdict(outcome: Outcome) -> str:
    return _VERDICTS.get(outcome.answer.code, "denied")


def _why(outcome: Outcome, problems: list[str]) -> str:
    """Say what the proxy was answered and what the control plane saw."""
    said = outcome.answer.details
    if said.startswith("{"):
        problem = json.loads(said)
        said = f"{problem['reason']}: {problem['detail']}"
    lines = [f"{outcome.answer.code} {said}".rstrip()]
    lines.append(f"control plane saw: {'nothing' if outcome.saw is None else outcome.saw}")
    return "\n".join([*(f"UNEXPECTED: {problem}" for problem in problems), *lines])


async def _bootstrap(front: Front, table: DecisionTable) -> int:
    """A proxy's first call, which passes as it is. Return 1 if it does not."""
    context = ssl.create_default_context(cadata=front.envoy.authority.cert.decode())
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        answer = await client.post(f"https://{NAME}:{front.envoy.port}/bootstrap", json={"mesh": "default"})
    saw = front.control_plane.bootstraps
    passed = answer.is_success and len(saw) == 1
    words = f"HTTP {answer.status_code}\ncontrol plane saw: {'its body' if saw else 'nothing'}"
    verdict = "allowed" if passed else "denied"
    table.print_row(verdict, "demo-app, bootstrap\nPOST /bootstrap, as kuma-dp begins", words)
    return int(not passed)


if __name__ == "__main__":
    exit_on_sigterm()
    try:
        sys.exit(asyncio.run(main()))
    except (EnvoyError, StageError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
