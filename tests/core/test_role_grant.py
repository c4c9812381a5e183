"""Zone proxies in a Dataplane, the one zone of a service, and grants that cannot exist."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import AuthorizationError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant, match, require_permitted
from tests.support.policies import POLICY

DATAPLANE = RoleGrant(type=ProxyType.DATAPLANE, mesh="default")
EGRESS = RoleGrant(type=ProxyType.EGRESS)
LISTENER = RoleGrant(type=ProxyType.EGRESS, mesh="default")
BOUND = RoleGrant(type=ProxyType.EGRESS, mesh="default", workload="egress", zone="east")
EGRESS_LISTENER = frozenset({ZoneListener.EGRESS})


def listening(**fields: Any) -> ProxyAssertion:
    """Return a Dataplane with a zone egress in it."""
    return ProxyAssertion(
        **{"type": ProxyType.DATAPLANE, "mesh": "default", "name": "egress-1", "listeners": EGRESS_LISTENER, **fields}
    )


def refusal(grant: RoleGrant, proxy: ProxyAssertion | None, **settings: Any) -> Reason:
    with pytest.raises(AuthorizationError) as raised:
        match(grant, proxy, replace(POLICY, **settings))
    return raised.value.reason


# A zone proxy in a Dataplane.


@pytest.mark.parametrize(
    ("grant", "proxy"),
    [
        pytest.param(LISTENER, listening(), id="mesh-alone"),
        pytest.param(LISTENER, listening(zone="any"), id="any-zone-without-such-a-tag"),
        pytest.param(LISTENER, listening(tags={"team": {"web"}}), id="other-tags"),
        pytest.param(BOUND, listening(labels={"kuma.io/workload": "egress"}, zone="east"), id="everything"),
        pytest.param(BOUND, listening(labels={"kuma.io/workload": "egress"}), id="zone-that-is-not-known"),
    ],
)
def test_a_role_of_a_zone_proxy_is_one_in_a_dataplane_of_its_mesh(grant: RoleGrant, proxy: ProxyAssertion) -> None:
    assert match(grant, proxy, POLICY) == ProxyIdentity(
        type=ProxyType.EGRESS, mesh="default", service=None, workload=grant.workload, zone=grant.zone
    )


BOTH = frozenset(ZoneListener)


@pytest.mark.parametrize(
    ("grant", "proxy"),
    [
        pytest.param(DATAPLANE, listening(), id="a-data-planes-role-has-no-zone-listener"),
        pytest.param(DATAPLANE, listening(listeners=BOTH), id="nor-both"),
        pytest.param(LISTENER, listening(listeners=frozenset({ZoneListener.INGRESS})), id="the-other-kind"),
        pytest.param(LISTENER, listening(listeners=BOTH), id="both-kinds"),
        pytest.param(LISTENER, listening(listeners=frozenset()), id="no-listener"),
        pytest.param(LISTENER, ProxyAssertion(type=ProxyType.EGRESS), id="a-resource-of-its-own"),
        pytest.param(LISTENER, listening(type=ProxyType.EGRESS), id="listeners-of-no-dataplane"),
        pytest.param(EGRESS, listening(), id="a-grant-for-a-resource-of-its-own"),
        pytest.param(EGRESS, listening(type=ProxyType.EGRESS, mesh=None), id="a-resource-of-its-own-with-listeners"),
        pytest.param(EGRESS, listening(listeners=frozenset()), id="a-data-plane"),
    ],
)
def test_every_other_combination_of_type_and_listeners_is_denied(grant: RoleGrant, proxy: ProxyAssertion) -> None:
    assert refusal(grant, proxy) is Reason.PROXY_TYPE_MISMATCH


@pytest.mark.parametrize("kind", ZoneListener)
@pytest.mark.parametrize("listeners", [set(), {ZoneListener.INGRESS}, {ZoneListener.EGRESS}, set(ZoneListener)])
def test_each_type_of_zone_proxy_has_its_own_listener(kind: ZoneListener, listeners: set[ZoneListener]) -> None:
    types = {ZoneListener.INGRESS: ProxyType.INGRESS, ZoneListener.EGRESS: ProxyType.EGRESS}
    grant = RoleGrant(type=types[kind], mesh="default")
    if listeners == {kind}:
        assert match(grant, listening(listeners=listeners), POLICY).type is types[kind]
    else:
        assert refusal(grant, listening(listeners=listeners)) is Reason.PROXY_TYPE_MISMATCH


@pytest.mark.parametrize("mesh", [None, "", "other", "Default", "*"])
def test_a_zone_proxy_in_a_dataplane_is_of_its_mesh(mesh: str | None) -> None:
    assert refusal(LISTENER, listening(mesh=mesh)) is Reason.PROXY_MESH_MISMATCH


@pytest.mark.parametrize("services", [{"payments"}, {""}, {"egress", "payments"}])
def test_a_zone_proxy_in_a_dataplane_takes_no_service_with_it(services: set[str]) -> None:
    """I27: Kuma derives an mTLS identity from an inbound's service tag, and no tag of this role could limit it."""
    assert refusal(LISTENER, listening(tags={"kuma.io/service": services})) is Reason.PROXY_SERVICE_MISMATCH


