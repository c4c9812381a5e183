"""A real control plane accepts a zone token of the service for the scope and zone that it names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kuma.release import since, until

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, zone_dataplane, zone_proxy
from tests.support.kuma.stage import Stage, claims_of, open_stage

PATHS = {"ZoneIngress": "/zone-ingresses", "ZoneEgress": "/zoneegresses"}


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder) as stage:
        for kind in ("ingress", "egress"):
            stage.add_role(f"mesh-{kind}", type=kind)
            stage.add_role(f"{kind}-of-zone-2", type=kind, zone="zone-2")
        yield stage


@until(2, 14)
@pytest.mark.parametrize("kind", PATHS)
def test_a_zone_proxy_comes_online(stage: Stage, kind: str) -> None:
    scope = kind.removeprefix("Zone").lower()
    resource = zone_proxy(kind, f"{scope}-1")
    token = stage.token_for(f"mesh-{scope}", resource)
    with stage.proxy(resource, token) as proxy:
        stage.control_plane.wait_until_online(resource["name"], proxy, PATHS[kind])
    assert (claims_of(token)["Scope"], claims_of(token)["Zone"]) == ([scope], "zone-1")


@until(2, 14)
def test_a_token_of_the_other_scope_is_refused(stage: Stage) -> None:
    token = stage.token_for("mesh-egress", zone_proxy("ZoneEgress", "egress-2"))
    with stage.proxy(zone_proxy("ZoneIngress", "ingress-2"), token) as proxy:
        assert "ingress is out of token's scope: [egress]" in proxy.wait_for(REFUSED)


@until(2, 14)
def test_a_token_of_another_zone_is_refused(folder: Path) -> None:
    """The service of another zone signs with the same key: what protects this zone is the zone in the token."""
    other = folder / "other-zone"
    other.mkdir()
    with open_stage(other, control_plane={"KUMA_MULTIZONE_ZONE_NAME": "zone-9"}) as stage:
        stage.add_role("mesh-ingress", type="ingress")
        token = stage.token_for("mesh-ingress", zone_proxy("ZoneIngress", "ingress-3"))
        with stage.proxy(zone_proxy("ZoneIngress", "ingress-3"), token) as proxy:
            assert "zone-9 is different than in token: zone-1" in proxy.wait_for(REFUSED)


@since(2, 14)
@pytest.mark.parametrize("kind", PATHS)
def test_a_zone_proxy_in_a_dataplane_comes_online(stage: Stage, kind: str) -> None:
    scope = kind.removeprefix("Zone").lower()
    name = f"{scope}-in-dataplane"
    role = stage.add_role(name, type=scope, mesh="default", workload=name)
    resource = zone_dataplane(kind, name)
    token = stage.token_for(role, resource)
    with stage.proxy(resource, token) as proxy:
        stage.control_plane.wait_until_online(name, proxy)
    with stage.proxy({**resource, "name": f"{name}-2"}, token) as proxy:
        assert "is different than in token" in proxy.wait_for(REFUSED)
