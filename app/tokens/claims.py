"""Make the claims of a token from a `ProxyIdentity`.

A stock control plane accepts the token, and derives no wider identity from it.

The claims are Kuma's own (kumahq/kuma, pkg/tokens/builtin/issuer/token.go and zone/token.go). Kuma reads them with Go's
encoding/json, which ignores the case of names and leaves absent claims empty. For Kuma, an empty claim sets no limit
(pkg/xds/auth/universal/authenticator.go):

- A data plane token without ``Mesh`` is valid for every mesh. Therefore `TokenSubject` rejects empty claims.
- A zone token without ``Zone`` is valid for every zone. `TokenSubject` rejects this too.
- If a data plane's key verifies a zone token, the token is also valid for a data plane of every mesh. Therefore each kind of
  token has its own keys.

No other claim of this service has the name of a claim of Kuma, even when case is ignored.

``iss``, ``aud`` and ``principal`` are claims of this service. Kuma ignores them (pkg/core/tokens/validator.go does not ask
its parser to check issuer and audience). This service needs them when a proxy presents the token as a credential: from them
it gets the same identity and principal again.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.core.errors import AuthorizationError, RequestError
from app.core.principal import Principal
from app.core.proxy import SERVICE_TAG, ProxyAssertion, ProxyIdentity
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant
from app.core.token_kind import TokenKind

ISSUER: Final = "kuma-aws-iam"
MIN_VALIDITY_SECONDS: Final = 60
MAX_VALIDITY_SECONDS: Final = 86_400
# ``iat`` and ``nbf`` are this many seconds before the issue. Otherwise a control plane whose clock is behind this
# service's clock would reject new tokens. Kuma dates the nbf of its own tokens back by the same time
# (pkg/core/tokens/issuer.go). Before 2.4, Kuma's JWT library also rejects an iat ahead of its clock.
BACKDATED_SECONDS: Final = 300

# Kuma's grammar: names of resources and zones follow DNS rules. No other text of the proxy is signed.
_RESOURCE_NAME: Final = re.compile(r"[0-9a-z._-]{1,253}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSubject:
    """What a token says about its bearer. Equal subjects can share a token.

    Attributes:
        identity: the identity that the proxy may have. The identity of a zone proxy has a zone.
        principal: the role of the proxy, without STS's request id.
        name: the only name that the proxy's resource may have; None if any name is allowed.
    """

    identity: ProxyIdentity
    principal: Principal
    name: str | None = None
    grant: RoleGrant = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Fail closed: for Kuma, an empty claim sets no limit.
        identity = self.identity
        has_all = identity.zone is not None if self.kind is TokenKind.ZONE else identity.mesh is not None
        if identity.is_zone_proxy_in_dataplane:
            has_all = identity.workload is not None and self.name is not None
        narrowing = (identity.mesh, identity.service, identity.workload, identity.zone, self.name)
        if not has_all or "" in narrowing:
            raise ValueError("a token names its mesh or its zone, and no claim of it is empty")
        grant = RoleGrant(
            type=identity.type,
            mesh=identity.mesh,
            service=identity.service,
            workload=identity.workload,
            zone=identity.zone,
            labels=identity.labels,
        )
        object.__setattr__(self, "grant", grant)

    @property
    def kind(self) -> TokenKind:
        """The kind of key that signs the token. The identity has a mesh if, and only if, it is that of a Dataplane."""
        return TokenKind.ZONE if self.identity.mesh is None else TokenKind.DATAPLANE


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLife:
    """The registered claims that differ between tokens (RFC 7519, section 4.1). Times are whole seconds since the epoch.

    Attributes:
        jti: the id of the token, which Kuma uses to revoke it.
        issued_at: when the token was issued, by the issuer's clock.
        expires_at: when the token expires.
    """

    jti: str
    issued_at: int
    expires_at: int


def subject_of(
    identity: ProxyIdentity,
    principal: Principal,
    asserted: ProxyAssertion | None,
    *,
    default_zone: str | None = None,
    with_names: bool = False,
) -> TokenSubject:
    """Return what a token for a granted identity says about its bearer.

    Args:
        identity: the granted identity.
        principal: the role session that the identity was granted to.
        asserted: what the proxy asserts; it was already compared with the identity.
        default_zone: the zone of zone proxies if neither the role nor the proxy names one.
        with_names: include the name that a data plane proxy asserts. The token of a zone proxy in a Dataplane always
            includes the name.

    Raises:
        AuthorizationError: ``role_zone_missing``, ``role_workload_missing``, ``proxy_name_missing``.
        RequestError: ``malformed_request``; the asserted name or zone breaks Kuma's grammar, and the token would contain it.
    """
    principal = replace(principal, request_id="")
    if identity.mesh is None:
        said = None if asserted is None else _signable(asserted.zone, "proxy.zone")
        zone = identity.zone or said or default_zone
        if not zone:
            raise AuthorizationError(Reason.ROLE_ZONE_MISSING, "neither role, proxy nor setting names a zone")
        return TokenSubject(identity=replace(identity, zone=zone), principal=principal)
    # No claim restricts a token to a zone proxy in a Dataplane. So such a token contains every claim that Kuma compares and
    # that can restrict its bearer.
    if identity.is_zone_proxy_in_dataplane and identity.workload is None:
        raise AuthorizationError(
            Reason.ROLE_WORKLOAD_MISSING, "a token of a zone proxy in a Dataplane names a workload"
        )
    name = None
    if with_names or identity.is_zone_proxy_in_dataplane:
        name = None if asserted is None else _signable(asserted.name, "proxy.name")
        if name is None:
            raise AuthorizationError(Reason.PROXY_NAME_MISSING, "the token would hold for every name")
    return TokenSubject(identity=identity, principal=principal, name=name)


def _tags_claim(identity: ProxyIdentity) -> dict[str, Any]:
    """Return the claim ``Tags``: the service, and each label that the role pins.

    Kuma compares it with the labels of the Dataplane from 3.0 on, and with the tags of its inbounds and gateway before. So
    an earlier control plane rejects a token with pinned labels, unless the Dataplane has them as tags.
    """
    tags = {key: [value] for key, value in identity.labels}
    if identity.service is not None:
        tags[SERVICE_TAG] = [identity.service]
    return {"Tags": tags} if tags else {}


def _signable(text: str | None, field: str) -> str | None:
    if text is not None and not _RESOURCE_NAME.fullmatch(text):
        raise RequestError(Reason.MALFORMED_REQUEST, f"{field} is no name that Kuma would know", field=field)
    return text


def write_claims(subject: TokenSubject, life: TokenLife, audience: str) -> dict[str, Any]:
    """Return all claims of a token."""
    identity = subject.identity
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": audience,
        "jti": life.jti,
        "iat": life.issued_at - BACKDATED_SECONDS,
        "nbf": life.issued_at - BACKDATED_SECONDS,
        "exp": life.expires_at,
        "principal": subject.principal.members(),
    }
    if subject.kind is TokenKind.ZONE:
        # Kuma ignores ``Tags`` in such a token; this service reads the pinned labels from them again.
        return {**claims, "Zone": identity.zone, "Scope": [identity.type.value], **_tags_claim(identity)}
    claims |= {"Mesh": identity.mesh, "Type": identity.type.value}
    claims |= _tags_claim(identity)
    if identity.workload is not None:
        claims["Workload"] = identity.workload
    if subject.name is not None:
        claims["Name"] = subject.name
    if identity.zone is not None:
        # Only for a zone proxy in a Dataplane. Kuma ignores this claim in such tokens; this service compares it with the
        # proxy.
        claims["Zone"] = identity.zone
    return claims
