"""What a control plane of a version does not read in a resource."""

import copy
from typing import Any

import pytest

from app.agent.resource_form import faults
from app.core.kuma_version import KumaVersion

OLD = KumaVersion(2, 13)
BETWEEN = KumaVersion(2, 14)
NEW = KumaVersion(3, 0)
DATAPLANE = {
    "type": "Dataplane",
    "mesh": "default",
    "name": "demo-app-1",
    "labels": {"kuma.io/workload": "demo-app"},
    "networking": {
        "address": "10.0.0.1",
        "inbound": [{"port": 5000, "protocol": "http"}],
        "outbound": [{"port": 8001, "backendRef": {"kind": "MeshService", "name": "backend", "port": 5000}}],
        "gateway": {"type": "DELEGATED", "tags": {"kuma.io/service": "edge"}},
    },
}
TAGS = {"kuma.io/service": "demo-app"}


def changed(**networking: Any) -> dict[str, Any]:
    resource = copy.deepcopy(DATAPLANE)
    return {**resource, "networking": {**resource["networking"], **networking}}  # type: ignore[dict-item]


def test_the_form_of_3_0_is_read_by_each_version() -> None:
    assert [list(faults(DATAPLANE, version)) for version in (OLD, BETWEEN, NEW)] == [[], [], []]


@pytest.mark.parametrize(
    ("resource", "field"),
    [
        (changed(inbound=[{"port": 1}, {"port": 2, "tags": TAGS}]), "networking.inbound[1].tags"),
        (changed(outbound=[{"port": 1, "tags": TAGS}]), "networking.outbound[0].tags"),
        (changed(advertisedAddress="203.0.113.1"), "networking.advertisedAddress"),
        (changed(gateway={"type": "BUILTIN", "tags": TAGS}), "networking.gateway.type"),
        ({"type": "ZoneIngress", "name": "a", "networking": {}}, "type"),
        ({"type": "ZoneEgress", "name": "a"}, "type"),
    ],
)
def test_what_3_0_does_not_read_is_named(resource: dict[str, Any], field: str) -> None:
    [fault] = faults(resource, NEW)
    assert fault.startswith(f"{field}: Kuma 3.0 has no ")
    assert list(faults(resource, BETWEEN)) == []


def test_zone_listeners_begin_with_2_14() -> None:
    listening = changed(listeners=[{"type": "ZoneEgress", "port": 10002}])
    [fault] = faults(listening, OLD)
    assert fault.startswith("networking.listeners: Kuma 2.13 has no ")
    assert [list(faults(listening, version)) for version in (BETWEEN, NEW)] == [[], []]


@pytest.mark.parametrize("odd", [None, [], "text", 7, {"inbound": 7, "outbound": [7, None], "gateway": []}])
def test_odd_types_are_no_faults_of_a_version(odd: Any) -> None:
    """They are faults in every version, and the reader of the resource names them."""
    assert [*faults({**DATAPLANE, "networking": odd}, NEW), *faults({**DATAPLANE, "networking": odd}, OLD)] == []
