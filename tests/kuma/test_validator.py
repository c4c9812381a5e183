"""The validator that the demonstrations use (`demos.kuma.validator`) decides as the real control plane does."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError
from tests.support.kuma.release import KUMA

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.control_plane import ZONE
from tests.support.kuma.dataplane import Resource, dataplane, proxy_type_of, zone_proxy
from tests.support.kuma.stage import Stage, open_stage
from tests.support.kuma.stream import refusal_of

WORKLOAD = "kuma.io/workload"
NOW = int(time.time())
TIMES = {"iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 3600}
KNOWN = {
    "Mesh": "default",
    "Name": "web-1",
    "Tags": {"kuma.io/service": ["web"]},
    "Type": "dataplane",
    "jti": "id",
    **TIMES,
}
WEB = dataplane("web-1", "web")
LABELLED = dataplane("web-1", "web", labels={WORKLOAD: "web"})
INGRESS = zone_proxy("ZoneIngress", "ingress-1")
EGRESS = zone_proxy("ZoneEgress", "egress-1")
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder) as stage:
        stage.control_plane.add_mesh("payments")
        yield stage


@dataclass(frozen=True)
class Case:
    """A token and the proxy that presents it."""

    name: str
    claims: Mapping[str, Any]
    resource: Resource = field(default_factory=lambda: WEB)
    kid: str = "dataplane-1"
    algorithm: str = "RS256"
    is_foreign: bool = False


def zone_claims(*scope: str, zone: str = ZONE) -> dict[str, Any]:
    return {"Zone": zone, "Scope": list(scope), "jti": "id", **TIMES}


CASES = [
    Case("all claims", KNOWN),
    Case("only times", TIMES),
    Case("no times", {"Mesh": "default"}),
    Case("another mesh", {**KNOWN, "Mesh": "payments"}),
    Case("resource in another mesh", KNOWN, dataplane("web-1", "web", mesh="payments")),
    Case("another name", {**KNOWN, "Name": "web-2"}),
    Case("another service", {**KNOWN, "Tags": {"kuma.io/service": ["admin"]}}),
    Case("two services, one used", {**KNOWN, "Tags": {"kuma.io/service": ["web", "admin"]}}),
    Case("a tag that the proxy lacks", {**KNOWN, "Tags": {"version": ["1"]}}),
    Case("no value allowed", {**KNOWN, "Tags": {"kuma.io/service": []}}),
    Case("null tags", {**KNOWN, "Tags": None}),
    Case("tags of a wrong type", {**KNOWN, "Tags": ["web"]}),
    Case("a name of a wrong type", {**KNOWN, "Name": 1}),
    Case("claims in lower case", {**TIMES, "mesh": "payments"}),
    Case("another type", {**KNOWN, "Type": "ingress"}),
    Case("an unknown claim", {**KNOWN, "Owner": "x"}),
    Case("workload", {**KNOWN, "Workload": "web"}, LABELLED),
    Case("another workload", {**KNOWN, "Workload": "admin"}, LABELLED),
    Case("workload without a label", {**KNOWN, "Workload": "web"}),
    Case("a label without a workload", KNOWN, LABELLED),
    Case("expired", {**KNOWN, "exp": NOW - 1}),
    Case("not valid yet", {**KNOWN, "nbf": NOW + 3600}),
    Case("issued in the future", {**KNOWN, "iat": NOW + 3600}),
    Case("times as text", {**KNOWN, "exp": str(NOW + 3600)}),
    Case("an unknown key", KNOWN, kid="other"),
    Case("the key of zone tokens", KNOWN, kid="zone-1"),
    Case("signed with another key", KNOWN, is_foreign=True),
    Case("another algorithm", KNOWN, algorithm="RS512"),
    Case("a zone token", zone_claims("ingress"), INGRESS, "zone-1"),
    Case("a zone token of both scopes", zone_claims("ingress", "egress"), EGRESS, "zone-1"),
    Case("another scope", zone_claims("egress"), INGRESS, "zone-1"),
    Case("no scope", zone_claims(), EGRESS, "zone-1"),
    Case("another zone", zone_claims("ingress", zone="zone-2"), INGRESS, "zone-1"),
    Case("no zone", zone_claims("egress", zone=""), EGRESS, "zone-1"),
    Case("a scope that is a text", {**zone_claims(), "Scope": "egress"}, EGRESS, "zone-1"),
    Case("a data plane token for a zone proxy", KNOWN, INGRESS),
]


STRICTER: Mapping[str, bool] = {
    # golang-jwt 5 compares `iat` only if it is told to; 2.7 has version 4.
    "issued in the future": KUMA.version >= (2, 12),
    # Earlier releases do not know this claim.
    "another workload": KUMA.version < (2, 13),
    "workload without a label": KUMA.version < (2, 13),
}
"""The cases in which the validator refuses what this release accepts: it has the rules of all releases together."""


def token_of(case: Case, stage: Stage) -> str:
    pem = (stage.folder / "keys" / ("zone-1.pem" if case.kid == "zone-1" else "dataplane-1.pem")).read_bytes()
    key = FOREIGN_KEY if case.is_foreign else load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    # Not `jwt.encode`, which refuses claims of wrong types.
    return jwt.PyJWS().encode(json.dumps(case.claims).encode(), key, case.algorithm, {"kid": case.kid})


def predicted_refusal(case: Case, token: str, stage: Stage) -> str | None:
    validator = KumaValidator(yaml.safe_load(stage.keys.configuration), has_only_labels=KUMA.has_only_labels)
    proxy = proxy_type_of(case.resource)
    try:
        if proxy == "dataplane":
            tags = {
                key: frozenset({value})
                for key, value in case.resource["networking"]["inbound"][0].get("tags", {}).items()
            }
            labels = case.resource.get("labels", {})
            mesh, name = case.resource["mesh"], case.resource["name"]
            resource = DataplaneResource(mesh=mesh, name=name, tags=tags, labels=labels)
            validator.check_dataplane(token, resource, time.time())
        else:
            validator.check_zone_proxy(token, proxy, ZONE, time.time())
    except RefusedError as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_validator_decides_as_the_control_plane(stage: Stage, case: Case) -> None:
    token = token_of(case, stage)
    predicted = predicted_refusal(case, token, stage)
    seen = refusal_of(
        stage.control_plane.port, stage.authority.cert, token, case.resource, proxy_type_of(case.resource)
    )
    if STRICTER.get(case.name):
        assert (seen, predicted is None) == (None, False)
        return
    assert (seen is None) == (predicted is None), f"{KUMA.name} says {seen!r}, the validator says {predicted!r}"
