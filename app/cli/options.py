"""Options that several commands share, and their connection to a running service.

The HTTP client and the signer are imported in the functions that use them: both are large, and not every command needs them.
"""

import contextlib
import functools
import itertools
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from click.core import ParameterSource

from app.core.credential import encode_jwt_clothes, encode_native
from app.local.addresses import ListenAddress, TcpAddress, parse_listen_address
from app.local.caller_tokens import read_tokens
from app.local.secret_file import write_secret_file
from app.settings.values import DEFAULT_AUDIENCE, DEFAULT_LISTEN, parse_audience, parse_extra_regions

if TYPE_CHECKING:
    import httpx

    from app.core.endpoints import StsEndpoint

_TIMEOUT: Final = 30.0
# A service can listen on a wildcard address, but a client cannot connect to it. So the client connects to loopback.
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are replaced here
_EXTRA: Final = "app.cli.options.extra_regions"
_FIRST_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def _check_audience(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return parse_audience(value)
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


def require_region(region: str | None) -> str:
    """Return the region. If there is none, print an error and end the command."""
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


class ListenAddressType(click.ParamType[ListenAddress]):
    """``host:port`` or ``unix:/path``."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ListenAddress:
        """Parse the address as the settings do."""
        if isinstance(value, str):
            try:
                return parse_listen_address(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        address: ListenAddress = value
        return address


def service_option(*envvars: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --service, the address of the running service."""
    return click.option(
        "--service",
        type=ListenAddressType(),
        default=DEFAULT_LISTEN,
        show_default=True,
        envvar=list(envvars),
        show_envvar=True,
        help="Where the service listens: host:port or unix:/path.",
    )


def diagnostics_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --diagnostics, the address of the probes if they have their own listener."""
    return click.option(
        "--diagnostics",
        type=ListenAddressType(),
        envvar="KMESH_AWSIAM_DIAGNOSTICS_LISTEN",
        show_envvar=True,
        help="Where its diagnostics listen, in plain http; asked unless --service is given.",
    )(command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a caller authenticates to the service, and which certificates it trusts.

    Attributes:
        token_file: the file of caller tokens; the first one is sent.
        ca_file: the authorities for the service's certificate.
        cert_file: the caller's own certificate, for mutual TLS.
        key_file: the private key of that certificate; None if it is in the same file.
        is_own: whether ``ca_file`` is the service's certificate itself: it comes from the variable that sets the service's
            certificate.
    """

    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    is_own: bool = False

    @property
    def is_tls(self) -> bool:
        """Whether the service is called over https."""
        return self.ca_file is not None or self.cert_file is not None

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate the caller."""
        if self.token_file is None:
            return {}
        try:
            return {"authorization": f"Bearer {read_tokens(self.token_file)[0]}"}
        except ValueError as error:
            raise click.UsageError(f"{self.token_file}: {error}") from error

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of the client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca_file is None:
                context.load_default_certs()
            elif self.is_own:
                # Pin this certificate and skip the host-name check: few certificates list 127.0.0.1.
                context.check_hostname = False
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                found = _FIRST_CERTIFICATE.search(self.ca_file.read_text(encoding="utf-8"))
                context.load_verify_locations(cadata=found[0] if found else "")
            else:
                context.load_verify_locations(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ValueError) as error:
            raise click.UsageError(f"the TLS files cannot be used ({error}); check path, mode and PEM") from error
        return context


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --caller-token-file and the TLS files. The command gets them as one `Access`."""

    @functools.wraps(command)
    def with_access(
        *,
        caller_token_file: Path | None,
        tls_ca_file: Path | None,
        tls_cert_file: Path | None,
        tls_key_file: Path | None,
        **options: Any,
    ) -> Any:
        source = click.get_current_context().get_parameter_source("tls_ca_file")
        access = Access(
            token_file=caller_token_file,
            ca_file=tls_ca_file,
            cert_file=tls_cert_file,
            key_file=tls_key_file,
            is_own=source is ParameterSource.ENVIRONMENT,
        )
        return command(access=access, **options)

    for option in (
        click.option(
            "--tls-key-file",
            type=_FILE,
            envvar="KMESH_AWSIAM_TLS_KEY_FILE",
            show_envvar=True,
            help="The private key of --tls-cert-file, if it is in a separate file.",
        ),
        click.option(
            "--tls-cert-file",
            type=_FILE,
            envvar="KMESH_AWSIAM_TLS_CERT_FILE",
            show_envvar=True,
            help="PEM of the certificate to show: ask over https, with mutual TLS.",
        ),
        click.option(
            "--tls-ca-file",
            type=_FILE,
            envvar="KMESH_AWSIAM_TLS_CERT_FILE",
            show_envvar=True,
            help="PEM of the authorities of the service's certificate: ask over https. Out of the variable: the service's "
            "certificate itself.",
        ),
        click.option(
            "--caller-token-file",
            type=_FILE,
            envvar="KMESH_AWSIAM_CALLER_TOKEN_FILE",
            show_envvar=True,
            help="File of caller tokens of the service; the first token in it is sent.",
        ),
    ):
        with_access = option(with_access)
    return with_access


@contextlib.contextmanager
def service_client(address: ListenAddress, access: Access) -> "Iterator[httpx.Client]":
    """Open an HTTP client of the service. If the service cannot be reached, print an error and end the command."""
    import httpx  # noqa: PLC0415 - see above

    if isinstance(address, TcpAddress):
        address = TcpAddress(_WILDCARDS.get(address.host, address.host), address.port)
        if access.token_file is not None and not access.is_tls and not address.is_loopback:
            raise click.UsageError(
                f"the caller token would cross the network to {address} in clear; give --tls-ca-file to ask over https"
            )
        # Without TLS there is nothing to verify, and it takes time to load certificates.
        verify = access.context() if access.is_tls else False
        transport = httpx.HTTPTransport(verify=verify, trust_env=False)
        base_url = f"{'https' if access.is_tls else 'http'}://{address}"
    else:
        transport, base_url = httpx.HTTPTransport(uds=str(address.path), trust_env=False), "http://service"
    headers = access.headers()
    try:
        with httpx.Client(
            transport=transport, base_url=base_url, headers=headers, timeout=_TIMEOUT, trust_env=False
        ) as client:
            yield client
    except httpx.HTTPError as error:
        fail(f"the service at {address} cannot be asked ({error}); is it running, and is --service right?")


def write_secret(path: Path, text: str) -> None:
    """Write a whole file that only its owner can read. If that fails, print an error and end the command."""
    try:
        write_secret_file(path, text)
    except OSError as error:
        fail(f"{path} cannot be written ({error.strerror})")
