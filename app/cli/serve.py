"""``serve`` and ``check-config``: both read the environment through the same code."""

import contextlib
import os
import signal
import sys
from typing import Any, NoReturn, cast

import click

from app.settings.environment import Settings, discard_ignored_environment
from app.settings.loading import SettingsError, load_settings
from app.settings.warnings import find_warnings

_USAGE = 2


@click.command(short_help="Serve decisions until SIGTERM.")
def serve() -> None:
    """Serve decisions until SIGTERM.

    All settings are environment variables (check-config lists them). At least these must be set:

    \b
    control plane 2.0 - 2.6              control plane 2.7 and later
    KUMA_DP_SERVER_AUTH_TYPE=aws-iam     KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=aws-iam
    KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH   KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS
      =true                                =true
    KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=111122223333

    The service also needs AWS credentials of its own with iam:GetRole (on ECS: the task role). It listens on
    127.0.0.1:5690 unless KMESH_AWSIAM_LISTEN names another address.
    """
    # This handler is for the time until the server has its own. The first process of a container ignores SIGTERM if it has
    # no handler.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    # structlog imports rich for colours (3.8 MB), and FastAPI imports pydantic.v1 to reject its models (1.5 MB).
    # Both work without these modules. The value None in sys.modules makes the import of a module fail.
    for name in ("rich", "pydantic.v1"):
        cast("dict[str, Any]", sys.modules).setdefault(name, None)
    settings = load_or_exit()
    # Before the import, because FastAPI loads the propagators of OpenTelemetry that the environment names.
    discard_ignored_environment()
    # The server is imported here, because check-config does not need it, and starts in a third of the time without it.
    from app.server.process import run  # noqa: PLC0415
    from app.server.sockets import ListenError  # noqa: PLC0415
    from app.telemetry.untraced import TracingError  # noqa: PLC0415

    try:
        run(settings)
    except (ListenError, TracingError) as error:
        click.echo(f"kuma-aws-iam: {error}", err=True)
        sys.exit(_USAGE if isinstance(error, TracingError) else 1)
    # A normal exit would wait for each thread that still waits for AWS. That can take longer than the time that ECS gives a
    # container to stop.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)


@click.command("check-config", short_help="Check the environment and print the effective settings.")
def check_config() -> None:
    """Check the environment and print the effective settings, without secrets.

    The command runs the code with which serve starts, and reports all problems together. Exit status 0 if serve would start
    with this environment, 2 if it would not.
    """
    settings = load_or_exit()
    width = max(len(variable) for variable, _, _ in settings.effective())
    for variable, value, is_set in settings.effective():
        click.echo(f"{variable:{width}}  {value}{'' if is_set else '  (default)'}")
    click.echo()
    click.echo(f"proxy types that use aws-iam: {', '.join(sorted(settings.enabled_types))}")
    click.echo(f"accounts: {', '.join(sorted(settings.authorized_accounts))}")
    click.echo(f"STS hosts accepted: {len(settings.accepted_endpoints)}")
    for warning in find_warnings(settings):
        click.echo(f"warning: {warning}", err=True)


def load_or_exit() -> Settings:
    """Return the settings. If they are invalid, print every problem, and end the command with exit status 2."""
    try:
        return load_settings()
    except SettingsError as error:
        _fail(error)


def _fail(error: SettingsError) -> NoReturn:
    count = len(error.problems)
    click.echo(f"kuma-aws-iam: {count} {'problem' if count == 1 else 'problems'} in the environment", err=True)
    for problem in error.problems:
        click.echo(f"  {problem}", err=True)
    sys.exit(_USAGE)
