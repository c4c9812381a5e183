"""``health``: call a running service, for a container's HEALTHCHECK without a shell."""

import click
from click.core import ParameterSource

from app.agent.service_client import ServiceAccess
from app.cli.options import fail
from app.cli.service_access import access_options, ask_service, diagnostics_option, service_option
from app.local.addresses import ListenAddress

_OK = 200


@click.command(short_help="Ask a running service whether it serves.")
@service_option("KMESH_AWSIAM_LISTEN")
@diagnostics_option
@click.option("--ready", is_flag=True, help="Ask /ready instead: should calls be sent here?")
@access_options
def health(*, service: ListenAddress, diagnostics: ListenAddress | None, ready: bool, access: ServiceAccess) -> None:
    """Ask a running service whether it serves (exit status 0) or not (1).

    The command reads the variables that set the service's addresses, so a container's HEALTHCHECK needs no arguments. It
    calls the listener for diagnostics if there is one, else the API, over TLS if the API uses TLS. It calls /healthy,
    which does not depend on AWS: if AWS is down, a restart of the service would not help.

    If the API requires client certificates, give the diagnostics a listener of their own. Or use a server certificate that
    the client CA has issued for both uses, server and client.
    """
    path = "/ready" if ready else "/healthy"
    source = click.get_current_context().get_parameter_source("service")
    if diagnostics is not None and source is not ParameterSource.COMMANDLINE:
        service, access = diagnostics, ServiceAccess()
    reply = ask_service(service, access, path)
    if reply.status != _OK:
        fail(f"{path} answered {reply.status}: {reply.text}")
    click.echo(reply.text)
