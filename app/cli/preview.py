"""``preview``: replay an audit log against another policy."""

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import click

from app.cli.options import check_version
from app.core.kuma_version import KumaVersion
from app.policy.log_lines import LogError, read_lines
from app.policy.preview import Preview
from app.policy.role_tags_file import NewTags, RoleKey, RoleTagsError, parse_role_tags
from app.policy.verdict import AccessPolicy
from app.settings.policy_file import PolicyError, read_policy_file, read_policy_of_environment

_USAGE: Final = 2
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
PROGRESS_SECONDS: Final = 5.0


@click.command(short_help="Replay an audit log against a changed policy.")
@click.option(
    "--log",
    "logs",
    type=click.File("rb"),
    multiple=True,
    required=True,
    help="The service's log, plain or gzip; - is stdin. May be repeated.",
)
@click.option("--settings", type=_FILE, help="The changed policy: its variables, one NAME=VALUE a line.")
@click.option("--role-tags", type=_FILE, help="JSON of role ARNs, each with all tags that the role is to have.")
@click.option(
    "--kuma-version",
    callback=check_version,
    metavar="VERSION",
    help="The version of a new control plane. With 3.0: whom it would refuse if roles and resources stayed as they are.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def preview(
    *,
    logs: tuple[BinaryIO, ...],
    settings: Path | None,
    role_tags: Path | None,
    kuma_version: KumaVersion | None,
    as_json: bool,
) -> None:
    """Replay the audit lines of a log against a changed policy, and list whom the change would deny or allow.

    The policy is that of --settings alone: a variable that the file does not set has its default, and the environment is
    not read. Without --settings the policy is that of the environment, which must then be the service's own. --role-tags
    replaces the tags of roles, with either policy.

    \b
    kuma-aws-iam preview --log decisions.log.gz --settings candidate.env
    aws logs tail /ecs/control-plane --since 6h | kuma-aws-iam preview --log - --settings candidate.env
    kuma-aws-iam preview --log decisions.log --settings service.env --role-tags tags.json --json
    kuma-aws-iam preview --log decisions.log --settings service.env --kuma-version 3.0

    The command makes no network call. A line without the facts that the policy needs is counted as unknown. An audit line
    that this version cannot read counts as an approval, unless it says that the proxy was denied.

    Exit status: 0 nobody would be denied, 1 somebody who was allowed would be denied or it is unknown, 2 usage.
    """
    # Only this command needs rich.
    from app.cli.preview_report import as_members, print_report  # noqa: PLC0415

    if settings is None and role_tags is None and kuma_version is None:
        raise click.UsageError("nothing is changed: give --settings, --role-tags or --kuma-version")
    replay = Preview(_policy(settings), {} if role_tags is None else _new_tags(role_tags), kuma_version)
    for log in logs:
        try:
            _show_progress(replay.read(read_lines(log)))
        except LogError as error:
            _fail(f"--log {log.name}: {error}")
    if not replay.changes.decisions:
        _fail(f"--log: {_without_decision(replay)}")
    if as_json:
        click.echo(json.dumps(as_members(replay), indent=2))
    else:
        print_report(replay)
    sys.exit(int(replay.may_break))


def _without_decision(replay: Preview) -> str:
    if replay.unreadable:
        return (
            f"none of the audit lines can be read ({replay.unreadable}): they are of another version, or damaged; use "
            "the preview of the version that wrote them"
        )
    return (
        f"no audit line among {replay.other_lines} lines; give the standard output of a service with "
        "KMESH_AWSIAM_LOG_FORMAT=json"
    )


def _policy(path: Path | None) -> AccessPolicy:
    try:
        if path is None:
            return read_policy_of_environment()
        file = read_policy_file(str(path))
    except PolicyError as error:
        where = "the environment (give --settings to use a file)" if path is None else str(path)
        _fail(f"{_count(len(error.problems), 'problem')} in {where}", error.problems)
    if file.ignored:
        click.echo(f"not evaluated, since they belong to no policy: {', '.join(file.ignored)}", err=True)
    return file.policy


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _new_tags(path: Path) -> dict[RoleKey, NewTags]:
    try:
        return parse_role_tags(path.read_bytes())
    except (RoleTagsError, OSError) as error:
        _fail(f"--role-tags {path}: {error}")


def _show_progress(lines: Iterator[Any]) -> None:
    """Read all lines. From time to time print how many, on standard error."""
    began = told = time.monotonic()
    for number, _ in enumerate(lines, start=1):
        if number % 10_000 == 0 and (now := time.monotonic()) - told >= PROGRESS_SECONDS:
            told = now
            with contextlib.suppress(OSError):
                click.echo(f"{number:,} lines in {now - began:.0f} s ...", err=True)


def _fail(message: str, problems: Iterable[str] = ()) -> NoReturn:
    """Print why there is no result. The exit status is not 1, which means that somebody would be denied."""
    click.echo(f"kuma-aws-iam: {message}", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
    sys.exit(_USAGE)
