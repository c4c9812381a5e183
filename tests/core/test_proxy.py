import pytest

from app.core.proxy import ProxyClaims, ProxyIdentity, ProxyRequest, ProxyType, match
from app.errors import AuthorizationError
from app.reasons import Reason

EVERY_TYPE = frozenset(ProxyType)
DATAPLANE = ProxyClaims(type=ProxyType.DATAPLANE, mesh="default")
SERVICE = ProxyClaims(type=ProxyType.DATAPLANE, mesh="default", service="demo-app")
WORKLOAD = ProxyClaims(type=ProxyType.DATAPLANE, mesh="default", workload="demo")
INGRESS = ProxyClaims(type=ProxyType.INGRESS)
ZONED = ProxyClaims(type=ProxyType.EGRESS, zone="east")


def proxy(
    *, mesh: str | None = "default", tags: dict[str, set[str]] | None = None, labels: dict[str, str] | None = None
) -> ProxyRequest:
    return ProxyRequest(type=ProxyType.DATAPLANE, mesh=mesh, name="demo-app-1", tags=tags or {}, labels=labels or {})


def zone_proxy(kind: ProxyType, *, zone: str | None = None) -> ProxyRequest:
    return ProxyRequest(type=kind, zone=zone)


def refusal(claims: ProxyClaims, request: ProxyRequest | None, enabled: frozenset[ProxyType] = EVERY_TYPE) -> Reason:
    with pytest.raises(AuthorizationError) as raised:
        match(claims, request, enabled)
    return raised.value.reason


@pytest.mark.parametrize(
    ("claims", "request_"),
    [
        pytest.param(DATAPLANE, proxy(), id="mesh-alone"),
        pytest.param(DATAPLANE, proxy(tags={"kuma.io/service": {"a", "b"}}), id="any-service-without-such-a-tag"),
        pytest.param(DATAPLANE, proxy(labels={"kuma.io/workload": "any"}), id="any-workload-without-such-a-tag"),
        pytest.param(SERVICE, proxy(tags={"kuma.io/service": {"demo-app"}}), id="service-on-an-inbound"),
        pytest.param(SERVICE, proxy(labels={"kuma.io/service": "demo-app"}), id="service-as-a-label"),
        pytest.param(
            SERVICE,
            proxy(tags={"kuma.io/service": {"demo-app"}}, labels={"kuma.io/service": "demo-app"}),
            id="service-on-both",
        ),
        pytest.param(SERVICE, proxy(tags={"kuma.io/service": {"demo-app"}, "x": {"y"}}), id="other-tags"),
        pytest.param(WORKLOAD, proxy(labels={"kuma.io/workload": "demo"}), id="workload"),
        pytest.param(INGRESS, zone_proxy(ProxyType.INGRESS), id="ingress"),
        pytest.param(INGRESS, zone_proxy(ProxyType.INGRESS, zone="any"), id="any-zone-without-such-a-tag"),
        pytest.param(ZONED, zone_proxy(ProxyType.EGRESS, zone="east"), id="zone"),
        pytest.param(ZONED, zone_proxy(ProxyType.EGRESS), id="zone-that-is-not-known"),
        pytest.param(SERVICE, None, id="identity-alone"),
    ],
)
def test_match_grants_what_the_claims_say_and_no_more(claims: ProxyClaims, request_: ProxyRequest | None) -> None:
    assert match(claims, request_, EVERY_TYPE) == ProxyIdentity(
        type=claims.type, mesh=claims.mesh, service=claims.service, workload=claims.workload, zone=claims.zone
    )


@pytest.mark.parametrize("claims", [DATAPLANE, INGRESS, ZONED])
def test_match_denies_a_type_that_is_off_even_for_the_identity_alone(claims: ProxyClaims) -> None:
    others = EVERY_TYPE - {claims.type}
    assert refusal(claims, None, others) is Reason.PROXY_TYPE_DISABLED
    assert refusal(claims, ProxyRequest(type=claims.type, mesh="default"), others) is Reason.PROXY_TYPE_DISABLED
    assert refusal(claims, None, frozenset()) is Reason.PROXY_TYPE_DISABLED


@pytest.mark.parametrize("claimed", ProxyType)
@pytest.mark.parametrize("said", ProxyType)
def test_match_denies_every_type_but_the_claimed_one(claimed: ProxyType, said: ProxyType) -> None:
    mesh = "default" if claimed is ProxyType.DATAPLANE else None
    claims = ProxyClaims(type=claimed, mesh=mesh)
    request = ProxyRequest(type=said, mesh="default")
    if said is claimed:
        assert match(claims, request, EVERY_TYPE).type is claimed
    else:
        assert refusal(claims, request) is Reason.PROXY_TYPE_MISMATCH


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
def test_match_denies_when_one_service_is_not_the_claimed_one(request_: ProxyRequest) -> None:
    """I15: every value must be covered, and there must be one."""
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
def test_match_denies_another_workload(request_: ProxyRequest) -> None:
    assert refusal(WORKLOAD, request_) is Reason.PROXY_WORKLOAD_MISMATCH


@pytest.mark.parametrize("zone", ["west", "", "East", "east "])
def test_match_denies_another_zone(zone: str) -> None:
    assert refusal(ZONED, zone_proxy(ProxyType.EGRESS, zone=zone)) is Reason.PROXY_ZONE_MISMATCH


def test_match_gives_no_identity_out_of_what_the_proxy_says() -> None:
    request = ProxyRequest(
        type=ProxyType.DATAPLANE,
        mesh="default",
        name="root",
        zone="east",
        tags={"kuma.io/service": {"admin"}},
        labels={"kuma.io/workload": "admin"},
    )
    assert match(DATAPLANE, request, EVERY_TYPE) == ProxyIdentity(
        type=ProxyType.DATAPLANE, mesh="default", service=None, workload=None, zone=None
    )


@pytest.mark.parametrize(
    ("claimed", "mesh"), [(ProxyType.DATAPLANE, None), (ProxyType.INGRESS, "default"), (ProxyType.EGRESS, "default")]
)
def test_claims_name_a_mesh_for_a_dataplane_and_for_it_alone(claimed: ProxyType, mesh: str | None) -> None:
    """A data plane without a mesh would match every mesh."""
    with pytest.raises(ValueError, match="mesh"):
        ProxyClaims(type=claimed, mesh=mesh)
