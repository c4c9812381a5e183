"""The claims of a token that came back → `TokenSubject` and `TokenLife`. Their signature holds; what they say is judged."""

from collections.abc import Mapping
from typing import Any, Final

from app.core.principal import Principal
from app.core.proxy import SERVICE_TAG, ProxyIdentity, ProxyType
from app.core.token_claims import BACKDATED_SECONDS, ISSUER, TokenKind, TokenLife, TokenSubject, write_claims
from app.errors import CredentialError
from app.reasons import Reason

# Of the year 9999: what a datetime can hold.
_LAST_SECOND: Final = 253_402_300_799
_PRINCIPAL_MEMBERS: Final = ("partition", "account", "role", "roleId", "session")


def read_claims_of_token(claims: Mapping[str, Any], kind: TokenKind, audience: str) -> tuple[TokenSubject, TokenLife]:
    """Read the claims of a token whose signature a key of this kind has verified.

    What `write_claims` would not write in every member is refused, so a token of another issuer, kind or form is none. Hence
    what is read on the way need not look at every shape: one that is read as another is not written so.

    Raises:
        CredentialError: ``audience_mismatch`` or ``token_rejected``.
    """
    if claims.get("iss") == ISSUER and claims.get("aud") != audience:
        raise CredentialError(Reason.AUDIENCE_MISMATCH, "the token is for another audience")
    try:
        subject = _read_zone(claims) if kind is TokenKind.ZONE else _read_dataplane(claims)
        life = TokenLife(
            jti=_text(claims["jti"]),
            issued_at=_seconds(claims["iat"]) + BACKDATED_SECONDS,
            expires_at=_seconds(claims["exp"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise CredentialError(Reason.TOKEN_REJECTED, f"it has not the claims of a {kind} token of ours") from error
    if write_claims(subject, life, audience) != claims:
        raise CredentialError(Reason.TOKEN_REJECTED, f"a claim is not as in a {kind} token of ours")
    return subject, life


def _read_zone(claims: Mapping[str, Any]) -> TokenSubject:
    [scope] = claims["Scope"]
    # A data plane without a mesh is no subject.
    identity = ProxyIdentity(type=ProxyType(scope), mesh=None, service=None, workload=None, zone=_text(claims["Zone"]))
    return TokenSubject(identity=identity, principal=_read_principal(claims["principal"]))


def _read_dataplane(claims: Mapping[str, Any]) -> TokenSubject:
    [service] = claims["Tags"][SERVICE_TAG] if "Tags" in claims else [None]
    identity = ProxyIdentity(
        type=ProxyType.DATAPLANE,
        mesh=_text(claims["Mesh"]),
        service=_optional(service),
        workload=_optional(claims.get("Workload")),
        zone=None,
    )
    principal = _read_principal(claims["principal"])
    return TokenSubject(identity=identity, principal=principal, name=_optional(claims.get("Name")))


def _read_principal(value: Any) -> Principal:
    partition, account, role, role_id, session = (_text(value[member]) for member in _PRINCIPAL_MEMBERS)
    return Principal(partition=partition, account=account, role=role, role_id=role_id, session=session, request_id="")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _seconds(value: Any) -> int:
    # True is an int, and 1.0 equals 1.
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise ValueError("not whole seconds since the epoch")
    return value
