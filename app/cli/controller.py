"""``controller``: keep the tokens in the AWS secrets of ECS tasks that have no agent."""

import asyncio
import contextlib
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import click

from app.cli.controller_options import controller_options
from app.cli.options import fail
from app.core.arn import ArnError, parse_arn
from app.local.addresses import ListenAddress, TcpAddress

if TYPE_CHECKING:
    from app.controller.control_plane import ApiAccess
    from app.controller.passes import PassResult
    from app.settings.environment import Settings
    from app.tokens.key_files import SigningKeyFile

_TASK_TAGS_WARNING: Final = (
    "--identity task-tags: whoever has ecs:TagResource or ecs:RunTask in a cluster can choose the mesh, the service and the "
    "workload of a token; prefer --identity role, where the tags of the task's IAM role decide"
)


@click.command(short_help="Keep tokens in the secrets of ECS tasks without an agent.")
@controller_options
def controller(  # noqa: PLR0913 - one parameter an option
    *,
    api_server_url: str | None,
    api_token: str | None,
    api_token_file: Path | None,
    api_ca: str | None,
    api_ca_file: Path | None,
    signing_keys: Path | None,
    prefix: str,
    clusters: tuple[str, ...],
    mesh: str,
    identity: str,
    valid_for: timedelta,
    interval: timedelta,
    once: bool,
    dry_run: bool,
    diagnostics: ListenAddress,
    region: str | None,
    metadata_url: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Keep tokens in the AWS secrets of ECS tasks that have no agent, as Kong's old ECS controller did.

    For each service, the secret PREFIX + SERVICE must exist and hold a JSON object, {} at least. The controller puts a
    token under the key "token" if there is none that is usable, and replaces it at half of its life. All other keys
    stay. The controller never makes, deletes or lists secrets, and never logs a token.

    \b
    kuma-aws-iam controller --api-server-url https://cp.mesh:5682 --secret-name-prefix kong-mesh-ecs/
    kuma-aws-iam controller --identity role --signing-keys /keys/dataplane.keys
    kuma-aws-iam controller --signing-keys /keys/dataplane.keys --dry-run

    `kuma-aws-iam run` does the same, since the command of Kong's image is `run`.

    Exit status: 0 a signal, or the one pass of --once or --dry-run had no failure and found no secret missing or
    malformed; 1 otherwise; 2 usage or settings.
    """
    # structlog imports rich for colours (3.8 MB); see `app.cli.serve`.
    cast("dict[str, Any]", sys.modules).setdefault("rich", None)
    # Other commands need none of these modules.
    from app.controller.controller import ControllerOptions, run_controller  # noqa: PLC0415
    from app.controller.parts import PassOptions  # noqa: PLC0415
    from app.telemetry.audit import configure_logging, get_logger  # noqa: PLC0415

    api = _api_access(api_server_url, (api_token, api_token_file), (api_ca, api_ca_file))
    if (api is None) == (signing_keys is None):
        raise click.UsageError("say who issues the tokens: --api-server-url or --signing-keys, and not both")
    clusters = clusters or (_own_cluster(metadata_url),)
    region = region or _region_of(clusters[0])
    if not region:
        raise click.UsageError("no region: give --region, or set AWS_REGION to the region of the clusters")
    if not isinstance(diagnostics, TcpAddress):
        raise click.UsageError("--diagnostics: write host:port")
    options = ControllerOptions(
        region=region,
        clusters=clusters,
        passes=PassOptions(prefix=prefix, valid_for=valid_for, dry_run=dry_run),
        default_mesh=mesh,
        interval=interval.total_seconds(),
        identity="role" if identity == "role" else "task-tags",
        roles=_role_settings(region) if identity == "role" else None,
        api=api,
        keys=None if signing_keys is None else _read_keys(signing_keys),
        listen=diagnostics,
        once=once or dry_run,
    )
    configure_logging(cast("Any", log_level), cast("Any", log_format))
    if options.identity == "task-tags":
        get_logger().warning("setting", detail=_TASK_TAGS_WARNING)
    for warning in () if options.keys is None else options.keys.warnings():
        get_logger().warning("setting", detail=warning)
    try:
        result = asyncio.run(run_controller(options))
    except Exception as error:  # noqa: BLE001 - the text of an unknown error may hold a secret
        _fail_to_start(error, diagnostics)
    if dry_run:
        _print_plan(result)
    _exit(1 if options.once and not result.is_good else 0)


def _api_access(
    url: str | None, token: tuple[str | None, Path | None], ca: tuple[str | None, Path | None]
) -> "ApiAccess | None":
    from app.controller.control_plane import (  # noqa: PLC0415 - see above
        ApiAccess,
        api_token_reader,
        parse_api_url,
        parse_ca,
    )

    if url is None:
        return None
    text, path = ca
    try:
        server = parse_api_url(url)
    except ValueError as error:
        raise click.UsageError(f"--api-server-url: {error}") from error
    try:
        # An empty variable is an unset one. An empty file is a mistake, which must not make the public authorities trusted.
        pem = path.read_text("utf-8") if path is not None else (text or None)
        authorities = None if pem is None else parse_ca(pem)
    except (OSError, ValueError) as error:
        problem = "it cannot be read" if isinstance(error, OSError | UnicodeDecodeError) else error
        raise click.UsageError(f"--api-ca-file or KUMA_API_CA_BYTES: {problem}") from error
    read_token = api_token_reader(*token)
    try:
        read_token()
    except ValueError as error:
        raise click.UsageError(f"set KUMA_API_TOKEN, or give --api-token-file: {error}") from error
    return ApiAccess(server=server, ca=authorities, read_token=read_token)


def _own_cluster(metadata_url: str | None) -> str:
    from app.controller.ecs_metadata import MetadataError, read_own_cluster  # noqa: PLC0415 - see above

    if not metadata_url:
        raise click.UsageError("no cluster: give --cluster; only a task on ECS knows its own cluster")
    try:
        return read_own_cluster(metadata_url)
    except MetadataError as error:
        raise click.UsageError(str(error)) from error


def _region_of(cluster: str) -> str:
    """Return the region in the ARN of a cluster. On EC2, ECS sets no variable for the region."""
    try:
        return parse_arn(cluster).region
    except ArnError:
        return ""


def _read_keys(path: Path) -> "SigningKeyFile":
    from app.tokens.key_files import read_dataplane_key_file  # noqa: PLC0415 - see above

    try:
        return read_dataplane_key_file(str(path))
    except ValueError as error:
        raise click.UsageError(f"--signing-keys: {path}: {error}") from error


def _role_settings(region: str) -> "Settings":
    from app.settings.loading import SettingsError, load_role_settings  # noqa: PLC0415 - see above

    try:
        settings = load_role_settings()
    except SettingsError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise click.UsageError(f"--identity role needs the service's settings about roles:\n{problems}") from error
    if settings.own_region != region:
        raise click.UsageError(f"AWS_REGION names {settings.own_region}; --identity role needs it to name {region}")
    return settings


def _fail_to_start(error: Exception, diagnostics: TcpAddress) -> NoReturn:
    from app.controller.aws_calls import InsecureEndpointError  # noqa: PLC0415 - see above

    match error:
        case InsecureEndpointError():
            raise click.UsageError(str(error)) from error
        case OSError():
            fail(f"--diagnostics: cannot listen on {diagnostics} ({error.strerror}); give another address")
    fail(f"a bug of the controller: {type(error).__name__}")


def _print_plan(result: "PassResult") -> None:
    from app.controller.reasons import PutReason  # noqa: PLC0415 - see above

    for handled in sorted(result.handled, key=lambda each: each.wanted.name):
        wanted = handled.wanted
        done = "not handled" if handled.done is None else handled.done.value
        is_put = isinstance(handled.done, PutReason)
        words = [f"{'would put' if is_put else 'leave':9}", wanted.name, done]
        bound = f"mesh {wanted.identity.mesh}"
        if wanted.identity.service is not None:
            bound += f", service {wanted.identity.service}"
        click.echo("  ".join([*words, bound, f"{wanted.tasks} tasks", *filter(None, [handled.detail])]))
    click.echo(f"{result.tasks} tasks, {len(result.handled)} secrets; nothing was put")


def _exit(status: int) -> NoReturn:
    """End without a wait for threads that still wait for AWS."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)
