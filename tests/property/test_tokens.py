"""For any text as a token, the result is a token as the service writes it, or a `CredentialError`."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import AuthorizationError, CredentialError, RequestError
from app.core.principal import AdmittedPrincipal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.role_tags import MESH_TAG, TYPE_TAG, ZONE_TAG, RoleRecord, read_grant
from app.core.token_kind import TokenKind
from app.tokens.claims import BACKDATED_SECONDS, TokenLife, TokenSubject, subject_of, write_claims
from app.tokens.codec import parse_token, require_current
from app.tokens.reading import read_claims_of_token
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError
from tests.support.keys import public_pem, rsa_key
from tests.support.policies import POLICY
from tests.support.principals import PRINCIPAL
from tests.support.signing import AUDIENCE, NOW
from tests.support.tokens import (
    DATAPLANE_CLAIMS,
    MALFORMED,
    PRINCIPAL_CLAIM,
    ZONE_CLAIMS,
    ZONE_HEADER,
    make_token,
)

BARE = replace(PRINCIPAL, request_id="")
bounded = settings(max_examples=200, deadline=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=6,
)
names = st.text("abz019._-", min_size=1, max_size=12)
optional_names = st.none() | names
workloads = names.filter(lambda text: text[0].isalnum() and text[-1].isalnum())
optional_workloads = st.none() | workloads
token_ids = st.uuids(version=4).map(str)
instants = st.integers(0, 4_000_000_000)


@st.composite
def subjects(draw: st.DrawFn) -> TokenSubject:
    """Every identity that can be approved."""
    proxy_type = draw(st.sampled_from(ProxyType))
    if proxy_type is ProxyType.DATAPLANE:
        identity = ProxyIdentity(
            type=proxy_type,
            mesh=draw(names),
            service=draw(optional_names),
            workload=draw(optional_workloads),
            zone=None,
        )
        return TokenSubject(identity=identity, principal=BARE, name=draw(optional_names))
    if draw(st.booleans()):
        listener = ProxyIdentity(
            type=proxy_type, mesh=draw(names), service=None, workload=draw(workloads), zone=draw(optional_names)
        )
        return TokenSubject(identity=listener, principal=BARE, name=draw(names))
    identity = ProxyIdentity(type=proxy_type, mesh=None, service=None, workload=None, zone=draw(names))
    return TokenSubject(identity=identity, principal=BARE)


@bounded
@given(subjects(), token_ids, instants, st.integers(60, 86_400))
def test_what_is_written_is_read_as_the_same_and_by_no_other_kind(
    subject: TokenSubject, jti: str, issued_at: int, validity: int
) -> None:
    life = TokenLife(
        jti=jti, issued_at=issued_at + BACKDATED_SECONDS, expires_at=issued_at + BACKDATED_SECONDS + validity
    )
    claims = json.loads(json.dumps(write_claims(subject, life, AUDIENCE)))
    assert read_claims_of_token(claims, subject.kind, AUDIENCE) == (subject, life)
    [other] = set(TokenKind) - {subject.kind}
    with pytest.raises(CredentialError):
        read_claims_of_token(claims, other, AUDIENCE)


@bounded
@given(
    st.sampled_from(TokenKind),
    st.dictionaries(
        st.sampled_from([*DATAPLANE_CLAIMS, *ZONE_CLAIMS, "Name", "Workload", "mesh", "sub"]),
        json_values | st.sampled_from(["egress", "demo"]),
    ),
    st.sets(st.sampled_from([*DATAPLANE_CLAIMS, *ZONE_CLAIMS])),
)
def test_claims_are_those_that_would_be_written_or_refused(
    kind: TokenKind, changed: dict[str, Any], dropped: set[str]
) -> None:
    baseline = ZONE_CLAIMS if kind is TokenKind.ZONE else DATAPLANE_CLAIMS
    claims = {name: value for name, value in {**baseline, **changed}.items() if name not in dropped}
    with suppress(CredentialError):
        subject, life = read_claims_of_token(claims, kind, AUDIENCE)
        assert write_claims(subject, life, AUDIENCE) == claims
        assert subject.kind is kind
        with suppress(CredentialError):
            require_current(life, NOW)


texts = st.text(min_size=1, max_size=12) | st.text("aZ0._:-/ \n\ud800\u212a", min_size=1, max_size=260) | names


def is_in_a_tag(key: str, text: str) -> bool:
    tags = {TYPE_TAG: "dataplane", MESH_TAG: "default", key: text}
    if key == ZONE_TAG:
        tags |= {TYPE_TAG: "ingress"}
    record = RoleRecord(
        arn=f"arn:aws:iam::{BARE.account}:role/{BARE.role}",
        role_id=BARE.role_id,
        name=BARE.role,
        tags=tuple(tags.items()),
        request_id="",
    )
    try:
        read_grant(AdmittedPrincipal(BARE), record, POLICY)
    except AuthorizationError:
        return False
    return True


def is_in_a_claim(name: str, value: object, kind: TokenKind = TokenKind.DATAPLANE) -> bool:
    claims = {**(ZONE_CLAIMS if kind is TokenKind.ZONE else DATAPLANE_CLAIMS), name: value}
    try:
        read_claims_of_token(claims, kind, AUDIENCE)
    except CredentialError:
        return False
    return True


@bounded
@given(texts)
def test_a_claim_has_the_grammar_of_what_it_was_made_of(text: str) -> None:
    """A token contains no value that a role's tag, a call or a setting could not contain."""
    assert is_in_a_claim("Mesh", text) == is_in_a_tag(MESH_TAG, text)
    assert is_in_a_claim("Tags", {SERVICE_TAG: [text]}) == is_in_a_tag(SERVICE_TAG, text)
    assert is_in_a_claim("Workload", text) == is_in_a_tag(WORKLOAD_TAG, text)
    assert is_in_a_claim("Zone", text, TokenKind.ZONE) == is_in_a_tag(ZONE_TAG, text)
    named = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name=text)
    identity = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service=None, workload=None, zone=None)
    try:
        subject_of(identity, BARE, named, with_names=True)
    except RequestError:
        assert not is_in_a_claim("Name", text)
    else:
        assert is_in_a_claim("Name", text)


