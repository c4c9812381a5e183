"""Two services of a real mesh with mTLS by MeshIdentity, an impostor, and a zone egress as a Dataplane (3.0 and later).

The test prints a transcript; ``make test-kuma T=tests/kuma/test_mesh_identity.py`` shows it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kuma.release import KUMA, since

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.control_plane import ZONE
from tests.support.kuma.dataplane import REFUSED, Outbound, Resource, dataplane, free_port, zone_dataplane
from tests.support.kuma.echo import call_until, echo_server
from tests.support.kuma.stage import Stage, claims_of, open_stage

pytestmark = since(3, 0)
PATH = "/meshes/shop/dataplanes"
WORKLOAD = "kuma.io/workload"
TRUST_DOMAIN = f"spiffe://shop.{ZONE}.mesh.local"
IDENTITY = {
    "selector": {"dataplane": {"matchLabels": {}}},
    "spiffeID": {"trustDomain": "{{ .Mesh }}.{{ .Zone }}.mesh.local"},
    "provider": {"type": "Bundled", "bundled": {"insecureAllowSelfSigned": True, "autogenerate": {"enabled": True}}},
}


def allowing(kind: str, value: str, **labels: str) -> dict[str, Any]:
    """Return the specification of a MeshTrafficPermission for callers with such a SPIFFE id."""
    rule = {"default": {"allow": [{"spiffeID": {"type": kind, "value": TRUST_DOMAIN + value}}]}}
    return {"targetRef": {"kind": "Dataplane", "labels": labels}, "rules": [rule]}


def workload(name: str, *, service_port: int | None = None, outbounds: tuple[Outbound, ...] = ()) -> Resource:
    """Return a Dataplane in the only form that 3.0 needs: its service is its workload."""
    resource = dataplane(f"{name}-1", mesh="shop", service_port=service_port, outbounds=outbounds)
    return resource | {"labels": {WORKLOAD: name}}


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder) as stage:
        stage.control_plane.add_mesh("shop", skipCreatingInitialPolicies=["*"])
        add(stage, "MeshIdentity", "meshidentities", "identity", IDENTITY)
        allow_web = allowing("Exact", "/workload/web", **{WORKLOAD: "counter"})
        add(stage, "MeshTrafficPermission", "meshtrafficpermissions", "web-calls-counter", allow_web)
        through_egress = allowing("Exact", "/workload/web", **{WORKLOAD: "egress"})
        add(stage, "MeshTrafficPermission", "meshtrafficpermissions", "web-leaves-the-mesh", through_egress)
        for name in ("web", "counter", "batch"):
            stage.add_role(name, type="dataplane", mesh="shop", workload=name)
        stage.add_role("egress", type="egress", mesh="shop", workload="egress")
        yield stage


def add(stage: Stage, kind: str, path: str, name: str, specification: dict[str, Any]) -> None:
    resource = {"type": kind, "mesh": "shop", "name": name, "spec": specification}
    stage.control_plane.apply(f"/meshes/shop/{path}/{name}", resource)


def say(text: str) -> None:
    print(text)  # noqa: T201 - the transcript


def test_one_service_calls_the_other_with_mtls_and_an_impostor_is_refused(stage: Stage) -> None:
    say(f"Kuma {KUMA.name}: kuma-cp is up, mesh shop with a MeshIdentity; only web may call counter")
    to_counter, from_batch = free_port(), free_port()
    with echo_server("counter") as port:
        counter = workload("counter", service_port=port)
        inbound = counter["networking"]["inbound"][0]["port"]
        web = workload("web", outbounds=(Outbound("counter", to_counter, inbound),))
        batch = workload("batch", outbounds=(Outbound("counter", from_batch, inbound),))
        tokens = {name: stage.token_for(name, each) for name, each in workloads(counter, web, batch).items()}
        for name, token in tokens.items():
            assert (claims_of(token)["Workload"], "Tags" in claims_of(token)) == (name, False)
            say(f"{name}-1: the agent has a token for the workload {claims_of(token)['Workload']}")
        with (
            stage.proxy(counter, tokens["counter"]) as first,
            stage.proxy(web, tokens["web"]) as second,
            stage.proxy(batch, tokens["batch"]) as third,
        ):
            for name, program in (("counter-1", first), ("web-1", second), ("batch-1", third)):
                stage.control_plane.wait_until_online(name, program, PATH)
                say(f"{name}: online")
            answer = call_until(to_counter, 200)
            # The policy lets in this exact SPIFFE id and no other, so the answer shows which certificate web-1 has.
            say(f"web-1 -> counter-1, as {TRUST_DOMAIN}/workload/web: served by {answer.json()['served_by']}")
            refused = call_until(from_batch, 403)
            say(f"batch-1 -> counter-1: {refused.status_code} {refused.text}")
            impostor = workload("counter") | {"name": "counter-2"}
            with stage.proxy(impostor, tokens["batch"]) as program:
                line = program.wait_for(REFUSED)
                say(f"counter-2, with the token of batch: {line}")
                assert "is not allowed with this token" in line
            assert not stage.control_plane.is_online("counter-2", PATH)


def workloads(*resources: Resource) -> dict[str, Resource]:
    return {each["labels"][WORKLOAD]: each for each in resources}


def test_traffic_leaves_the_mesh_through_an_egress_with_a_token_of_its_role(stage: Stage) -> None:
    to_outside = free_port()
    with echo_server("outside") as port:
        outside = {
            "match": {"type": "HostnameGenerator", "port": 80, "protocol": "http"},
            "endpoints": [{"address": "127.0.0.1", "port": port}],
        }
        add(stage, "MeshExternalService", "meshexternalservices", "outside", outside)
        egress = zone_dataplane("ZoneEgress", "egress", "shop")
        web = workload("web", outbounds=(Outbound("outside", to_outside, 80, "MeshExternalService"),))
        with (
            stage.proxy(egress, stage.token_for("egress", egress)) as first,
            stage.proxy(web, stage.token_for("web", web)) as second,
        ):
            for name, program in (("egress", first), ("web-1", second)):
                stage.control_plane.wait_until_online(name, program, PATH)
            answer = call_until(to_outside, 200)
            say(f"web-1 -> egress -> outside: {answer.status_code}, served by {answer.json()['served_by']}")
            assert answer.json()["served_by"] == "outside"
