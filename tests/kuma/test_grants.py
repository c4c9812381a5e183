"""Whom a real control plane lets in with a token of a granted identity: who is in the grant, and nobody else.

The roles, the proxies that ask for tokens and those that present them are drawn with a fixed seed.
"""

import itertools
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import jwt
import pytest

from app.core.errors import AuthorizationError
from app.core.principal import AdmittedPrincipal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyIdentity, ProxyType
from app.core.role_grant import match
from app.core.role_tags import MESH_TAG, TYPE_TAG, RoleRecord, read_grant
from app.tokens.claims import TokenLife, subject_of, write_claims
from tests.support.kuma.release import KUMA, since

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import Resource, dataplane, zone_dataplane
from tests.support.kuma.stage import AUDIENCE, Stage, open_stage
from tests.support.kuma.stream import is_let_in, refusal_of
from tests.support.policies import POLICY
from tests.support.principals import PRINCIPAL

ROLE: Final = RoleRecord(
    arn=f"arn:aws:iam::{PRINCIPAL.account}:role/{PRINCIPAL.role}",
    role_id=PRINCIPAL.role_id,
    name=PRINCIPAL.role,
    tags=(),
    request_id="",
)
SEED: Final = 26
CASES: Final = int(os.environ.get("KUMA_CASES", "600"))
MESHES: Final = ("default", "payments")
NAMES: Final = (f"proxy-{number}" for number in itertools.count())
VALUES: Final = (None, "web", "admin")
PINNED: Final = "kuma.io/label/app"
IDENTITY: Final = {
    "selector": {"dataplane": {"matchLabels": {}}},
    "spiffeID": {"trustDomain": "{{ .Mesh }}.mesh.local", "path": '/workload/{{ label "kuma.io/workload" }}'},
    "provider": {"type": "Bundled", "bundled": {"insecureAllowSelfSigned": True, "autogenerate": {"enabled": True}}},
}
COMPARES_WORKLOADS: Final = KUMA.version >= (2, 13)
HAS_MESH_IDENTITY: Final = KUMA.version >= (2, 14)


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder) as stage:
        stage.control_plane.add_mesh("payments")
        if HAS_MESH_IDENTITY:
            resource = {"type": "MeshIdentity", "mesh": "payments", "name": "identity", "spec": IDENTITY}
            stage.control_plane.apply("/meshes/payments/meshidentities/identity", resource)
        yield stage


