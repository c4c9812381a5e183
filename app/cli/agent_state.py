"""What the command ``agent`` shows of its state: its health, and where it serves its metrics."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from app.agent.held import check_file
from app.agent.lines import iso_time
from app.cli.options import fail
from app.local.addresses import TcpAddress, UnixAddress, parse_listen_address
from app.local.clock import utc_now


def check_listen(_context: click.Context, _option: click.Parameter, value: str | None) -> TcpAddress | None:
    """Parse ``--metrics-listen``."""
    try:
        address = None if value is None else parse_listen_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if isinstance(address, UnixAddress):
        raise click.BadParameter("Prometheus reads no Unix socket; write HOST:PORT, for example 127.0.0.1:5692")
    return address


def report_health(token_file: Path, *, as_json: bool) -> None:
    """Print the state of the token file, and end with 1 if a proxy cannot use it."""
    now = utc_now()
    held, problem = check_file(token_file, now)
    if as_json:
        ends_at = None if held is None else held.ends_at
        state = {
            "healthy": problem is None,
            "problem": problem,
            "file": str(token_file),
            "kind": None if held is None else held.kind,
            "begins_at": None if held is None or held.begins_at is None else iso_time(held.begins_at),
            "ends_at": None if ends_at is None else iso_time(ends_at),
            "seconds_left": None if ends_at is None else round((ends_at - now).total_seconds(), 1),
        }
        click.echo(json.dumps(state))
        sys.exit(0 if problem is None else 1)
    if problem is not None:
        fail(f"{token_file}: {problem}")
    click.echo("good")


def listen(address: TcpAddress, render: Callable[[], str]) -> TcpAddress:
    """Serve the metrics until the process ends. Return the address in use."""
    from app.agent.metrics_listener import serve_metrics  # noqa: PLC0415 - few agents have it

    try:
        return serve_metrics(address, render)
    except OSError as error:
        raise click.UsageError(
            f"--metrics-listen: the agent cannot listen on {address} ({error.strerror}); give a free port of this host"
        ) from error
