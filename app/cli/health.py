"""``health``: call a running service, for a container's HEALTHCHECK without a shell."""

import click
from click.core import ParameterSource

from app.cli.options import Access, access_options, diagnostics_option, fail, service_client, service_option
from app.local.addresses import ListenAddress

_OK = 200


@click.command(short_help="Ask a running service whether it serves.")
@service_option("KMESH_AWSIAM_LISTEN")
@diagnostics_option
@click.option("--ready", is_flag=True, help="Ask /ready instead: should calls be sent here?")
@access_options
def health(*, service: ListenAddress, diagnostics: ListenAddress | None, ready: bool, access: Access) -> None:
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
        service, access = diagnostics, Access()
    with service_client(service, access) as client:
        response = client.get(path)
    if response.status_code != _OK:
        fail(f"{path} answered {response.status_code}: {response.text}")
    click.echo(response.text)