def with_value(values: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def draw_role(draw: random.Random, proxy: Resource) -> dict[str, str]:
    """Draw a role that mostly fits the proxy, since a role that does not gives no token."""
    labels = proxy["labels"]
    service = labels.get(SERVICE_TAG) if KUMA.has_only_labels else tag_of(proxy)
    tags = {SERVICE_TAG: service, WORKLOAD_TAG: labels.get(WORKLOAD_TAG)}
    if KUMA.has_only_labels:  # an earlier control plane refuses a token with a pinned label
        tags[PINNED] = labels.get("app")
    if draw.random() < 1 / 4:
        tags[draw.choice(list(tags))] = draw.choice(VALUES)
    return {TYPE_TAG: "dataplane", MESH_TAG: proxy["mesh"], **with_value(tags)}


def draw_proxy(draw: random.Random) -> Resource:
    mesh = draw.choice(MESHES)
    labels = {key: draw.choice(VALUES) for key in (SERVICE_TAG, WORKLOAD_TAG, "app")}
    if mesh == "payments":  # its MeshIdentity takes no Dataplane without a workload
        labels[WORKLOAD_TAG] = draw.choice(("web", "admin"))
    resource = dataplane(next(NAMES), "web", mesh=mesh, port=18080, service_port=18081)
    resource["labels"] = with_value(labels)
    # Earlier releases reject an inbound without this tag, and 3.0 drops it.
    resource["networking"]["inbound"][0]["tags"] = {SERVICE_TAG: draw.choice(("web", "admin"))}
    return resource


def changed(draw: random.Random, resource: Resource) -> Resource:
    """Return the proxy with one label of another value, or without it."""
    labels = {**resource["labels"], draw.choice((SERVICE_TAG, "app")): draw.choice(VALUES)}
    return {**resource, "labels": with_value(labels)}


def tag_of(resource: Resource) -> str:
    tag: str = resource["networking"]["inbound"][0]["tags"][SERVICE_TAG]
    return tag


def asserted(resource: Resource, *, reads_tags: bool) -> ProxyAssertion:
    tags = {SERVICE_TAG: frozenset({tag_of(resource)})} if reads_tags else {}
    mesh, labels = resource["mesh"], resource["labels"]
    return ProxyAssertion(type=ProxyType.DATAPLANE, mesh=mesh, name=resource["name"], tags=tags, labels=labels)


def is_covered(identity: ProxyIdentity, resource: Resource) -> bool:
    """Whether all that this release makes an identity of is in the grant; written from Kuma's rules, with none of ours."""
    labels = resource["labels"]
    service = labels.get(SERVICE_TAG) if KUMA.has_only_labels else tag_of(resource)
    workload = labels.get(WORKLOAD_TAG)
    if resource["mesh"] != identity.mesh or identity.service not in (None, service):
        return False
    if COMPARES_WORKLOADS and identity.workload not in (None, workload):
        return False
    makes_identity = HAS_MESH_IDENTITY and resource["mesh"] == "payments"
    if makes_identity and identity.workload is None and workload is not None:
        return False
    return all(labels.get(key) == value for key, value in identity.labels)


def lets_in(stage: Stage, token: str, resource: Resource) -> bool:
    path = f"/meshes/{resource['mesh']}/dataplanes/{resource['name']}"
    control_plane = stage.control_plane
    return is_let_in(
        control_plane.port, stage.authority.cert, token, resource, lambda: control_plane.api.get(path).is_success
    )


def test_a_token_lets_in_who_is_in_the_grant_and_nobody_else(stage: Stage) -> None:
    draw = random.Random(SEED)  # noqa: S311 - cases, no secret
    key = (stage.folder / "keys/dataplane-1.pem").read_bytes()
    now = int(time.time())
    counts = {"denied": 0, "accepted": 0, "refused": 0}
    for _ in range(CASES):
        first = draw_proxy(draw)
        role = draw_role(draw, first)
        try:
            grant = read_grant(AdmittedPrincipal(PRINCIPAL), replace(ROLE, tags=tuple(role.items())), POLICY)
            identity = match(grant, asserted(first, reads_tags=not KUMA.has_only_labels), POLICY)
        except AuthorizationError:
            counts["denied"] += 1
            continue
        subject = subject_of(identity, PRINCIPAL, None)
        claims = write_claims(subject, TokenLife(jti="id", issued_at=now, expires_at=now + 3600), AUDIENCE)
        token = jwt.encode(claims, key, "RS256", {"kid": "dataplane-1"})
        presented = draw.choice((first, changed(draw, first), draw_proxy(draw)))
        is_in = lets_in(stage, token, presented)
        assert is_in == is_covered(identity, presented), f"{KUMA.name} lets in: {is_in}, {role}, {presented}"
        counts["accepted" if is_in else "refused"] += 1
    print(f"Kuma {KUMA.name}: of {CASES} cases {counts}")  # noqa: T201 - for the report
    assert min(counts.values()) > CASES / 20


@since(3, 0)
def test_no_token_can_be_for_a_zone_proxy_alone(stage: Stage) -> None:
    """Kuma computes this label from the listeners after it has authenticated the first stream of a new Dataplane."""
    key = (stage.folder / "keys/dataplane-1.pem").read_bytes()
    claims: dict[str, Any] = {"Mesh": "default", "Tags": {"kuma.io/listener-zoneegress": ["enabled"]}, "jti": "id"}
    token = jwt.encode({**claims, "exp": int(time.time()) + 60}, key, "RS256", {"kid": "dataplane-1"})
    refusal = refusal_of(
        stage.control_plane.port,
        stage.authority.cert,
        token,
        zone_dataplane("ZoneEgress", "egress-1"),
        "dataplane",
    )
    assert refusal == 'dataplane has no tag "kuma.io/listener-zoneegress" required by the token'
