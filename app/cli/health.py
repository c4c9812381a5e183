"""``health``: ask a running service, for a HEALTHCHECK without a shell."""

import click

from app.cli.options import fail, service_client, service_option
from app.settings_values import ListenAddress

_OK = 200


@click.command(short_help="Ask a running service whether it serves.")
@service_option("KMESH_AWSIAM_DIAGNOSTICS_LISTEN", "KMESH_AWSIAM_LISTEN")
@click.option("--ready", is_flag=True, help="Ask /ready instead: should calls be sent here?")
def health(*, service: ListenAddress, ready: bool) -> None:
    """Ask a running service whether it serves (exit status 0) or not (1).

    It finds the service by the variables that the service itself listens by, so that a container's HEALTHCHECK needs no
    arguments. It asks /healthy: a service without AWS is alive, and restarting it would mend nothing.
    """
    path = "/ready" if ready else "/healthy"
    with service_client(service) as client:
        response = client.get(path)
    if response.status_code != _OK:
        fail(f"{path} answered {response.status_code}: {response.text}")
    click.echo(response.text)
