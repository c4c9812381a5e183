"""``explain-role``: what a role would be granted now, and why not."""

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from app.cli.assertion import assertion_options
from app.cli.options import leave
from app.cli.serve import load_or_exit
from app.core.proxy import identity_words

if TYPE_CHECKING:
    from app.core.errors import AuthError
    from app.core.proxy import ProxyAssertion
    from app.diagnosis.role_name import RoleName
    from app.diagnosis.role_report import RoleReport

_WIDTH: Final = 80
_INDENT: Final = " " * 2


def _role_name(_context: click.Context, _parameter: click.Parameter, value: str) -> "RoleName":
    from app.diagnosis.role_name import parse_role_name  # noqa: PLC0415 - only these commands need it

    try:
        return parse_role_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("explain-role", short_help="Show what a role would be granted now, and why not.")
@click.argument("role", callback=_role_name, help="ACCOUNT/NAME, or the ARN of the role or of a session of it.")
@assertion_options("--type")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of its inbounds; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def explain_role(*, role: "RoleName", asserted: dict[str, Any] | None, tags: tuple[str, ...], as_json: bool) -> None:
    """Show what a role would be granted now, and why not.

    The command has the settings and the AWS credentials of the service: run it in the service's container, or in a shell
    with the same environment. It reads the role from IAM as the service does, judges each kuma.io tag, and prints the
    identity that the role grants. With --type it also compares the role with what such a proxy asserts. If the role cannot
    be read, the command prints the permission that is missing. It calls no running service, and changes nothing.

    \b
    kuma-aws-iam explain-role 111122223333/demo-app
    kuma-aws-iam explain-role 111122223333/demo-app --type dataplane --mesh default --label kuma.io/workload=demo-app

    To ask a running service about a credential, use authenticate. To check the deployment, use doctor.

    Exit status: 0 the role would be granted an identity, 1 it would not or this could not be found out, 2 usage or
    settings.
    """
    proxy = _assertion(asserted, tags)
    settings = load_or_exit()
    if role.partition not in (None, settings.partition):
        raise click.UsageError(
            f"the ARN is of partition {role.partition}, and KMESH_AWSIAM_PARTITION is {settings.partition}"
        )
    from app.diagnosis.quiet import without_log  # noqa: PLC0415 - an invalid setting is reported without the clients
    from app.diagnosis.role_reading import explain_role as explain  # noqa: PLC0415 - likewise
    from app.diagnosis.running import run_to_end  # noqa: PLC0415 - likewise
    from app.settings.environment import discard_ignored_environment  # noqa: PLC0415 - likewise

    discard_ignored_environment()
    with without_log():
        report, hangs = run_to_end(explain(settings, role, proxy))
    if as_json:
        click.echo(json.dumps(report.members(), indent=2, ensure_ascii=False))
    else:
        for line in _lines(report):
            click.echo(line)
    leave(int(report.outcome != "allowed"), at_once=hangs)


def _assertion(asserted: dict[str, Any] | None, tags: tuple[str, ...]) -> "ProxyAssertion | None":
    """Read what the proxy asserts as the service reads it from a call."""
    if asserted is None:
        if tags:
            raise click.UsageError("--tag is about a proxy; give --type with it")
        return None
    from app.api.schemas import parse_call  # noqa: PLC0415 - it brings pydantic
    from app.core.errors import RequestError  # noqa: PLC0415 - likewise

    values: dict[str, list[str]] = dict(asserted.get("tags") or {})
    for text in tags:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter("write KEY=VALUE", param_hint="--tag")
        values.setdefault(key, []).append(value)
    try:
        call = {"credential": "", "proxy": {**asserted, **({"tags": values} if values else {})}}
        return parse_call(json.dumps(call).encode())[1]
    except RequestError as error:
        raise click.UsageError(f"what the proxy asserts is malformed: {error.field}") from error


def _lines(report: "RoleReport") -> Iterator[str]:
    if report.role is not None:
        yield from _role_lines(report)
        yield ""
    yield from _outcome_lines(report)
    for note in report.notes:
        yield ""
        yield from _wrapped(note, "")


def _role_lines(report: "RoleReport") -> Iterator[str]:
    role = report.role
    if role is None:
        return
    yield f"role     {role.arn}"
    yield f"role id  {role.role_id}"
    if role.identifiers is not None:
        yield f"path     {role.parts.path}"
    others = sorted(key for key, _ in role.tags if key not in {tag.key for tag in report.tags})
    rows = [
        (tag.key, "-" if tag.value is None else _printable(tag.value), tag.verdict.value, tag.why)
        for tag in report.tags
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, (key, value, verdict, why) in enumerate(rows):
        head = f"{'tags' if number == 0 else '':7}  {key:{widths[0]}}  {value:{widths[1]}}  {verdict:{widths[2]}}"
        if why and len(head) + 2 + len(why) <= _WIDTH:
            yield f"{head}  {why}"
            continue
        yield head.rstrip()
        if why:
            yield from _wrapped(why, " " * 11)
    if others:
        yield from _wrapped(f"other tags, without effect: {', '.join(map(_printable, others))}", " " * 9)


def _outcome_lines(report: "RoleReport") -> Iterator[str]:
    if report.error is None:
        yield report.outcome
        if report.identity is not None:
            yield f"{_INDENT}identity  {identity_words(report.identity.members())}"
        return
    yield from _error_lines(report.outcome, report.error)
    missing = report.missing
    if missing is None:
        return
    if missing.policy is not None:
        yield ""
        yield from _wrapped(f"Missing is the policy below, for {missing.attach_to}.", "")
        yield from json.dumps(missing.policy, indent=2).splitlines()


def _error_lines(outcome: str, error: "AuthError") -> Iterator[str]:
    from app.core.reasons import EXPLANATIONS  # noqa: PLC0415 - as the type of the report

    explanation = EXPLANATIONS[error.reason]
    yield f"{outcome}: {error.reason.value} ({explanation.status})"
    for text in (explanation.title, explanation.detail, f"seen: {error.detail}"):
        yield from _wrapped(text, _INDENT)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _printable(text: str) -> str:
    """Return a text of a tag, whose author may be anybody in the account, without control characters."""
    return text if text.isprintable() else ascii(text)
