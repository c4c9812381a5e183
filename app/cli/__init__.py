"""The command line. Exit status: 0 done or allowed, 1 denied or failed, 2 usage or settings."""

import click

from app import __version__
from app.cli.authenticate import authenticate
from app.cli.credential import credential
from app.cli.demo import demo
from app.cli.emulator import emulator
from app.cli.health import health
from app.cli.keys import keys
from app.cli.serve import check_config, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kuma-aws-iam")
def main() -> None:
    """AWS IAM workload identity for Kuma and Kong Mesh.

    A proxy signs an sts:GetCallerIdentity request with its task's IAM role and presents it as its credential. This service
    has STS vouch for it, reads the role's kuma.io/* tags, and answers which proxy the caller is authorized to be.

    \b
    Beside a control plane:   kuma-aws-iam check-config && kuma-aws-iam serve
    Beside a proxy:           kuma-aws-iam credential --out /run/kuma/token
    When a proxy is refused:  kuma-aws-iam authenticate --explain < credential
    Beside a stock Kuma:      kuma-aws-iam keys generate
    Without AWS:              kuma-aws-iam demo

    Exit status: 0 done or allowed, 1 denied or failed, 2 usage or settings.
    """


for command in (serve, check_config, credential, authenticate, health, emulator, demo, keys):
    main.add_command(command)
