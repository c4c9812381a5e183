"""Options of the commands that sign or write a token file.

The signer is imported in the functions that use it: it is large, and not every command needs it.
"""

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from app.core.credential import encode_jwt_clothes, encode_native
from app.core.kuma_version import KumaVersion, parse_kuma_version
from app.settings.values import DEFAULT_AUDIENCE, parse_audience, parse_extra_regions

if TYPE_CHECKING:
    from app.core.endpoints import StsEndpoint

_EXTRA: Final = "app.cli.options.extra_regions"


def _check_audience(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return parse_audience(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def check_version(_context: click.Context, _option: click.Parameter, value: str | None) -> KumaVersion | None:
    """Parse the value of an option --kuma-version."""
    try:
        return None if value is None else parse_kuma_version(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _keep_extra_regions(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    # `sts_endpoints` parses the value later: a health check of the agent accepts the option, but signs nothing.
    context.meta[_EXTRA] = value


def signing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --audience, --region and --format."""
    return where_options(
        click.option(
            "--format",
            "form",
            type=click.Choice(["native", "jwt"]),
            default="native",
            show_default=True,
            help="jwt: the same credential in the shape that a stock kuma-dp accepts as --dataplane-token-file.",
        )(command)
    )


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --audience and --region, which a credential is signed for, and --extra-regions, which `sts_endpoints` uses."""
    for option in (
        click.option(
            "--extra-regions",
            envvar="KMESH_AWSIAM_EXTRA_REGIONS",
            show_envvar=True,
            expose_value=False,
            callback=_keep_extra_regions,
            help="Names of AWS regions, comma-separated, that are newer than this installation.",
        ),
        click.option(
            "--region",
            envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
            show_envvar=True,
            help="Region whose STS endpoint it is signed for, or aws-global.",
        ),
        click.option(
            "--audience",
            callback=_check_audience,
            envvar="KMESH_AWSIAM_AUDIENCE",
            default=DEFAULT_AUDIENCE,
            show_default=True,
            show_envvar=True,
            help="The control plane that it is bound to: its KMESH_AWSIAM_AUDIENCE.",
        ),
    ):
        command = option(command)
    return command


def kuma_version_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --kuma-version, for what a control plane of that version does not read."""
    return click.option(
        "--kuma-version",
        envvar="KMESH_AWSIAM_KUMA_VERSION",
        show_envvar=True,
        callback=check_version,
        metavar="VERSION",
        help="The version of the control plane, such as 3.0. What that version does not read is an error. Without this "
        "option the forms of all versions are read.",
    )(command)


def token_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --token-file, the file that a proxy reads. kuma-dp reads the same environment variable."""
    return click.option(
        "--token-file",
        # click does not check the file: it would exit with 2, but a health check must exit with 1 for every fault of it.
        type=click.Path(readable=False, path_type=Path),
        required=True,
        envvar="KUMA_DATAPLANE_RUNTIME_TOKEN_PATH",
        show_envvar=True,
        help="The file that the proxy reads: its --dataplane-token-file.",
    )(command)


def keys_file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --dataplane-keys-file and --zone-keys-file, the files that list the service's keys."""
    for kind in ("zone", "dataplane"):
        command = click.option(
            f"--{kind}-keys-file",
            # The file is read only with --explain. Without it, a variable that names no file here is no error.
            type=click.Path(readable=False, path_type=Path),
            envvar=f"KMESH_AWSIAM_{kind.upper()}_KEYS_FILE",
            show_envvar=True,
            help=f"With --explain: the service's file of {kind} keys, to verify the signature of a token.",
        )(command)
    return command


def require_region(region: str | None) -> str:
    """Return the region. If no region is set, print an error and end the command."""
    if not region:
        raise click.UsageError("no region: give --region, or set AWS_REGION to the region that the proxy runs in")
    return region


def sts_endpoints() -> "tuple[StsEndpoint, ...]":
    """Return every STS endpoint: those that botocore knows, and those of --extra-regions."""
    from app.sts.endpoints import load_sts_endpoints, make_sts_endpoints  # noqa: PLC0415 - it brings botocore

    text: str | None = click.get_current_context().meta[_EXTRA]
    try:
        extra = [make_sts_endpoints(region) for region in (parse_extra_regions(text) if text else ())]
    except ValueError as error:
        raise click.UsageError(f"--extra-regions or KMESH_AWSIAM_EXTRA_REGIONS: {error}") from error
    return (*load_sts_endpoints(), *itertools.chain.from_iterable(extra))


def make_credential(*, audience: str, region: str | None, form: str, expires: int | None = None) -> str:
    """Sign with the ambient AWS credentials. If that fails, print the error and end the command."""
    from app.sts.signer import (  # noqa: PLC0415 - it brings botocore
        MAX_EXPIRES,
        SigningError,
        ambient_credentials,
        find_endpoint,
        presign,
    )

    try:
        endpoint = find_endpoint(sts_endpoints(), require_region(region))
        url = presign(ambient_credentials(), endpoint, audience=audience, expires=expires or MAX_EXPIRES)
    except SigningError as error:
        fail(str(error))
    return encode_jwt_clothes(url) if form == "jwt" else encode_native(url)


def fail(message: str) -> NoReturn:
    """Print an error and end the command with exit status 1, for a failure that is not wrong usage."""
    click.echo(f"kuma-aws-iam: {message}", err=True)
    sys.exit(1)


def leave(status: int, *, at_once: bool) -> NoReturn:
    """End the command. With ``at_once`` wait for no thread: one waits for DNS, or for the SDK's search for credentials."""
    if at_once:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
