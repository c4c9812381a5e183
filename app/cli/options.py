"""What several commands take, and how they speak to a running service."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import httpx

from app.adapters.signer import MAX_EXPIRES, SigningError, ambient_credentials, find_endpoint, presign
from app.adapters.sts_endpoints import load_sts_endpoints
from app.core.credential import encode_jwt_clothes, encode_native
from app.settings_checks import DEFAULT_LISTEN
from app.settings_values import ListenAddress, TcpAddress, parse_listen_address

DEFAULT_AUDIENCE: Final = "kuma-control-plane"
_TIMEOUT: Final = 30.0


def signing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --audience, --region and --format."""
    for option in (
        click.option(
            "--format",
            "form",
            type=click.Choice(["native", "jwt"]),
            default="native",
            show_default=True,
            help="jwt: the same credential in the shape that a stock kuma-dp accepts as --dataplane-token-file.",
        ),
        click.option(
            "--region",
            envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
            show_envvar=True,
            help="Region whose STS endpoint it is signed for, or aws-global.",
        ),
        click.option(
            "--audience",
            envvar="KMESH_AWSIAM_AUDIENCE",
            default=DEFAULT_AUDIENCE,
            show_default=True,
            show_envvar=True,
            help="The control plane that it is bound to: its KMESH_AWSIAM_AUDIENCE.",
        ),
    ):
        command = option(command)
    return command


def make_credential(*, audience: str, region: str | None, form: str, expires: int = MAX_EXPIRES) -> str:
    """Sign with the ambient AWS credentials; ends the command with a sentence when that cannot be."""
    if not region:
        raise click.UsageError("no region: give --region, or set AWS_REGION to the region that the proxy runs in")
    try:
        endpoint = find_endpoint(load_sts_endpoints(), region)
        url = presign(ambient_credentials(), endpoint, audience=audience, expires=expires)
    except SigningError as error:
        fail(str(error))
    return encode_jwt_clothes(url) if form == "jwt" else encode_native(url)


def fail(message: str) -> NoReturn:
    """End the command: it was understood, and did not succeed."""
    click.echo(f"kuma-aws-iam: {message}", err=True)
    sys.exit(1)


class ListenAddressType(click.ParamType[ListenAddress]):
    """``host:port`` or ``unix:/path``."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ListenAddress:
        """Parse it as the settings do."""
        if isinstance(value, str):
            try:
                return parse_listen_address(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        address: ListenAddress = value
        return address


def service_option(*envvars: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --service: where the running service listens."""
    return click.option(
        "--service",
        type=ListenAddressType(),
        default=DEFAULT_LISTEN,
        show_default=True,
        envvar=list(envvars),
        show_envvar=True,
        help="Where the service listens: host:port or unix:/path.",
    )


@contextlib.contextmanager
def service_client(address: ListenAddress) -> Iterator[httpx.Client]:
    """Open a client of the service; ends the command with a sentence when it cannot be reached."""
    if isinstance(address, TcpAddress):
        transport, base_url = httpx.HTTPTransport(trust_env=False), f"http://{address}"
    else:
        transport, base_url = httpx.HTTPTransport(uds=str(address.path), trust_env=False), "http://service"
    try:
        with httpx.Client(transport=transport, base_url=base_url, timeout=_TIMEOUT, trust_env=False) as client:
            yield client
    except httpx.HTTPError as error:
        fail(f"the service at {address} cannot be asked ({error}); is it running, and is --service right?")


def write_secret(path: Path, text: str) -> None:
    """Write a file for the owner alone, whole or not at all, without a newline: gRPC refuses one in metadata."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        partial.write_text(text, encoding="ascii")
        partial.replace(path)
    except OSError as error:
        fail(f"{path} cannot be written ({error.strerror})")
