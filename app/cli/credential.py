"""``credential``: sign with the ambient AWS credentials, and print the credential that a proxy presents."""

import sys
from pathlib import Path

import click

from app.cli.options import fail, make_credential, signing_options
from app.local.secret_file import write_secret_file
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

    The command signs with the AWS credentials that boto3 finds (AWS_* variables, profiles, or the task role on ECS),
    always for AWS's own host, even if AWS_ENDPOINT_URL is set. The credential is valid for 15 minutes. It is a secret: in
    this time, whoever has it can act as this proxy.

    \b
    kuma-aws-iam credential --region eu-west-1 --audience prod-control-plane
    kuma-aws-iam credential --format jwt --out /run/kuma/token
    kuma-aws-iam credential | kuma-aws-iam authenticate --type dataplane --mesh default
    """
    text = make_credential(audience=audience, region=region, form=form, expires=expires)
    if out is not None:
        try:
            write_secret_file(out, text)
        except OSError as error:
            fail(f"{out} cannot be written ({error.strerror})")
    else:
        # The newline is only for terminals. In a file it would become a part of gRPC metadata, and gRPC rejects it there.
        click.echo(text, nl=sys.stdout.isatty())
