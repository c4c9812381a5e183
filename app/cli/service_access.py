"""The options for a running service, and a call to it."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from app.agent.errors import RenewalError
from app.agent.service_address import ServiceAddress
from app.agent.service_client import Reply, ServiceAccess, ServiceClient
from app.cli.options import fail
from app.local.addresses import ListenAddress, TcpAddress, parse_listen_address
from app.settings.values import DEFAULT_LISTEN

# A service can listen on a wildcard address, but a client cannot connect to it. So the client connects to loopback.
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are replaced here
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


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


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --caller-token-file and the TLS files. The command gets them as one `ServiceAccess`."""

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
        access = ServiceAccess(
            token_file=caller_token_file,
            ca_file=tls_ca_file,
            cert_file=tls_cert_file,
            key_file=tls_key_file,
            is_pinned=source is ParameterSource.ENVIRONMENT,
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


def ask_service(
    address: ListenAddress,
    access: ServiceAccess,
    path: str,
    call: Mapping[str, Any] | None = None,
    audience: str | None = None,
) -> Reply:
    """Post a call, or get a path if there is no call. If the service does not answer, print an error and end the command.

    ``audience`` is the one that the credential in the call was signed for, if it is known.
    """
    secrets = [
        *(["credential"] if call is not None else []),
        *(["caller token"] if access.token_file is not None else []),
    ]
    client = ServiceClient(_service_address(address, access, secrets), access)
    try:
        client.check_files()
    except RenewalError as error:
        raise click.UsageError(error.detail) from error
    try:
        return client.get(path) if call is None else client.post(path, call, audience)
    except RenewalError as error:
        fail(error.detail)


def _service_address(address: ListenAddress, access: ServiceAccess, secrets: list[str]) -> ServiceAddress:
    if not isinstance(address, TcpAddress):
        return ServiceAddress(scheme="unix", path=address.path)
    address = TcpAddress(_WILDCARDS.get(address.host, address.host), address.port)
    is_tls = access.ca_file is not None or access.cert_file is not None
    # Whoever reads the credential can be this proxy for 15 minutes. The service itself never serves other hosts without TLS.
    if secrets and not is_tls and not address.is_loopback:
        raise click.UsageError(
            f"the {' and the '.join(secrets)} would cross the network to {address} in clear; "
            "give --tls-ca-file to ask over https"
        )
    return ServiceAddress(scheme="https" if is_tls else "http", host=address.host, port=address.port)
