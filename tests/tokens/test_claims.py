import json
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import AuthorizationError, RequestError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.token_kind import TokenKind
from app.tokens.claims import (
    MAX_VALIDITY_SECONDS,
    MIN_VALIDITY_SECONDS,
    TokenLife,
    TokenSubject,
    subject_of,
    write_claims,
)
from app.tokens.reading import read_claims_of_token
from tests.support.principals import PRINCIPAL
from tests.support.signing import AUDIENCE
from tests.support.tokens import DATAPLANE_CLAIMS, HOUR, ISSUED, LISTENER_CLAIMS, ZONE_CLAIMS

BARE = replace(PRINCIPAL, request_id="")
DATAPLANE = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload=None, zone=None)
INGRESS = ProxyIdentity(type=ProxyType.INGRESS, mesh=None, service=None, workload=None, zone=None)
LISTENER = ProxyIdentity(type=ProxyType.EGRESS, mesh="default", service=None, workload="egress", zone=None)
LIFE = TokenLife(jti=DATAPLANE_CLAIMS["jti"], issued_at=ISSUED, expires_at=ISSUED + HOUR)


def proxy(**fields: Any) -> ProxyAssertion:
    return ProxyAssertion(**{"type": ProxyType.DATAPLANE, "mesh": "default", **fields})


def zone_proxy(zone: str | None) -> ProxyAssertion:
    return ProxyAssertion(type=ProxyType.INGRESS, zone=zone)


# The claims of a token.


@pytest.mark.parametrize(
    ("subject", "claims"),
    [
        pytest.param(TokenSubject(identity=DATAPLANE, principal=BARE), DATAPLANE_CLAIMS, id="service"),
        pytest.param(
            TokenSubject(identity=replace(DATAPLANE, service=None), principal=BARE),
            {name: value for name, value in DATAPLANE_CLAIMS.items() if name != "Tags"},
            id="mesh-alone",
        ),
        pytest.param(
            TokenSubject(identity=replace(DATAPLANE, workload="demo"), principal=BARE, name="demo-app-1"),
            {**DATAPLANE_CLAIMS, "Workload": "demo", "Name": "demo-app-1"},
            id="workload-and-name",
        ),
        pytest.param(TokenSubject(identity=replace(INGRESS, zone="east"), principal=BARE), ZONE_CLAIMS, id="zone"),
        pytest.param(
            TokenSubject(identity=replace(INGRESS, type=ProxyType.EGRESS, zone="east"), principal=BARE),
            {**ZONE_CLAIMS, "Scope": ["egress"]},
            id="egress",
        ),
        pytest.param(
            TokenSubject(identity=LISTENER, principal=BARE, name="egress-1"), LISTENER_CLAIMS, id="zone-listener"
        ),
        pytest.param(
            TokenSubject(identity=replace(LISTENER, zone="east"), principal=BARE, name="egress-1"),
            {**LISTENER_CLAIMS, "Zone": "east"},
            id="zone-listener-of-a-zone",
        ),
    ],
)
def test_claims_are_kumas_and_lead_back_to_the_same_subject(subject: TokenSubject, claims: dict[str, Any]) -> None:
    written = write_claims(subject, LIFE, AUDIENCE)
    assert written == claims
    assert read_claims_of_token(json.loads(json.dumps(written)), subject.kind, AUDIENCE) == (subject, LIFE)


def test_no_claim_of_ours_is_one_of_kumas_but_for_its_case() -> None:
    """Go's encoding/json compares names without case: for Kuma, a claim "name" would be the data plane's name."""
    kumas = {"Name", "Mesh", "Tags", "Type", "Workload", "Zone", "Scope"}
    for claims in (DATAPLANE_CLAIMS, ZONE_CLAIMS, LISTENER_CLAIMS):
        assert not {name.lower() for name in claims.keys() - kumas} & {name.lower() for name in kumas}
        assert len({name.lower() for name in claims}) == len(claims)


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        pytest.param(replace(DATAPLANE, mesh=None), None, id="dataplane-without-mesh"),
        pytest.param(replace(DATAPLANE, mesh=""), None, id="dataplane-of-an-empty-mesh"),
        pytest.param(replace(DATAPLANE, service=""), None, id="empty-service"),
        pytest.param(replace(DATAPLANE, workload=""), None, id="empty-workload"),
        pytest.param(DATAPLANE, "", id="empty-name"),
        pytest.param(INGRESS, None, id="zone-proxy-without-zone"),
        pytest.param(replace(INGRESS, zone=""), None, id="zone-proxy-of-an-empty-zone"),
        pytest.param(LISTENER, None, id="zone-listener-without-name"),
        pytest.param(LISTENER, "", id="zone-listener-of-an-empty-name"),
        pytest.param(replace(LISTENER, workload=None), "egress-1", id="zone-listener-without-workload"),
        pytest.param(replace(LISTENER, workload=""), "egress-1", id="zone-listener-of-an-empty-workload"),
        pytest.param(replace(LISTENER, zone=""), "egress-1", id="zone-listener-of-an-empty-zone"),
    ],
)
def test_a_subject_leaves_no_claim_empty(identity: ProxyIdentity, name: str | None) -> None:
    """Kuma treats an empty claim as no limit (pkg/xds/auth/universal/authenticator.go)."""
    with pytest.raises(ValueError, match="empty"):
        TokenSubject(identity=identity, principal=BARE, name=name)


