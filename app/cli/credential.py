"""``credential``: sign with the ambient AWS credentials and print what a proxy presents."""

import sys
from pathlib import Path

import click

from app.cli.options import make_credential, signing_options, write_secret
from app.sts.signer import MAX_EXPIRES


@click.command(short_help="Make a credential with the ambient AWS credentials.")
@signing_options
@click.option(
    "--expires",
    type=click.IntRange(1, MAX_EXPIRES),
    default=MAX_EXPIRES,
    show_default=True,
    metavar="SECONDS",
    help="How long the service accepts it; AWS's own end is 900.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file (mode 0600, replaced as a whole, no newline) instead of printing it.",
)
def credential(*, audience: str, region: str | None, form: str, expires: int, out: Path | None) -> None:
    """Make a credential: a signed sts:GetCallerIdentity request.

    It is signed with the AWS credentials found as an ECS task finds them (boto3's chain: AWS_* variables, profiles, the
    task role's endpoint), always for AWS's own host, whatever AWS_ENDPOINT_URL says. It lives 15 minutes and is a secret:
    until then whoever holds it is this proxy.

    \b
    kuma-aws-iam credential --region eu-west-1 --audience prod-control-plane
    kuma-aws-iam credential --format jwt --out /run/kuma/token
    kuma-aws-iam credential | kuma-aws-iam authenticate --type dataplane --mesh default
    """
    text = make_credential(audience=audience, region=region, form=form, expires=expires)
    if out is not None:
        write_secret(out, text)
    else:
        # The newline is only for terminals: in a file it would break the gRPC metadata that carries the credential.
        click.echo(text, nl=sys.stdout.isatty())