@pytest.mark.parametrize(
    ("grant", "labels"),
    [
        (LISTENER, {"kuma.io/workload": "payments"}),
        (LISTENER, {"kuma.io/workload": ""}),
        (BOUND, {"kuma.io/workload": "payments"}),
        (BOUND, {}),
    ],
)
def test_the_workload_of_a_zone_proxy_in_a_dataplane_is_bound(grant: RoleGrant, labels: dict[str, str]) -> None:
    assert refusal(grant, listening(labels=labels)) is Reason.PROXY_WORKLOAD_MISMATCH
    if grant is LISTENER:
        assert match(grant, listening(labels=labels), replace(POLICY, allow_unbound_workloads=True)).workload is None


def test_the_switch_of_data_planes_governs_a_zone_proxy_in_a_dataplane() -> None:
    """Kuma authenticates it as a data plane."""
    match(LISTENER, listening(), replace(POLICY, enabled_types=frozenset({ProxyType.DATAPLANE})))
    zone_types = frozenset({ProxyType.INGRESS, ProxyType.EGRESS})
    assert refusal(LISTENER, listening(), enabled_types=zone_types) is Reason.PROXY_TYPE_DISABLED
    assert refusal(LISTENER, None, enabled_types=zone_types) is Reason.PROXY_TYPE_DISABLED


def test_a_zone_tag_binds_a_zone_proxy_in_a_dataplane_and_the_setting_does_not() -> None:
    bound = listening(labels={"kuma.io/workload": "egress"})
    assert match(BOUND, bound, replace(POLICY, zone="west")).zone == "east"
    assert refusal(BOUND, replace(bound, zone="west")) is Reason.PROXY_ZONE_MISMATCH
    match(LISTENER, listening(zone="north"), replace(POLICY, zone="west"))


# The one zone of a service.


def egress(zone: str | None) -> ProxyAssertion:
    return ProxyAssertion(type=ProxyType.EGRESS, zone=zone)


@pytest.mark.parametrize("tagged", [None, "east"])
@pytest.mark.parametrize("proxy", [None, egress(None), egress("east")])
def test_a_zone_proxy_of_the_one_zone_is_let_in_with_the_zone_of_its_tag(
    tagged: str | None, proxy: ProxyAssertion | None
) -> None:
    assert match(replace(EGRESS, zone=tagged), proxy, replace(POLICY, zone="east")).zone == tagged


@pytest.mark.parametrize(
    ("tagged", "proxy"),
    [
        ("west", None),
        ("west", egress(None)),
        ("west", egress("west")),
        ("west", egress("east")),
        (None, egress("west")),
        (None, egress("East")),
        (None, egress("")),
        ("east", egress("west")),
    ],
)
def test_a_zone_proxy_of_another_zone_is_denied_whatever_says_so(
    tagged: str | None, proxy: ProxyAssertion | None
) -> None:
    assert refusal(replace(EGRESS, zone=tagged), proxy, zone="east") is Reason.PROXY_ZONE_MISMATCH


