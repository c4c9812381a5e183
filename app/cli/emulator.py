"""``emulator``: run only the local AWS, to try a configuration without AWS."""

from pathlib import Path

import click

from app.cli.options import fail
from app.cli.service_access import ListenAddressType
from app.local.addresses import ListenAddress, TcpAddress


@click.command(short_help="Run a local AWS that really verifies SigV4.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML of accounts, roles and tags; without it a small example world.",
)
@click.option(
    "--listen",
    type=ListenAddressType(),
    default="127.0.0.1:4599",
    show_default=True,
    help="Loopback address to listen on.",
)
@click.option("--print-example", is_flag=True, help="Print the example TOML and end.")
def emulator(*, config: Path | None, listen: ListenAddress, print_example: bool) -> None:
    """Run a local AWS: STS and IAM that really verify SigV4, with accounts and roles of a TOML file.

    Any AWS SDK or CLI can use it, because it also gives out credentials of task roles, as the ECS agent does. The command
    prints the variables to set. Signatures, errors and the time window are as in AWS. The emulator can be told to
    throttle, to fail, to hang, and to give false answers (docs/reference/emulator.md).

    \b
    kuma-aws-iam emulator --print-example > aws.toml
    kuma-aws-iam emulator --config aws.toml
    """
    from app.emulator.example import EXAMPLE  # noqa: PLC0415 - neither uvicorn nor the emulator is needed elsewhere
    from app.emulator.server import serve  # noqa: PLC0415
    from app.emulator.world import World  # noqa: PLC0415

    if print_example:
        click.echo(EXAMPLE, nl=False)
        return
    if not isinstance(listen, TcpAddress) or not listen.is_loopback:
        raise click.BadParameter(
            "the emulator hands out credentials to whoever asks: loopback only", param_hint="--listen"
        )
    try:
        world = World.from_toml(config) if config else World.from_text(EXAMPLE)
    except ValueError as error:
        fail(str(error))
    try:
        serve(world, listen.host, listen.port, on_ready=lambda url: click.echo(_how_to_use(url)))
    except OSError as error:
        fail(f"{listen} cannot be listened on ({error.strerror}); choose another with --listen")


def _how_to_use(url: str) -> str:
    return f"""\
An AWS that verifies SigV4 listens on {url}. In another shell:

  # the service, and every SDK and CLI
  export AWS_ENDPOINT_URL_STS={url} AWS_ENDPOINT_URL_IAM={url} AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
  # take a role, as an ECS task does: ACCOUNT/ROLE of the TOML
  export AWS_CONTAINER_CREDENTIALS_FULL_URI={url}/ecs/111122223333/demo-app

Ctrl-C ends it."""
