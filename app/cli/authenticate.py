"""``authenticate``: present a credential to a running service, or show what one looks like."""

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import click
from click.core import ParameterSource

from app.agent.service_client import Reply, ServiceAccess
from app.cli.assertion import assertion_options
from app.cli.options import fail, keys_file_options, make_credential, signing_options, sts_endpoints
from app.cli.service_access import access_options, ask_service, service_option
from app.cli.shape import explain as explain_shape
from app.core.proxy import identity_words
from app.core.reasons import Reason
from app.core.strict_json import StrictJsonError, parse_object
from app.local.addresses import ListenAddress
from app.local.clock import utc_now
from app.tokens.key_files import read_dataplane_key_file, read_zone_key_file
from app.tokens.keys import SigningKeys

_OK = 200
_PADDED = (
    "a blank or a newline was at its beginning or end, and this command left it out. The service answers "
    "credential_malformed to such a text, and gRPC does not send it: write the file without a newline, as "
    "`kuma-aws-iam credential --out FILE` does"
)


def _read_keys(dataplane: Path | None, zone: Path | None) -> SigningKeys | None:
    """Read the files of keys; None if none is given.

    Raises:
        click.UsageError: a file is invalid.
    """
    files = []
    for path, read in ((dataplane, read_dataplane_key_file), (zone, read_zone_key_file)):
        if path is not None:
            try:
                files.append(read(str(path)))
            except (OSError, ValueError) as error:
                raise click.UsageError(f"{path}: {error}") from error
    return SigningKeys(key for file in files for key in file.keys) if files else None


@click.command(short_help="Present a credential to a service, or show its shape.")
@service_option("KMESH_AWSIAM_LISTEN")
@assertion_options("--type")
@click.option("--json", "as_json", is_flag=True, help="Print the service's answer as it came.")
@click.option(
    "--explain",
    is_flag=True,
    help="Print the shape of the credential and the verdict of each rule, offline; no secret of it is shown.",
)
@keys_file_options
@signing_options
@access_options
def authenticate(  # noqa: PLR0913 - one parameter an option
    *,
    service: ListenAddress,
    asserted: dict[str, Any] | None,
    as_json: bool,
    explain: bool,
    dataplane_keys_file: Path | None,
    zone_keys_file: Path | None,
    audience: str,
    region: str | None,
    form: str,
    access: ServiceAccess,
) -> None:
    """Present a credential to a running service, and print the identity or the reason.

    The command reads the credential from stdin: its text, or an ExecCredential JSON, as aws eks get-token prints it. If
    stdin is a terminal or /dev/null, the command makes a credential with the ambient AWS credentials, as the command
    credential does. Without --type the answer is the identity that the role grants. With --type the answer says whether
    the role grants what such a proxy asserts.

    \b
    aws eks get-token --cluster-name kuma-control-plane | kuma-aws-iam authenticate
    kuma-aws-iam authenticate --type dataplane --mesh default --label kuma.io/workload=demo-app < /run/kuma/token
    kuma-aws-iam authenticate --explain < /run/kuma/token

    If the service requires a token or a certificate of its callers, give --caller-token-file or --tls-cert-file.

    Exit status: 0 allowed, 1 denied or undecided, 2 usage.
    """
    text, is_padded = _from_stdin()
    source = click.get_current_context().get_parameter_source("audience")
    # A credential on stdin was signed elsewhere, so only the option can say for which audience.
    hint = audience if text is None or source is ParameterSource.COMMANDLINE else None
    if text is None:
        text = make_credential(audience=audience, region=region, form=form)
    if explain:
        keys = _read_keys(dataplane_keys_file, zone_keys_file)
        if is_padded:
            click.echo(f"{'failed:':18} no blanks around it: {_PADDED}")
        for heading, words in explain_shape(text, utc_now(), sts_endpoints(), audience=audience, keys=keys):
            click.echo(f"{heading + ':':18} {words}")
        return
    if is_padded:
        click.echo(f"kuma-aws-iam: the credential on stdin: {_PADDED}", err=True)
    call: dict[str, Any] = {"credential": text}
    if asserted is not None:
        call["proxy"] = asserted
    reply = ask_service(service, access, "/v1/authenticate", call, hint)
    if as_json:
        click.echo(reply.text)
    else:
        _print(reply)
    sys.exit(reply.status != _OK)


def _from_stdin() -> tuple[str | None, bool]:
    """Return the credential on stdin, and whether blanks were around it; None if stdin is a terminal or /dev/null.

    An empty pipe or file is an error: it means that the program that signs has failed. To sign here with another identity
    would hide that failure.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return None, False
    # Bytes that are not UTF-8 are no error here: the service rejects such a credential, and --explain describes it.
    whole: str = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    text = whole.strip()
    if not text:
        if not _is_device(sys.stdin):
            raise click.UsageError(
                "stdin is empty: what should have made the credential failed? (</dev/null makes one here)"
            )
        return None, False
    if text.startswith("{"):
        # JSON may have blanks around it.
        try:
            members = parse_object(text)
        except StrictJsonError:
            return text, False  # the service checks this text
        if members.get("kind") == "ExecCredential":
            status = members.get("status")
            token = status.get("token") if isinstance(status, dict) else None
            if not isinstance(token, str):
                fail("the ExecCredential on stdin has no status.token")
            return token, False
        return text, False
    return text, text != whole


def _is_device(stream: TextIO) -> bool:
    try:
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False  # stdin is not a file at all


def _print(reply: Reply) -> None:
    try:
        for line in _lines(reply.status, reply.members):
            click.echo(line)
    except (TypeError, KeyError, AttributeError):
        fail(f"what answered {reply.status} is not this service; is --service right?")


def _lines(status: int, answer: Mapping[str, Any]) -> list[str]:
    if status == _OK:
        identity, principal = answer["identity"], answer["principal"]
        return [
            "allowed",
            f"  identity   {identity_words(identity)}",
            f"  role       {principal['role']} ({principal['roleId']}) of account {principal['account']}",
            f"  session    {principal['session']}",
            f"  until      {answer['expiresAt']}",
        ]
    reason = answer["reason"]
    is_verdict = status in (401, 403) and reason != Reason.CALLER_NOT_AUTHENTICATED
    return [
        f"{'denied' if is_verdict else 'undecided'}: {reason} ({status})",
        f"  {answer.get('title')}",
        f"  {answer.get('detail')}",
        f"  request id {answer.get('requestId')}",
    ]
