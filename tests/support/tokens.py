"""Tokens as this service writes them, signed with only `cryptography`; and hostile ones, each with one change."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from app.core.errors import AuthError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.token_kind import TokenKind
from app.tokens.claims import subject_of
from app.tokens.codec import parse_token, require_current
from app.tokens.reading import read_claims_of_token
from app.tokens.subject import limit, require_name
from tests.support.keys import DATAPLANE_KID, ZONE_KID, rsa_key
from tests.support.policies import POLICY
from tests.support.principals import PRINCIPAL
from tests.support.signing import AUDIENCE, NOW

ISSUED: Final = int(NOW.timestamp())
HOUR: Final = 3600
PRINCIPAL_CLAIM: Final = {
    "partition": "aws",
    "account": "111122223333",
    "role": "demo-app",
    "roleId": "AROAEXAMPLEEXAMPLE001",
    "session": "task-1",
}
OURS: Final[Mapping[str, Any]] = {
    "iss": "kuma-aws-iam",
    "aud": AUDIENCE,
    "jti": "0b6f2c1e-6a55-4f0c-9c56-0d5a9e0a4b11",
    "iat": ISSUED - 300,
    "nbf": ISSUED - 300,
    "exp": ISSUED + HOUR,
    "principal": PRINCIPAL_CLAIM,
}
DATAPLANE_CLAIMS: Final[Mapping[str, Any]] = {
    **OURS,
    "Mesh": "default",
    "Type": "dataplane",
    "Tags": {"kuma.io/service": ["demo-app"]},
}
ZONE_CLAIMS: Final[Mapping[str, Any]] = {**OURS, "Zone": "east", "Scope": ["ingress"]}
LISTENER_CLAIMS: Final[Mapping[str, Any]] = {
    **OURS,
    "Mesh": "default",
    "Type": "egress",
    "Workload": "egress",
    "Name": "egress-1",
}
"""Of a zone proxy in a Dataplane: a data plane's token."""
DATAPLANE_HEADER: Final[Mapping[str, Any]] = {"alg": "RS256", "kid": DATAPLANE_KID, "typ": "JWT"}
ZONE_HEADER: Final[Mapping[str, Any]] = {**DATAPLANE_HEADER, "kid": ZONE_KID}

Json = dict[str, Any]


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_parts(header: str | bytes, claims: str | bytes, key: RSAPrivateKey) -> str:
    """Sign two texts as a JWS, unchanged."""
    signed = ".".join(base64url(part if isinstance(part, bytes) else part.encode()) for part in (header, claims))
    return f"{signed}.{base64url(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def make_token(
    claims: Mapping[str, Any] = DATAPLANE_CLAIMS,
    header: Mapping[str, Any] = DATAPLANE_HEADER,
    key: RSAPrivateKey | None = None,
) -> str:
    """A validly signed token of any header and claims; by the data planes' key, number 0, unless another is given."""
    return sign_parts(json.dumps(header), json.dumps(claims), key or rsa_key(0))


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, without verifying it."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass(frozen=True)
class Hostile:
    """A token with a valid signature of its kind's key, and one fault."""

    name: str
    reason: Reason
    change: Callable[[Json, Json], object]
    kind: TokenKind = TokenKind.DATAPLANE

    def make(self, now: datetime = NOW) -> str:
        """Make the token, as if it was issued at the given moment, by default NOW."""
        shift = int((now - NOW).total_seconds())
        is_zone = self.kind is TokenKind.ZONE
        header: Json = dict(ZONE_HEADER if is_zone else DATAPLANE_HEADER)
        claims: Json = json.loads(json.dumps(dict(ZONE_CLAIMS if is_zone else DATAPLANE_CLAIMS)))
        for name in ("iat", "nbf", "exp"):
            claims[name] += shift
        self.change(header, claims)
        return make_token(claims, header, rsa_key(1) if is_zone else rsa_key(0))


def _set(name: str, value: Any) -> Callable[[Json, Json], object]:
    return lambda _, claims: claims.__setitem__(name, value)


def _drop(name: str) -> Callable[[Json, Json], object]:
    return lambda _, claims: claims.pop(name)


def _head(name: str, value: object) -> Callable[[Json, Json], object]:
    return lambda header, _: header.__setitem__(name, value)


def _principal(name: str, value: object) -> Callable[[Json, Json], object]:
    return lambda _, claims: claims["principal"].__setitem__(name, value)


def _move(**seconds: int) -> Callable[[Json, Json], object]:
    return lambda _, claims: claims.update({name: claims[name] + by for name, by in seconds.items()})