@bounded
@given(st.sampled_from(TokenKind), st.data())
def test_no_text_of_a_token_is_one_that_json_or_a_log_cannot_hold(kind: TokenKind, data: st.DataObject) -> None:
    """RFC 8259, section 8.2: an escape can name half of a surrogate pair, which UTF-8 cannot encode."""
    claims = json.loads(json.dumps(dict(ZONE_CLAIMS if kind is TokenKind.ZONE else DATAPLANE_CLAIMS)))
    odd = data.draw(st.sampled_from(["\ud800", "\udfff", "\n", "\0", "\x7f", "\u2028", "\u212a"]))
    place: Any = data.draw(
        st.sampled_from(["jti", "iss", "Mesh", "Zone", "Type", "service", "Scope", *PRINCIPAL_CLAIM])
    )
    if place in PRINCIPAL_CLAIM:
        claims["principal"][place] += odd
    elif place == "service":
        claims["Tags"] = {SERVICE_TAG: [f"demo-app{odd}"]}
    elif place == "Scope":
        claims["Scope"] = [f"ingress{odd}"]
    else:
        claims[place] = f"{claims.get(place, '')}{odd}"
    with pytest.raises(CredentialError) as raised:
        read_claims_of_token(parse_token(make_token(claims)).claims, kind, AUDIENCE)
    assert raised.value.reason is Reason.TOKEN_REJECTED
    raised.value.detail.encode()


TEXTS = [make_token(), make_token(ZONE_CLAIMS, ZONE_HEADER, rsa_key(1)), *(text for _, text in MALFORMED)]
snippets = st.text(max_size=4) | st.sampled_from(["", ".", "=", "eyJ", "e30", "\n", " ", "%", "\ud800", "\u212a"])


@st.composite
def cuts(draw: st.DrawFn) -> str:
    """A token with one part removed and something inserted."""
    text = draw(st.sampled_from(TEXTS))
    start = draw(st.integers(0, len(text)))
    end = draw(st.sampled_from([start, min(start + 1, len(text)), min(start + 8, len(text)), len(text)]))
    return text[:start] + draw(snippets) + text[end:]


@bounded
@given(cuts() | st.text(max_size=50), st.sampled_from(TokenKind))
def test_whatever_comes_is_a_token_of_ours_or_refused(text: str, kind: TokenKind) -> None:
    with suppress(CredentialError):
        _, life = read_claims_of_token(parse_token(text).claims, kind, AUDIENCE)
        require_current(life, NOW)


KUMA = KumaValidator(
    {
        "dpServer": {
            "authn": {
                "dpProxy": {"dpToken": {"validator": {"publicKeys": [{"kid": "dp-1", "key": public_pem(rsa_key(0))}]}}}
            }
        }
    }
)


@settings(max_examples=100, deadline=None)
@given(subjects(), names, names, st.sets(names, max_size=2), optional_names)
def test_kuma_lets_the_bearer_of_a_token_be_nothing_that_was_not_approved(
    subject: TokenSubject, mesh: str, name: str, services: set[str], workload: str | None
) -> None:
    if subject.kind is TokenKind.ZONE:
        return
    issued = int(NOW.timestamp())
    life = TokenLife(jti="jti", issued_at=issued, expires_at=issued + 60)
    token = make_token(write_claims(subject, life, AUDIENCE))
    resource = DataplaneResource(
        mesh=mesh,
        name=name,
        tags={"kuma.io/service": services} if services else {},
        labels={} if workload is None else {"kuma.io/workload": workload},
    )
    identity = subject.identity
    covered = (
        mesh == identity.mesh
        and name == (subject.name or name)
        and (identity.service is None or services == {identity.service})
        and (identity.workload is None or workload == identity.workload)
    )
    try:
        KUMA.check_dataplane(token, resource, NOW.timestamp())
    except RefusedError:
        assert not covered
    else:
        assert covered