@pytest.mark.parametrize(
    ("identity", "kind"),
    [
        (DATAPLANE, TokenKind.DATAPLANE),
        (replace(INGRESS, zone="east"), TokenKind.ZONE),
        (replace(INGRESS, type=ProxyType.EGRESS, zone="east"), TokenKind.ZONE),
        (LISTENER, TokenKind.DATAPLANE),
        (replace(LISTENER, type=ProxyType.INGRESS, zone="east"), TokenKind.DATAPLANE),
    ],
)
def test_whatever_is_a_dataplane_to_kuma_gets_a_data_planes_token(identity: ProxyIdentity, kind: TokenKind) -> None:
    assert TokenSubject(identity=identity, principal=BARE, name="a").kind is kind


# Of an approval.


@pytest.mark.parametrize("claimed", [None, proxy()])
def test_a_data_plane_without_a_name_is_refused_where_one_is_asked_for(claimed: ProxyAssertion | None) -> None:
    """For Kuma, a token without ``Name`` is valid for every name."""
    with pytest.raises(AuthorizationError) as raised:
        subject_of(DATAPLANE, PRINCIPAL, claimed, with_names=True)
    assert raised.value.reason is Reason.PROXY_NAME_MISSING


@pytest.mark.parametrize(
    ("claimed", "with_names", "name"),
    [
        (None, False, None),
        (proxy(), False, None),
        (proxy(name="demo-app-1"), False, None),
        (proxy(name="demo-app-1"), True, "demo-app-1"),
    ],
)
def test_a_data_planes_name_is_taken_where_it_is_asked_for_and_given(
    claimed: ProxyAssertion | None, *, with_names: bool, name: str | None
) -> None:
    subject = subject_of(DATAPLANE, PRINCIPAL, claimed, with_names=with_names)
    assert subject == TokenSubject(identity=DATAPLANE, principal=BARE, name=name)


def listening(**fields: Any) -> ProxyAssertion:
    return proxy(listeners=frozenset({ZoneListener.EGRESS}), **fields)


@pytest.mark.parametrize("with_names", [False, True])
def test_a_zone_proxy_in_a_dataplane_is_held_to_name_and_workload_whatever_the_settings(*, with_names: bool) -> None:
    """No claim of a token limits it to zone proxies."""
    subject = subject_of(LISTENER, PRINCIPAL, listening(name="egress-1"), default_zone="west", with_names=with_names)
    assert subject == TokenSubject(identity=LISTENER, principal=BARE, name="egress-1")
    for identity, claimed, reason in (
        (LISTENER, listening(), Reason.PROXY_NAME_MISSING),
        (LISTENER, None, Reason.PROXY_NAME_MISSING),
        (replace(LISTENER, workload=None), listening(name="egress-1"), Reason.ROLE_WORKLOAD_MISSING),
    ):
        with pytest.raises(AuthorizationError) as raised:
            subject_of(identity, PRINCIPAL, claimed, with_names=with_names)
        assert raised.value.reason is reason
    with pytest.raises(RequestError):
        subject_of(LISTENER, PRINCIPAL, listening(name="Egress 1"), with_names=with_names)


@pytest.mark.parametrize(
    ("tagged", "said", "default", "zone"),
    [
        ("east", "east", "west", "east"),
        ("east", None, None, "east"),
        (None, "north", "west", "north"),
        (None, None, "west", "west"),
    ],
)
def test_a_zone_is_the_roles_else_the_proxys_else_the_setting(
    tagged: str | None, said: str | None, default: str | None, zone: str
) -> None:
    subject = subject_of(replace(INGRESS, zone=tagged), PRINCIPAL, zone_proxy(said), default_zone=default)
    assert subject.identity == replace(INGRESS, zone=zone)


@pytest.mark.parametrize("claimed", [None, zone_proxy(None)])
def test_a_zone_proxy_without_any_zone_is_refused(claimed: ProxyAssertion | None) -> None:
    with pytest.raises(AuthorizationError) as raised:
        subject_of(INGRESS, PRINCIPAL, claimed)
    assert raised.value.reason is Reason.ROLE_ZONE_MISSING


@pytest.mark.parametrize("text", ["", "East", "east west", "east\n", "ümlaut", "x" * 254, "\ud800", '"', "*"])
@pytest.mark.parametrize("what", ["zone", "name"])
def test_nothing_is_signed_of_a_proxys_own_words_but_a_name_of_kumas(what: str, text: str) -> None:
    identity, claimed = (INGRESS, zone_proxy(text)) if what == "zone" else (DATAPLANE, proxy(name=text))
    with pytest.raises(RequestError) as raised:
        subject_of(identity, PRINCIPAL, claimed, with_names=True)
    assert (raised.value.reason, raised.value.field) == (Reason.MALFORMED_REQUEST, f"proxy.{what}")
    subject_of(DATAPLANE, PRINCIPAL, proxy(name=text))  # it is not signed


def test_a_zone_that_is_not_signed_is_read_all_the_same() -> None:
    """The role's own zone counts, and the proxy's zone was compared with it.

    A text that is no zone's name is never ignored.
    """
    with pytest.raises(RequestError):
        subject_of(replace(INGRESS, zone="east"), PRINCIPAL, zone_proxy("EAST"))


def test_a_token_is_valid_for_a_minute_to_a_day() -> None:
    assert (MIN_VALIDITY_SECONDS, MAX_VALIDITY_SECONDS) == (60, 24 * 60 * 60)
