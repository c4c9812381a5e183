from dataclasses import replace

import pytest

from app.core.errors import AuthorizationError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType, identity_words
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant, match
from tests.support.policies import EVERY_TYPE, POLICY

DATAPLANE = RoleGrant(type=ProxyType.DATAPLANE, mesh="default")
SERVICE = RoleGrant(type=ProxyType.DATAPLANE, mesh="default", service="demo-app")
WORKLOAD = RoleGrant(type=ProxyType.DATAPLANE, mesh="default", workload="demo")
INGRESS = RoleGrant(type=ProxyType.INGRESS)
ZONED = RoleGrant(type=ProxyType.EGRESS, zone="east")


def proxy(
    *, mesh: str | None = "default", tags: dict[str, set[str]] | None = None, labels: dict[str, str] | None = None
) -> ProxyAssertion:
    return ProxyAssertion(type=ProxyType.DATAPLANE, mesh=mesh, name="demo-app-1", tags=tags or {}, labels=labels or {})


def zone_proxy(kind: ProxyType, *, zone: str | None = None) -> ProxyAssertion:
    return ProxyAssertion(type=kind, zone=zone)


def refusal(grant: RoleGrant, request: ProxyAssertion | None, enabled: frozenset[ProxyType] = EVERY_TYPE) -> Reason:
    with pytest.raises(AuthorizationError) as raised:
        match(grant, request, replace(POLICY, enabled_types=enabled))
    return raised.value.reason


@pytest.mark.parametrize(
    ("grant", "request_"),
    [
        pytest.param(DATAPLANE, proxy(), id="mesh-alone"),
        pytest.param(DATAPLANE, proxy(tags={"kuma.io/service": {"a", "b"}}), id="any-service-without-such-a-tag"),
        pytest.param(SERVICE, proxy(tags={"kuma.io/service": {"demo-app"}}), id="service-on-an-inbound"),
        pytest.param(
            SERVICE,
            proxy(tags={"kuma.io/service": {"demo-app"}}, labels={"kuma.io/service": "demo-app"}),
            id="service-on-both",
        ),
        pytest.param(SERVICE, proxy(tags={"kuma.io/service": {"demo-app"}, "x": {"y"}}), id="other-tags"),
        pytest.param(DATAPLANE, proxy(labels={"kuma.io/service": "any"}), id="a-service-label-without-such-a-tag"),
        pytest.param(WORKLOAD, proxy(labels={"kuma.io/workload": "demo"}), id="workload"),
        pytest.param(INGRESS, zone_proxy(ProxyType.INGRESS), id="ingress"),
        pytest.param(INGRESS, zone_proxy(ProxyType.INGRESS, zone="any"), id="any-zone-without-such-a-tag"),
        pytest.param(ZONED, zone_proxy(ProxyType.EGRESS, zone="east"), id="zone"),
        pytest.param(ZONED, zone_proxy(ProxyType.EGRESS), id="zone-that-is-not-known"),
        pytest.param(SERVICE, None, id="identity-alone"),
    ],
)
def test_match_grants_what_the_role_grants_and_no_more(grant: RoleGrant, request_: ProxyAssertion | None) -> None:
    assert match(grant, request_, POLICY) == ProxyIdentity(
        type=grant.type, mesh=grant.mesh, service=grant.service, workload=grant.workload, zone=grant.zone
    )


@pytest.mark.parametrize("grant", [DATAPLANE, INGRESS, ZONED])
def test_match_denies_a_type_that_is_off_even_for_the_identity_alone(grant: RoleGrant) -> None:
    others = EVERY_TYPE - {grant.type}
    assert refusal(grant, None, others) is Reason.PROXY_TYPE_DISABLED
    assert refusal(grant, ProxyAssertion(type=grant.type, mesh="default"), others) is Reason.PROXY_TYPE_DISABLED
    assert refusal(grant, None, frozenset()) is Reason.PROXY_TYPE_DISABLED


@pytest.mark.parametrize("claimed", ProxyType)
@pytest.mark.parametrize("said", ProxyType)
def test_match_denies_every_type_but_the_claimed_one(claimed: ProxyType, said: ProxyType) -> None:
    mesh = "default" if claimed is ProxyType.DATAPLANE else None
    grant = RoleGrant(type=claimed, mesh=mesh)
    request = ProxyAssertion(type=said, mesh="default")
    if said is claimed:
        assert match(grant, request, POLICY).type is claimed
    else:
        assert refusal(grant, request) is Reason.PROXY_TYPE_MISMATCH