def _listen(changes: Json, *, drop: bool = False) -> Callable[[Json, Json], object]:
    """Become the token of a zone proxy in a Dataplane, with a claim changed or dropped."""

    def change(_: Json, claims: Json) -> None:
        _become(claims, LISTENER_CLAIMS)
        claims.update(changes)
        for name in changes if drop else ():
            del claims[name]

    return change


ODD_TEXTS: Final = {"half-a-surrogate-pair": "\ud800", "a-newline": "\n", "a-nul": "\0", "a-blank": " "}
SCOPES: Final[list[object]] = [[], ["ingress", "egress"], ["dataplane"], ["cp"], "ingress", [""], [1], None]
NO_SECONDS: Final[list[object]] = [None, "1795500000", True, 1795500000.5, [], 10**40, -1]
NO_PRINCIPALS: Final[list[object]] = [None, "x", {}]
REJECTED: Final = Reason.TOKEN_REJECTED
_ZONE: Final = TokenKind.ZONE
HOSTILE: Final = (
    # RFC 8725: the algorithm, and every header that could add a key or another meaning.
    *(Hostile(f"alg-{alg}", REJECTED, _head("alg", alg)) for alg in ("none", "HS256", "RS512", "PS256", "rs256", 256)),
    Hostile("no-alg", REJECTED, lambda header, _: header.pop("alg")),
    Hostile("crit", REJECTED, lambda header, _: header.update({"crit": ["exp"]})),
    Hostile("b64", REJECTED, _head("b64", False)),
    Hostile("jwk", REJECTED, _head("jwk", {"kty": "RSA"})),
    Hostile("jku", REJECTED, _head("jku", "https://evil.example/")),
    Hostile("x5c", REJECTED, _head("x5c", ["MIIB"])),
    Hostile("zip", REJECTED, _head("zip", "DEF")),
    Hostile("typ-of-another-use", REJECTED, _head("typ", "at+jwt")),
    Hostile("typ-missing", REJECTED, lambda header, _: header.pop("typ")),
    *(
        Hostile(f"kid-{kid}", REJECTED, _head("kid", kid))
        for kid in ("../../dev/null", "", "1", 2, None, "x" * 65, "dp-1\n", "dp-1' or '1'='1")
    ),
    # Tokens of another issuer, or of another kind.
    *(Hostile(f"without-{name}", REJECTED, _drop(name)) for name in ("iss", "jti", "iat", "exp", "principal", "Mesh")),
    Hostile("without-nbf", REJECTED, _drop("nbf")),
    Hostile("without-type", REJECTED, _drop("Type")),
    Hostile("issuer-of-another", REJECTED, _set("iss", "https://accounts.example")),
    Hostile("issuer-and-audience-of-another", REJECTED, lambda _, claims: claims.update({"iss": "x", "aud": "x"})),
    Hostile("audience-of-another", Reason.AUDIENCE_MISMATCH, _set("aud", "another-control-plane")),
    Hostile("two-audiences", Reason.AUDIENCE_MISMATCH, _set("aud", [AUDIENCE, "another-control-plane"])),
    Hostile("without-audience", Reason.AUDIENCE_MISMATCH, _drop("aud")),
    Hostile("zone-claims-under-a-dataplane-key", REJECTED, lambda _, claims: _become(claims, ZONE_CLAIMS)),
    Hostile("dataplane-claims-under-a-zone-key", REJECTED, lambda _, claims: _become(claims, DATAPLANE_CLAIMS), _ZONE),
    Hostile("both-kinds-at-once", REJECTED, lambda _, claims: claims.update({"Zone": "east", "Scope": ["ingress"]})),
    Hostile("type-of-a-zone-proxy", REJECTED, _set("Type", "ingress")),
    Hostile("zone-of-a-data-plane", REJECTED, _set("Zone", "east")),
    # A zone proxy in a Dataplane always has a name and a workload, and never a service.
    *(
        Hostile(f"listener-without-{name}", REJECTED, _listen({name: None}, drop=True))
        for name in ("Mesh", "Name", "Workload", "Type")
    ),
    *(
        Hostile(f"listener-of-{name}-{value}", REJECTED, _listen({name: value}))
        for name, value in (
            ("Name", ""),
            ("Workload", None),
            ("Zone", ""),
            ("Zone", None),
            ("Type", "Egress"),
            ("Type", "ZoneEgress"),
            ("Type", ["egress"]),
            ("Scope", ["egress"]),
            ("Tags", {"kuma.io/service": ["demo-app"]}),
            ("listeners", ["ZoneEgress"]),
        )
    ),
    Hostile("claim-that-kuma-takes-for-its-own", REJECTED, _set("mesh", "other")),
    Hostile("unknown-claim", REJECTED, _set("sub", "admin")),
    # Kuma treats an empty claim as no limit.
    *(Hostile(f"empty-{name}", REJECTED, _set(name, "")) for name in ("Mesh", "Workload", "Name", "jti")),
    *(Hostile(f"null-{name}", REJECTED, _set(name, None)) for name in ("Mesh", "Tags", "Workload", "Name")),
    Hostile("mesh-of-a-number", REJECTED, _set("Mesh", 1)),
    *(
        Hostile(f"tags-{number}", REJECTED, _set("Tags", tags))
        for number, tags in enumerate(
            [
                {},
                [],
                "kuma.io/service",
                {"kuma.io/service": []},
                {"kuma.io/service": "demo-app"},
                {"kuma.io/service": "d"},
                {"kuma.io/service": None},
                {"kuma.io/service": [None]},
                {"kuma.io/service": ["demo-app", "other"]},
                {"kuma.io/service": [""]},
                {"kuma.io/service": [1]},
                {"kuma.io/service": ["demo-app"], "kuma.io/zone": ["east"]},
                {"k8s.kuma.io/namespace": ["web"]},
                {"-team": ["web"]},
                {"team": []},
                {"team": "w"},
                {"team": [""]},
                {"team": [1]},
                {"team": ["web", "api"]},
                {"team": ["web\n"]},
            ]
        )
    ),
    *(Hostile(f"zone-{zone}", REJECTED, _set("Zone", zone), _ZONE) for zone in ("", None, 1, ["east"])),
    Hostile("without-zone", REJECTED, _drop("Zone"), _ZONE),
    Hostile("without-scope", REJECTED, _drop("Scope"), _ZONE),
    *(Hostile(f"scope-{number}", REJECTED, _set("Scope", scope), _ZONE) for number, scope in enumerate(SCOPES)),
    # The principal.
    *(Hostile(f"principal-{number}", REJECTED, _set("principal", value)) for number, value in enumerate(NO_PRINCIPALS)),
    *(Hostile(f"principal-empty-{name}", REJECTED, _principal(name, "")) for name in PRINCIPAL_CLAIM),
    # Outside the grammar of what this service writes. JSON can name half of a surrogate pair (RFC 8259, section 8.2), which
    # no audit line and no answer can hold.
    *(
        Hostile(f"{name}-with-{what}", REJECTED, _set(name, f"{DATAPLANE_CLAIMS.get(name, 'x')}{odd}"))
        for name in ("jti", "Mesh", "Workload", "Name")
        for what, odd in ODD_TEXTS.items()
    ),
    *(
        Hostile(f"service-with-{what}", REJECTED, _set("Tags", {"kuma.io/service": [f"demo-app{odd}"]}))
        for what, odd in ODD_TEXTS.items()
    ),
    *(Hostile(f"zone-with-{what}", REJECTED, _set("Zone", f"east{odd}"), _ZONE) for what, odd in ODD_TEXTS.items()),
    *(
        Hostile(f"principal-{name}-with-{what}", REJECTED, _principal(name, f"{PRINCIPAL_CLAIM[name]}{odd}"))
        for name in PRINCIPAL_CLAIM
        for what, odd in ODD_TEXTS.items()
    ),
    Hostile("jti-of-another-form", REJECTED, _set("jti", "1")),
    Hostile("jti-in-upper-case", REJECTED, _set("jti", str(DATAPLANE_CLAIMS["jti"]).upper())),
    Hostile("jti-of-another-version", REJECTED, _set("jti", "0b6f2c1e-6a55-1f0c-9c56-0d5a9e0a4b11")),
    Hostile("mesh-in-upper-case", REJECTED, _set("Mesh", "Default")),
    Hostile("workload-of-64-characters", REJECTED, _set("Workload", "w" * 64)),
    Hostile("name-of-254-characters", REJECTED, _set("Name", "n" * 254)),
    Hostile("account-of-11-digits", REJECTED, _principal("account", "11112222333")),
    Hostile("partition-that-is-none", REJECTED, _principal("partition", "example")),
    Hostile("role-that-is-a-path", REJECTED, _principal("role", "mesh/demo-app")),
    Hostile("role-id-of-a-user", REJECTED, _principal("roleId", "AIDAEXAMPLEEXAMPLE001")),
    Hostile("nbf-with-a-fraction", REJECTED, lambda _, claims: claims.update({"nbf": float(claims["nbf"])})),
    Hostile("principal-with-more", REJECTED, _principal("admin", value=True)),
    Hostile("principal-of-a-number", REJECTED, _principal("account", 111122223333)),
    # Time.
    *(
        Hostile(f"{name}-{number}", REJECTED, _set(name, value))
        for name in ("iat", "exp")
        for number, value in enumerate(NO_SECONDS)
    ),
    Hostile("expired", Reason.CREDENTIAL_EXPIRED, _move(iat=-HOUR, nbf=-HOUR, exp=-HOUR)),
    Hostile("issued-in-the-future", Reason.CREDENTIAL_NOT_YET_VALID, _move(iat=11, nbf=11, exp=11)),
    Hostile("nbf-that-is-not-iat", REJECTED, _move(nbf=1)),
    Hostile("lives-longer-than-a-day", REJECTED, _move(exp=86_400 - HOUR + 1)),
    Hostile("ends-before-it-begins", REJECTED, _move(exp=-HOUR)),
    Hostile("beyond-the-year-9999", REJECTED, _move(iat=10**12, nbf=10**12, exp=10**12)),
    Hostile("of-1970", REJECTED, lambda _, claims: claims.update({"iat": -300, "nbf": -300, "exp": HOUR})),
)


