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

    It finds the service by the variables that the service itself listens by, so that a container's HEALTHCHECK needs no
    arguments: where its diagnostics listen, else where its API does, over TLS if that has TLS. It asks /healthy: a service
    without AWS is alive, and restarting it would mend nothing.

    Where the API wants client certificates, give the diagnostics a listener of their own, or a server certificate that the
    client CA has issued for both uses.
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