@pytest.mark.parametrize("mesh", [None, "", "other", "Default", "default ", "default\n", "*", "default.other"])
def test_match_denies_another_mesh(mesh: str | None) -> None:
    assert refusal(DATAPLANE, proxy(mesh=mesh)) is Reason.PROXY_MESH_MISMATCH


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(proxy(), id="no-service-at-all"),
        pytest.param(proxy(tags={"kuma.io/service": set()}), id="no-value"),
        pytest.param(proxy(tags={"kuma.io/service": {"other"}}), id="other-service"),
        pytest.param(proxy(tags={"kuma.io/service": {"demo-app", "other"}}), id="second-inbound-of-another-service"),
        pytest.param(proxy(tags={"kuma.io/service": {"Demo-App"}}), id="other-case"),
        pytest.param(proxy(tags={"kuma.io/service": {"demo-app "}}), id="blank-behind"),
        pytest.param(proxy(tags={"kuma.io/service": {"*"}}), id="wildcard"),
        pytest.param(proxy(tags={"Kuma.io/service": {"demo-app"}}), id="key-in-another-case"),
        pytest.param(proxy(tags={"service": {"demo-app"}}), id="other-key"),
        pytest.param(proxy(labels={"kuma.io/service": "other"}), id="label-of-another-service"),
        pytest.param(proxy(labels={"kuma.io/service": ""}), id="empty-label"),
        pytest.param(
            proxy(tags={"kuma.io/service": {"demo-app"}}, labels={"kuma.io/service": "other"}),
            id="label-that-contradicts-the-inbound",
        ),
        pytest.param(
            proxy(tags={"kuma.io/service": {"demo-app"}}, labels={"kuma.io/service": ""}),
            id="empty-label-beside-the-inbound",
        ),
    ],
)
def test_match_denies_when_one_service_is_not_the_claimed_one(request_: ProxyAssertion) -> None:
    """I15: the role must cover every value, and there must be at least one."""
    assert refusal(SERVICE, request_) is Reason.PROXY_SERVICE_MISMATCH


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(proxy(), id="no-label"),
        pytest.param(proxy(labels={"kuma.io/workload": "other"}), id="other-workload"),
        pytest.param(proxy(labels={"kuma.io/workload": "Demo"}), id="other-case"),
        pytest.param(proxy(labels={"kuma.io/workload": ""}), id="empty"),
        pytest.param(proxy(tags={"kuma.io/workload": {"demo"}}), id="tag-in-place-of-the-label"),
    ],
)
def test_match_denies_another_workload(request_: ProxyAssertion) -> None:
    assert refusal(WORKLOAD, request_) is Reason.PROXY_WORKLOAD_MISMATCH


@pytest.mark.parametrize("workload", ["payments", "demo", "", " ", "*"])
def test_match_denies_a_workload_label_that_no_tag_of_the_role_binds(workload: str) -> None:
    """I27: from Kuma 2.13 on the label can be the SPIFFE id, from 2.14.2 the mTLS service of a proxy without tags."""
    labelled = proxy(tags={"kuma.io/service": {"demo-app"}}, labels={"kuma.io/workload": workload})
    for grant in (DATAPLANE, SERVICE):
        assert refusal(grant, labelled) is Reason.PROXY_WORKLOAD_MISMATCH
    unbound = replace(POLICY, allow_unbound_workloads=True)
    assert match(SERVICE, labelled, unbound).workload is None
    with pytest.raises(AuthorizationError):  # denied even if the role binds a workload
        match(WORKLOAD, proxy(labels={"kuma.io/workload": f"{workload}x"}), unbound)


@pytest.mark.parametrize("key", ["KUMA.IO/workload", "kuma.io/Workload", "kuma.io/workload ", "workload"])
def test_match_knows_no_other_label_for_the_workload(key: str) -> None:
    """Kuma compares keys exactly as well."""
    assert match(DATAPLANE, proxy(labels={key: "payments"}), POLICY).workload is None
    assert refusal(WORKLOAD, proxy(labels={key: "demo"})) is Reason.PROXY_WORKLOAD_MISMATCH


@pytest.mark.parametrize("zone", ["west", "", "East", "east "])
def test_match_denies_another_zone(zone: str) -> None:
    assert refusal(ZONED, zone_proxy(ProxyType.EGRESS, zone=zone)) is Reason.PROXY_ZONE_MISMATCH


def test_match_gives_no_identity_out_of_what_the_proxy_says() -> None:
    request = ProxyAssertion(
        type=ProxyType.DATAPLANE,
        mesh="default",
        name="root",
        zone="east",
        tags={"kuma.io/service": {"admin"}},
        labels={"kuma.io/workload": "admin"},
    )
    assert match(DATAPLANE, request, replace(POLICY, allow_unbound_workloads=True)) == ProxyIdentity(
        type=ProxyType.DATAPLANE, mesh="default", service=None, workload=None, zone=None
    )


@pytest.mark.parametrize(
    ("kind", "mesh", "expected"),
    [
        pytest.param(ProxyType.INGRESS, "default", True, id="ingress-of-a-mesh"),
        pytest.param(ProxyType.EGRESS, "default", True, id="egress-of-a-mesh"),
        pytest.param(ProxyType.INGRESS, None, False, id="ingress-of-a-zone"),
        pytest.param(ProxyType.DATAPLANE, "default", False, id="dataplane"),
    ],
)
def test_a_zone_proxy_in_a_dataplane_is_one_of_a_mesh(kind: ProxyType, mesh: str | None, expected: bool) -> None:  # noqa: FBT001
    identity = ProxyIdentity(type=kind, mesh=mesh, service=None, workload=None, zone=None)
    assert identity.is_zone_proxy_in_dataplane is expected


def test_an_identity_is_written_with_every_member() -> None:
    """The answer and the audit line have the same members. A member is null if the tag is absent."""
    identity = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload=None, zone=None)
    written = {"type": "dataplane", "mesh": "default", "service": "demo-app", "workload": None, "zone": None}
    assert identity.members() == {**written, "labels": {}}
    assert replace(identity, labels=(("app", "web"),)).members() == {**written, "labels": {"app": "web"}}


def test_an_identity_in_words_has_what_is_set_and_each_label() -> None:
    identity = ProxyIdentity(
        type=ProxyType.DATAPLANE,
        mesh="default",
        service=None,
        workload="web",
        zone=None,
        labels=(("app", "a"), ("team", "b")),
    )
    assert identity_words(identity.members()) == "type=dataplane mesh=default workload=web label app=a label team=b"
