"""``agent``: keep a proxy's token file valid. The agent runs next to the proxy, or starts it."""

import os
import random
import re
import stat
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from app.agent.errors import RenewalError
from app.agent.lines import Log
from app.agent.service_address import ServiceAddress, parse_service_url
from app.cli.agent_state import check_listen, listen, report_health
from app.cli.assertion import assertion_options
from app.cli.options import require_region, sts_endpoints, token_file_option, where_options
from app.local.addresses import TcpAddress
from app.local.clock import utc_now
from app.local.unix_socket import parse_socket_group

_MODE: Final = re.compile(r"0?o?([0-7]{3})", re.ASCII)
_GIVE_UP_AFTER: Final = 600
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def _check_url(_context: click.Context, _option: click.Parameter, value: str | None) -> ServiceAddress | None:
    try:
        return None if value is None else parse_service_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _check_mode(_context: click.Context, _option: click.Parameter, value: str) -> int:
    match = _MODE.fullmatch(value)
    bits = int(match[1], 8) if match else 0
    if bits & stat.S_IRUSR == 0 or bits & (stat.S_IRWXO | stat.S_IXUSR | stat.S_IXGRP):
        raise click.BadParameter("write an octal mode that others have no part in: 0600, 0640, 0440")
    return bits


def _check_group(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_socket_group(value).gid
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    short_help="Keep a proxy's token file good, and run the proxy.",
)
@token_file_option
@click.option(
    "--mode",
    type=click.Choice(["credential", "token"]),
    help="credential: the signed request itself, for Envoy or a control plane that asks the service. token: what the "
    "service gives for it, for a stock control plane.",
)
@click.option(
    "--service-url",
    "service",
    callback=_check_url,
    help="Where the service is: https://HOST:PORT, unix:/path, or http:// on loopback. Needed for --mode token.",
)
@click.option("--ca-file", type=_FILE, help="PEM of the authorities of the service's certificate, if not the system's.")
@click.option("--client-cert-file", type=_FILE, help="PEM of the certificate to show to the service, for mutual TLS.")
@click.option(
    "--client-key-file", type=_FILE, help="The private key of --client-cert-file, if it is in a separate file."
)
@click.option(
    "--caller-token-file",
    type=_FILE,
    help="File of caller tokens of the service; the first token in it is sent.",
)
@assertion_options("--proxy-type")
@where_options
@click.option(
    "--file-mode",
    "mode_bits",
    callback=_check_mode,
    default="0600",
    show_default=True,
    help="Mode of the file; 0640 with --group where the proxy has another user.",
)
@click.option("--group", "gid", callback=_check_group, help="Group of the file: a name, or a number.")
@click.option(
    "--give-up-after",
    type=click.IntRange(0, 86400),
    default=_GIVE_UP_AFTER,
    show_default=True,
    metavar="SECONDS",
    help="How long a denial, or a lack of credentials, must last before the agent ends because of it.",
)
@click.option("--once", is_flag=True, help="Write the file once and end.")
@click.option(
    "--health", is_flag=True, help="Only check that the file exists and is valid, for a health check; makes no call."
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --health: print one JSON object with the state of the file."
)
@click.option(
    "--metrics-listen",
    callback=check_listen,
    metavar="HOST:PORT",
    help="Serve /metrics there for Prometheus, for example on 127.0.0.1:5692. Without this option there is no listener.",
)
@click.option(
    "--exec",
    "is_exec",
    is_flag=True,
    help="When the file exists, start the command after --; end when that command ends.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, help="The proxy's command and its arguments.")
def agent(  # noqa: PLR0913 - one parameter an option
    *,
    token_file: Path,
    mode: str | None,
    service: ServiceAddress | None,
    ca_file: Path | None,
    client_cert_file: Path | None,
    client_key_file: Path | None,
    caller_token_file: Path | None,
    asserted: dict[str, Any] | None,
    audience: str,
    region: str | None,
    mode_bits: int,
    gid: int | None,
    give_up_after: int,
    once: bool,
    health: bool,
    as_json: bool,
    metrics_listen: TcpAddress | None,
    is_exec: bool,
    command: tuple[str, ...],
) -> None:
    """Keep a proxy's token file valid. Run beside the proxy, or start the proxy with --exec.

    The agent signs with the AWS credentials that an SDK finds (on ECS the task role), always for AWS's own host. It writes
    the file as a whole, and renews it well before it expires. If it cannot get a new token or credential, the old file
    stays.

    \b
    kuma-aws-iam agent --mode token --service-url https://iam.mesh:5690 --token-file /kuma/token \\
        --dataplane-file /kuma/dataplane.yaml
    kuma-aws-iam agent --mode credential --token-file /kuma/token
    kuma-aws-iam agent --health --token-file /kuma/token
    kuma-aws-iam agent --mode credential --token-file /kuma/token \\
        --exec -- kuma-dp run --dataplane-token-file /kuma/token

    Exit status: 0 a signal, or --once is done; 1 denied; 2 usage; 3 no AWS credentials; 4 the file cannot be written;
    5 no decision (only with --once). With --exec the command's status; 126 if the command cannot be started, 127 if it
    does not exist.
    """
    if health:
        report_health(token_file, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json is the format of --health; the agent's log is JSON without it")
    _check_usage(mode, service, command, is_exec=is_exec, once=once)
    _check_assertion(asserted, is_token=service is not None)
    _check_file(token_file)

    # A health check runs every few seconds beside every proxy, and needs none of these modules. So they are imported here.
    from app.agent.renewal import Renewals, TokenFile  # noqa: PLC0415
    from app.agent.runner import run_agent  # noqa: PLC0415
    from app.agent.service_client import ServiceAccess, ServiceClient  # noqa: PLC0415
    from app.agent.sources import CredentialSource, Signer, Source, TokenSource  # noqa: PLC0415
    from app.sts.signer import SigningError, find_endpoint  # noqa: PLC0415

    try:
        signer = Signer(find_endpoint(sts_endpoints(), require_region(region)), audience)
    except SigningError as error:
        raise click.UsageError(str(error)) from error
    source: Source = CredentialSource(signer)
    if service is not None:
        access = ServiceAccess(
            ca_file=ca_file, cert_file=client_cert_file, key_file=client_key_file, token_file=caller_token_file
        )
        client = ServiceClient(service, access)
        try:
            client.check_files()
        except RenewalError as error:
            raise click.UsageError(error.detail) from error
        source = TokenSource(signer, client, asserted)
    log = Log(utc_now)
    renewals = Renewals(
        source=source,
        file=TokenFile(path=token_file, mode=mode_bits, gid=gid),
        log=log,
        clock=utc_now,
        chance=random.random,
        patience=timedelta(seconds=give_up_after),
        once=once,
    )
    if metrics_listen is not None:
        metrics_listen = listen(metrics_listen, lambda: renewals.state.render(token_file, utc_now))
    log.info(
        "agent started",
        mode=mode,
        file=token_file,
        service=service,
        region=signer.endpoint.region,
        audience=audience,
        metrics=metrics_listen,
    )
    sys.exit(run_agent(renewals, command, log))


def _check_usage(
    mode: str | None,
    service: ServiceAddress | None,
    command: tuple[str, ...],
    *,
    is_exec: bool,
    once: bool,
) -> None:
    if mode is None:
        raise click.UsageError("say what is written: --mode credential or --mode token")
    if (mode == "token") != (service is not None):
        raise click.UsageError("--mode token needs --service-url, and --mode credential asks no service")
    if is_exec != bool(command):
        raise click.UsageError("write the proxy's command behind --exec --, and nothing without --exec")
    if is_exec and once:
        raise click.UsageError("--once ends after the first file; with --exec the agent runs as long as the proxy")


def _check_assertion(asserted: dict[str, Any] | None, *, is_token: bool) -> None:
    """Require a name with zone listeners: without one the token would be valid for every name, so the service refuses."""
    if is_token and asserted is not None and asserted.get("listeners") and asserted["name"] is None:
        raise click.UsageError(
            "--listener needs --name: the token of a zone proxy in a Dataplane always names that Dataplane"
        )


def _check_file(token_file: Path) -> None:
    if not token_file.parent.is_dir():
        raise click.UsageError(f"{token_file.parent} is no directory here; mount the volume that the proxy reads")
    if not os.access(token_file.parent, os.W_OK | os.X_OK):
        raise click.UsageError(f"{token_file.parent} is not writable for user {os.getuid()}; give it to this user")
    if token_file.is_dir():
        raise click.UsageError(f"{token_file} is a folder; give the path of the file in it that the proxy reads")
