"""The options of ``controller``. Those of Kong's old controller have their old names, variables and defaults."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from app.cli.duration import Duration
from app.cli.service_access import ListenAddressType

# Kuma's own tokens are valid for ten years by default. A year is the longest life that is ever needed here.
MIN_VALIDITY: Final = timedelta(hours=1)
MAX_VALIDITY: Final = timedelta(hours=8784)
MIN_INTERVAL: Final = timedelta(seconds=1)
MAX_INTERVAL: Final = timedelta(hours=1)
_PREFIX: Final = re.compile(r"[A-Za-z0-9/_+=.@-]{1,200}", re.ASCII)
_MESH: Final = re.compile(r"[0-9a-z._-]{1,253}", re.ASCII)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def _check_prefix(_context: click.Context, _option: click.Parameter, value: str) -> str:
    # With "arn:" a name could be the ARN of any secret.
    if not _PREFIX.fullmatch(value):
        raise click.BadParameter("write the beginning of the names of the secrets: letters, digits and /_+=.@-")
    return value


def _check_mesh(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not _MESH.fullmatch(value):
        raise click.BadParameter("a mesh is 1 to 253 characters of 0-9 a-z . _ -")
    return value


_OPTIONS: Final = (
    click.option(
        "--api-server-url",
        help="The control plane's API, which issues the tokens: https://HOST:5682. Needs KUMA_API_TOKEN.",
    ),
    click.option(
        "--api-token",
        envvar="KUMA_API_TOKEN",
        show_envvar=True,
        help="A user token of the control plane that may issue data plane tokens. Set the variable: every user of the "
        "host can read options.",
    ),
    click.option("--api-token-file", type=_FILE, help="A file with this token, read for each call."),
    click.option(
        "--api-ca",
        envvar="KUMA_API_CA_BYTES",
        show_envvar=True,
        help="The authorities of the API's certificate: PEM, or base64 of PEM. Unset: the public ones.",
    ),
    click.option("--api-ca-file", type=_FILE, help="A file with these authorities."),
    click.option(
        "--signing-keys",
        type=_FILE,
        help="Sign the tokens with the service's keys instead: a file of KID MESH PATH lines, as keys generate writes it.",
    ),
    click.option(
        "--secret-name-prefix",
        "prefix",
        callback=_check_prefix,
        default="kong-mesh-ecs/",
        show_default=True,
        help="The beginning of the names of the secrets; the service follows.",
    ),
    click.option(
        "--cluster",
        "clusters",
        multiple=True,
        help="Name or ARN of a cluster whose tasks get tokens; can be repeated.  [default: the cluster of this task]",
    ),
    click.option(
        "--mesh",
        callback=_check_mesh,
        default="default",
        show_default=True,
        help="The mesh of tasks without the tag kuma.io/mesh. Not used with --identity role.",
    ),
    click.option(
        "--identity",
        type=click.Choice(["task-tags", "role"]),
        default="task-tags",
        show_default=True,
        help="What decides about a task's identity: its own tags, as with Kong's old controller, or the tags of its role.",
    ),
    click.option(
        "--valid-for",
        type=Duration(MIN_VALIDITY, MAX_VALIDITY),
        default="720h",
        show_default=True,
        help="How long a token is valid. It is replaced at half of this time. A task must not run longer than this.",
    ),
    click.option(
        "--interval",
        type=Duration(MIN_INTERVAL, MAX_INTERVAL),
        default="5s",
        show_default=True,
        help="The time from the start of one pass to the start of the next one.",
    ),
    click.option("--once", is_flag=True, help="Make one pass and end, for a scheduled task."),
    click.option("--dry-run", is_flag=True, help="Make one pass, put nothing, and print what would be put."),
    click.option(
        "--diagnostics",
        type=ListenAddressType(),
        default="127.0.0.1:5691",
        show_default=True,
        help="Where /healthy, /ready and /metrics listen.",
    ),
    click.option(
        "--region",
        envvar=["AWS_REGION", "AWS_DEFAULT_REGION"],
        show_envvar=True,
        help="The region of the clusters and the secrets.",
    ),
    click.option(
        "--metadata-url",
        envvar="ECS_CONTAINER_METADATA_URI_V4",
        show_envvar=True,
        help="The metadata endpoint of this task, which names its cluster. ECS sets the variable.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        envvar="KMESH_AWSIAM_LOG_LEVEL",
        show_envvar=True,
        default="info",
        show_default=True,
        help="The least level of log lines.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["json", "human"]),
        envvar="KMESH_AWSIAM_LOG_FORMAT",
        show_envvar=True,
        default="json",
        show_default=True,
        help="JSON lines, or text for people.",
    ),
)


def controller_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
