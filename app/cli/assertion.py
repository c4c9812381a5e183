"""Options of a command for what a proxy asserts. They become the member ``proxy`` of a call."""

import csv
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from app.cli.options import kuma_version_option
from app.core.kuma_version import LABELS_ONLY, KumaVersion
from app.core.proxy import SERVICE_TAG, ZoneListener

_NAMES: Final = ("proxy_type", "mesh", "name", "zone", "services", "labels", "listeners")


def assertion_options(type_option: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options for what a proxy asserts. The command gets them as one ``asserted``; None if they name no type."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_assertion(
            *,
            dataplane_file: Path | None,
            dataplane_vars: tuple[str, ...],
            kuma_version: KumaVersion | None,
            **options: Any,
        ) -> Any:
            given = _given(**{name: options.pop(name) for name in _NAMES})
            if dataplane_file is not None:
                asserted = _complete(dataplane_file, dataplane_vars, given, type_option, kuma_version)
            elif dataplane_vars:
                raise click.UsageError("--dataplane-var is for the template of --dataplane-file; give both")
            else:
                asserted = {"type": None, "mesh": None, "name": None, "zone": None, **given}
            _check(type_option, asserted)
            _check_generation(type_option, asserted, kuma_version)
            return command(asserted=asserted if asserted["type"] else None, **options)

        decorated: Callable[..., Any] = with_assertion
        for option in (
            kuma_version_option,
            click.option(
                "--dataplane-var",
                "dataplane_vars",
                multiple=True,
                metavar="NAME=VALUE",
                help="A variable of that file's template, as kuma-dp has it; may be repeated.",
            ),
            click.option(
                "--dataplane-file",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="Its Dataplane in YAML or JSON, the file of kuma-dp run; before 3.0 also a ZoneIngress or ZoneEgress. "
                "It replaces the options above.",
            ),
            click.option(
                "--listener",
                "listeners",
                multiple=True,
                type=click.Choice([kind.value for kind in ZoneListener]),
                help="A kind in its Dataplane's networking.listeners, from Kuma 2.14 on; may be repeated.",
            ),
            click.option(
                "--label",
                "labels",
                multiple=True,
                metavar="KEY=VALUE",
                help="A label of its Dataplane, as kuma.io/workload=demo; may be repeated. From Kuma 3.0 on, labels say "
                "which service it is.",
            ),
            click.option(
                "--kuma-service",
                "services",
                multiple=True,
                help="Before Kuma 3.0: a tag kuma.io/service of its inbounds; may be repeated. From 3.0 on there are no "
                "such tags: give --label kuma.io/workload=NAME.",
            ),
            click.option("--zone", help="The zone of a zone proxy."),
            click.option("--name", help="Its resource's name."),
            click.option("--mesh", help="Its mesh; needed for a dataplane."),
            click.option(
                type_option,
                "proxy_type",
                type=click.Choice(["dataplane", "ingress", "egress"]),
                help="What its resource is. From Kuma 3.0 on always dataplane, also for a zone proxy.",
            ),
        ):
            decorated = option(decorated)
        return decorated

    return decorate


def _given(
    *, services: tuple[str, ...], labels: tuple[str, ...], listeners: tuple[str, ...], **texts: str | None
) -> dict[str, Any]:
    """Return the members of ``proxy`` for which an option was given."""
    texts["type"] = texts.pop("proxy_type")
    given: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
    if services:
        given["tags"] = {SERVICE_TAG: list(services)}
    if labels:
        given["labels"] = _pairs("--label", labels)
    if listeners:
        given["listeners"] = list(dict.fromkeys(listeners))
    return given


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(equals for _, equals, _ in pairs):
        raise click.BadParameter("write KEY=VALUE", param_hint=option)
    return {key: value for key, _, value in pairs}


def _check(type_option: str, asserted: dict[str, Any]) -> None:
    """Reject what no role can match, and what the service cannot read."""
    listeners = asserted.get("listeners", [])
    if listeners and asserted["type"] != "dataplane":
        raise click.UsageError(
            f"--listener is for a Dataplane with zone listeners; give {type_option} dataplane with it"
        )
    if len(listeners) > 1:
        raise click.UsageError(
            "--listener is ZoneIngress or ZoneEgress, not both: a role is of one type, so give each a Dataplane and a role"
        )
    if asserted["type"] == "dataplane" and asserted["mesh"] is None:
        raise click.UsageError(f"{type_option} dataplane needs --mesh")


def _check_generation(type_option: str, asserted: dict[str, Any], version: KumaVersion | None) -> None:
    """Reject what a control plane of this version does not know."""
    if version is None or version < LABELS_ONLY:
        return
    if asserted["type"] in ("ingress", "egress"):
        raise click.UsageError(
            f"{type_option} {asserted['type']}: {version} has no such resource; give {type_option} dataplane with --listener"
        )
    if asserted.get("tags"):
        raise click.UsageError(f"--kuma-service: {version} has no inbound tags; give --label kuma.io/workload=NAME")


def _complete(
    path: Path, variables: tuple[str, ...], given: dict[str, Any], type_option: str, version: KumaVersion | None
) -> dict[str, Any]:
    """Return what the resource says. An option may say the same again, and the zone of a zone proxy that has none there."""
    from app.agent.dataplane_file import ResourceError, read_resource  # noqa: PLC0415 - it brings a YAML parser

    try:
        asserted = read_resource(path, _variables(variables), version)
    except ResourceError as error:
        raise click.UsageError(f"{path}: {error}") from error
    if asserted["type"] != "dataplane" and asserted["zone"] is None:
        asserted["zone"] = given.get("zone")
    for option, said, found in _comparison(given, asserted, type_option):
        if said and said != found:
            raise click.UsageError(
                f"{option} says {said}, and {path} says {found or 'nothing'}; correct one of them, or leave out the option"
            )
    return asserted


def _comparison(
    given: dict[str, Any], found: dict[str, Any], type_option: str
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield each option that says what a resource says too, with both values."""
    yield type_option, given.get("type"), found["type"]
    for member in ("mesh", "name", "zone"):
        yield f"--{member}", given.get(member), found[member]
    services = [members.get("tags", {}).get(SERVICE_TAG, []) for members in (given, found)]
    listeners = [members.get("listeners", []) for members in (given, found)]
    for option, (said, there) in (("--kuma-service", services), ("--listener", listeners)):
        yield option, ", ".join(sorted(set(said))), ", ".join(sorted(set(there)))
    labels = [members.get("labels", {}) for members in (given, found)]
    for key in labels[0]:
        said, there = (f"{key}={each[key]}" if key in each else None for each in labels)
        yield "--label", said, there


def _variables(texts: tuple[str, ...]) -> dict[str, str]:
    """Read each --dataplane-var as kuma-dp does (pflag's StringToString): a text with several = is a list in CSV."""
    try:
        lists = [next(csv.reader([text])) if text.count("=") > 1 else [text.strip('"')] for text in texts]
    except csv.Error as error:
        raise click.BadParameter(
            "several NAME=VALUE in one option are one line", param_hint="--dataplane-var"
        ) from error
    flat = [part for parts in lists for part in parts]
    variables = _pairs("--dataplane-var", tuple(flat))
    if len({name.partition(".")[0] for name in variables}) < len(variables):
        raise click.BadParameter(
            "two names begin with the same word before a dot, and kuma-dp inserts either of them",
            param_hint="--dataplane-var",
        )
    return variables