def _become(claims: Json, others: Mapping[str, Any]) -> None:
    times = {name: claims[name] for name in ("iat", "nbf", "exp")}
    claims.clear()
    claims.update({**others, **times})


GOOD_SIGNATURE: Final = base64url(b"s" * 256)
# What is no token of two JSON objects in one spelling, whoever signed it.
MALFORMED: Final = (
    ("two-parts", f"{base64url(b'{}')}.{base64url(b'{}')}"),
    ("four-parts", f"{make_token()}.{GOOD_SIGNATURE}"),
    ("padding", f"{base64url(b'{}')}=.{base64url(b'{}')}.{GOOD_SIGNATURE}"),
    ("standard-base64", f"{base64url(b'{}')}.ey+/.{GOOD_SIGNATURE}"),
    ("unused-bits", f"{base64url(b'{}')}.{base64url(b'{}')}.{GOOD_SIGNATURE[:-1]}d"),
    ("header-of-a-list", sign_parts("[]", json.dumps(dict(DATAPLANE_CLAIMS)), rsa_key(0))),
    ("claims-of-a-list", sign_parts(json.dumps(dict(DATAPLANE_HEADER)), "[]", rsa_key(0))),
    ("claims-twice", sign_parts(json.dumps(dict(DATAPLANE_HEADER)), '{"iss":"a","iss":"kuma-aws-iam"}', rsa_key(0))),
    ("kid-twice", sign_parts('{"alg":"RS256","kid":"x","kid":"dp-1","typ":"JWT"}', "{}", rsa_key(0))),
    ("nan", sign_parts(json.dumps(dict(DATAPLANE_HEADER)), '{"exp":NaN}', rsa_key(0))),
    ("not-utf-8", sign_parts(json.dumps(dict(DATAPLANE_HEADER)), b'{"iss":"\xff"}', rsa_key(0))),
    ("too-long", make_token({**DATAPLANE_CLAIMS, "x": "x" * 12288})),
)


