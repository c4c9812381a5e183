"""`ProxyIdentity` → the claims of a token that a stock control plane accepts, and nothing that it could take for more.

The claims are Kuma's own (kumahq/kuma, pkg/tokens/builtin/issuer/token.go and zone/token.go), read by Go's encoding/json,
which compares names without case and leaves what is absent empty. To Kuma an empty claim means "anything goes"
(pkg/xds/auth/universal/authenticator.go): a data plane token without ``Mesh`` is one of every mesh, a zone token without
``Zone`` one of every zone, and a zone token is both when a data plane's key verifies it. Hence `TokenSubject` refuses what
would leave one empty, each kind has keys of its own, and no claim of ours is one of Kuma's but for its case.

``iss``, ``aud`` and ``principal`` are ours. Kuma ignores them (pkg/core/tokens/validator.go asks its parser for no issuer
and no audience); they make the token a credential that leads back to the very same identity and principal.
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
# Kuma dates its own tokens' nbf so far back (pkg/core/tokens/issuer.go). The JWT library of its versions before 2.4 refuses
# an iat ahead of its clock as well, and none of them allows for a clock that is behind ours.
BACKDATED_SECONDS: Final = 300

# Kuma's: names of resources and zones are DNS-like. Nothing else of a proxy's own words is signed.
_RESOURCE_NAME: Final = re.compile(r"[0-9a-z._-]{1,253}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSubject:
    """What a token says of its bearer; equal subjects can share one.

    Attributes:
        identity: what the proxy may be; a zone proxy's names its zone.
        principal: the role that it runs as, without STS's request id.
        name: the one resource that it may be, if it is held to one.
    """

    identity: ProxyIdentity
    principal: Principal
    name: str | None = None
    grant: RoleGrant = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Fail closed: to Kuma an empty claim is no limit.
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
        )
        object.__setattr__(self, "grant", grant)

    @property
    def kind(self) -> TokenKind:
        """The kind of key that signs the token: every identity of a Dataplane has a mesh, and no other identity has one."""
        return TokenKind.ZONE if self.identity.mesh is None else TokenKind.DATAPLANE


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLife:
    """The registered claims that differ from token to token (RFC 7519, section 4.1), times in whole seconds of the epoch.

    Attributes:
        jti: the id by which Kuma revokes it.
        issued_at: when it was issued, by the issuer's clock.
        expires_at: from then on it is nothing any more.
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
        asserted: what the proxy asserts; it was compared with the identity.
        default_zone: the zone of zone proxies if neither the role nor the proxy names one.
        with_names: include the name that a data plane gives. The token of a zone proxy in a Dataplane always includes it.

    Raises:
        AuthorizationError: ``role_zone_missing``, ``role_workload_missing``, ``proxy_name_missing``.
        RequestError: ``malformed_request``; what would be signed is no name of Kuma's.
    """
    principal = replace(principal, request_id="")
    if identity.mesh is None:
        said = None if asserted is None else _signable(asserted.zone, "proxy.zone")
        zone = identity.zone or said or default_zone
        if not zone:
            raise AuthorizationError(Reason.ROLE_ZONE_MISSING, "neither role, proxy nor setting names a zone")
        return TokenSubject(identity=replace(identity, zone=zone), principal=principal)
    # No claim says "zone proxy only", so such a token has every claim that Kuma compares and that can limit its bearer.
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


def _signable(text: str | None, field: str) -> str | None:
    if text is not None and not _RESOURCE_NAME.fullmatch(text):
        raise RequestError(Reason.MALFORMED_REQUEST, f"{field} is no name that Kuma would know", field=field)
    return text


def write_claims(subject: TokenSubject, life: TokenLife, audience: str) -> dict[str, Any]:
    """Write the claims of a token, all of them."""
    identity, principal = subject.identity, subject.principal
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": audience,
        "jti": life.jti,
        "iat": life.issued_at - BACKDATED_SECONDS,
        "nbf": life.issued_at - BACKDATED_SECONDS,
        "exp": life.expires_at,
        "principal": {
            "partition": principal.partition,
            "account": principal.account,
            "role": principal.role,
            "roleId": principal.role_id,
            "session": principal.session,
        },
    }
    if subject.kind is TokenKind.ZONE:
        return {**claims, "Zone": identity.zone, "Scope": [identity.type.value]}
    claims |= {"Mesh": identity.mesh, "Type": identity.type.value}
    if identity.service is not None:
        claims["Tags"] = {SERVICE_TAG: [identity.service]}
    if identity.workload is not None:
        claims["Workload"] = identity.workload
    if subject.name is not None:
        claims["Name"] = subject.name
    if identity.zone is not None:
        # For a zone proxy in a Dataplane. Kuma ignores this claim in these tokens; this service compares it with the proxy.
        claims["Zone"] = identity.zone
    return claims
