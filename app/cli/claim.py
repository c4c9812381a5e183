"""Options of a command for what a proxy asserts. They become the member ``proxy`` of a call."""

import functools
from collections.abc import Callable
from typing import Any, Final

import click

LISTENERS: Final = ("ZoneIngress", "ZoneEgress")


def claim_options(type_option: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options for what a proxy asserts. The command gets them as one ``claim``; None if no type is given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_claim(
            *,
            proxy_type: str | None,
            mesh: str | None,
            name: str | None,
            zone: str | None,
            services: tuple[str, ...],
            labels: tuple[str, ...],
            listeners: tuple[str, ...],
            **options: Any,
        ) -> Any:
            _check_listeners(type_option, proxy_type, listeners)
            claim = _claim(type_option, proxy_type, mesh, name, zone, services, labels)
            if claim is not None and listeners:
                claim["listeners"] = list(dict.fromkeys(listeners))
            return command(claim=claim, **options)

        for option in (
            click.option(
                "--listener",
                "listeners",
                multiple=True,
                type=click.Choice(LISTENERS),
                help="A kind in its Dataplane's networking.listeners, from Kuma 2.14 on; may be repeated.",
            ),
            click.option(
                "--label",
                "labels",
                multiple=True,
                metavar="KEY=VALUE",
                help="A label, as kuma.io/workload=demo; may be repeated.",
            ),
            click.option(
                "--kuma-service",
                "services",
                multiple=True,
                help="A kuma.io/service of its inbounds; may be repeated.",
            ),
            click.option("--zone", help="The zone of an ingress or egress."),
            click.option("--name", help="Its resource's name."),
            click.option("--mesh", help="Its mesh; needed for a dataplane."),
            click.option(
                type_option,
                "proxy_type",
                type=click.Choice(["dataplane", "ingress", "egress"]),
                help="What the proxy says it is.",
            ),
        ):
            with_claim = option(with_claim)
        return with_claim

    return decorate


def _check_listeners(type_option: str, proxy_type: str | None, listeners: tuple[str, ...]) -> None:
    """Reject listeners that no role can match: the service would answer `proxy_type_mismatch` for every role."""
    if listeners and proxy_type != "dataplane":
        raise click.UsageError(
            f"--listener is for a Dataplane with zone listeners; give {type_option} dataplane with it"
        )
    if len(set(listeners)) > 1:
        raise click.UsageError(
            "--listener is ZoneIngress or ZoneEgress, not both: a role is of one type, so give each a Dataplane and a role"
        )


def _claim(
    type_option: str,
    proxy_type: str | None,
    mesh: str | None,
    name: str | None,
    zone: str | None,
    services: tuple[str, ...],
    labels: tuple[str, ...],
) -> dict[str, Any] | None:
    if proxy_type is None:
        return None
    if proxy_type == "dataplane" and mesh is None:
        raise click.UsageError(f"{type_option} dataplane needs --mesh")
    pairs = [label.partition("=") for label in labels]
    if not all(equals for _, equals, _ in pairs):
        raise click.BadParameter("write KEY=VALUE", param_hint="--label")
    claim: dict[str, Any] = {"type": proxy_type, "mesh": mesh, "name": name, "zone": zone}
    if services:
        claim["tags"] = {"kuma.io/service": list(services)}
    if pairs:
        claim["labels"] = {key: value for key, _, value in pairs}
    return claim