def core_verdict(text: str, kind: TokenKind = TokenKind.DATAPLANE) -> AuthError | None:
    """Return how the core judges a token with a valid signature, at NOW; None if it accepts the token."""
    try:
        subject, life = read_claims_of_token(parse_token(text).claims, kind, AUDIENCE)
        require_current(life, NOW)
        limit(subject, replace(POLICY, require_service=True))
        require_name(subject, ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name="demo-app-1"))
    except AuthError as error:
        return error
    return None


def token_verdicts() -> Iterator[AuthError | None]:
    """Return how the core judges every token of this module, and the cases for which none can be issued."""
    yield from (core_verdict(hostile.make(), hostile.kind) for hostile in HOSTILE)
    yield from (core_verdict(text) for _, text in MALFORMED)
    yield core_verdict(make_token({name: value for name, value in DATAPLANE_CLAIMS.items() if name != "Tags"}))
    yield core_verdict(make_token({**DATAPLANE_CLAIMS, "Name": "demo-app-2"}))
    ingress = ProxyIdentity(type=ProxyType.INGRESS, mesh=None, service=None, workload=None, zone=None)
    for zone in (None, "EAST"):
        try:
            subject_of(ingress, PRINCIPAL, ProxyAssertion(type=ProxyType.INGRESS, zone=zone))
        except AuthError as error:
            yield error
    for workload in (None, "ingress"):
        try:
            subject_of(replace(ingress, mesh="default", workload=workload), PRINCIPAL, None)
        except AuthError as error:
            yield error