def test_the_one_zone_does_not_concern_data_planes() -> None:
    match(DATAPLANE, listening(listeners=frozenset(), zone="west"), replace(POLICY, zone="east"))


# What the audit line says about a denial.


@pytest.mark.parametrize(
    ("grant", "proxy", "zone", "detail"),
    [
        (
            LISTENER,
            listening(tags={"kuma.io/service": {"web"}}),
            None,
            "the role is for service (none), and the tag of an inbound or of the gateway kuma.io/service has another value",
        ),
        (
            replace(DATAPLANE, service="api"),
            listening(listeners=frozenset()),
            None,
            "the role is for service api, and the proxy names none: neither the label nor a tag kuma.io/service",
        ),
        (
            replace(DATAPLANE, service="api"),
            listening(
                listeners=frozenset(), tags={"kuma.io/service": {"api", "web"}}, labels={"kuma.io/service": "web"}
            ),
            None,
            (
                "the role is for service api, and the tag of an inbound or of the gateway and the label kuma.io/service has "
                "another value"
            ),
        ),
        (
            replace(DATAPLANE, service="api"),
            listening(listeners=frozenset(), tags={"kuma.io/service": {"api"}}, labels={"kuma.io/service": "web"}),
            None,
            "the role is for service api, and the label kuma.io/service has another value",
        ),
        (
            LISTENER,
            listening(labels={"kuma.io/workload": "job"}),
            None,
            "the role is for workload (none), and the proxy's label has another value",
        ),
        (BOUND, listening(), None, "the role is for workload egress, and the proxy has no such label"),
        (
            replace(EGRESS, labels=(("app", "web"),)),
            egress("east"),
            None,
            "the role pins the label app to web",
        ),
        (EGRESS, egress("west"), "east", "the role is for zone (any), this service for east"),
        (replace(EGRESS, zone="east"), egress("west"), None, "the role is for zone east, this service for (any)"),
    ],
)
def test_a_denial_names_what_the_role_is_for(
    grant: RoleGrant, proxy: ProxyAssertion, zone: str | None, detail: str
) -> None:
    with pytest.raises(AuthorizationError) as raised:
        match(grant, proxy, replace(POLICY, zone=zone))
    assert raised.value.detail == detail


# Every grant, and what no grant can be.


@pytest.mark.parametrize(
    "fields",
    [
        {"type": ProxyType.DATAPLANE},
        {"type": ProxyType.DATAPLANE, "mesh": "default", "zone": "east"},
        {"type": ProxyType.INGRESS, "service": "demo-app"},
        {"type": ProxyType.INGRESS, "workload": "demo"},
        {"type": ProxyType.EGRESS, "mesh": "default", "service": "demo-app"},
    ],
)
def test_no_grant_lacks_its_mesh_or_holds_what_does_not_apply(fields: dict[str, Any]) -> None:
    """A data plane without a mesh would match every mesh."""
    with pytest.raises(ValueError, match="mesh"):
        RoleGrant(**fields)


@pytest.mark.parametrize(
    ("grant", "meshes", "is_permitted"),
    [
        (LISTENER, {"default"}, True),
        (LISTENER, {"*"}, True),
        (LISTENER, {"other"}, False),
        (LISTENER, set(), False),
        (EGRESS, {"default"}, False),
        (EGRESS, {"*"}, True),
    ],
)
def test_an_account_has_zone_proxies_of_its_meshes_and_with_every_mesh_of_none(
    grant: RoleGrant, meshes: set[str], *, is_permitted: bool
) -> None:
    policy = replace(POLICY, account_meshes={"111122223333": meshes})
    if is_permitted:
        require_permitted(grant, "111122223333", policy)
        return
    with pytest.raises(AuthorizationError) as raised:
        require_permitted(grant, "111122223333", policy)
    assert raised.value.reason is Reason.ACCOUNT_MESH_NOT_ALLOWED
