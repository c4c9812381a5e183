"""Read a `TokenSubject` and a `TokenLife` from the claims of a presented token.

The signature was verified before. The claims were not checked yet.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from app.core.arn import Arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthorizationError, CredentialError
from app.core.principal import Principal, read_principal
from app.core.proxy import SERVICE_TAG, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.role_tags import is_label_value, is_pinnable_label
from app.core.token_kind import TokenKind
from app.tokens.claims import BACKDATED_SECONDS, ISSUER, TokenLife, TokenSubject, write_claims

# The end of the year 9999, the last one that a datetime can hold.
_LAST_SECOND: Final = 253_402_300_799
_PRINCIPAL_MEMBERS: Final = ("partition", "account", "role", "roleId", "session")

# The grammars of the claims that this service writes. The claims are signed, but another signer may use the same key.
# Without this check, any text could reach the audit line, the answer and the comparison with what the proxy asserts.
# str(uuid.uuid4()): RFC 9562, section 5.4.
_TOKEN_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_PARTITION: Final = re.compile(r"aws(?:-[a-z]{1,16}){0,4}", re.ASCII)
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
# The same grammars as in `app.core.role_tags` and `app.tokens.claims`; a test compares them.
_NAME: Final = re.compile(r"[0-9a-z._-]{1,253}", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
_WORKLOAD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)


def read_claims_of_token(claims: Mapping[str, Any], kind: TokenKind, audience: str) -> tuple[TokenSubject, TokenLife]:
    """Read the claims of a token whose signature a key of this kind has verified.

    At the end, `write_claims` writes claims from the values that were read, and both claims must be equal. So a token of
    another issuer, kind or form is rejected, and the functions for single claims need not check everything.

    Raises:
        CredentialError: ``audience_mismatch`` or ``token_rejected``.
    """
    if claims.get("iss") == ISSUER and claims.get("aud") != audience:
        raise CredentialError(Reason.AUDIENCE_MISMATCH, "the token is for another audience")
    try:
        subject = _read_zone(claims) if kind is TokenKind.ZONE else _read_dataplane(claims)
        life = TokenLife(
            jti=_text(claims["jti"], _TOKEN_ID),
            issued_at=_seconds(claims["iat"]) + BACKDATED_SECONDS,
            expires_at=_seconds(claims["exp"]),
        )
        _seconds(claims["nbf"])  # checks the type, since the comparison below would accept 1.0 as 1
    except (AttributeError, LookupError, TypeError, ValueError, AuthorizationError) as error:
        raise CredentialError(
            Reason.TOKEN_REJECTED, f"its claims are not those of a {kind} token of this service"
        ) from error
    if write_claims(subject, life, audience) != claims:
        raise CredentialError(Reason.TOKEN_REJECTED, f"a claim is not as in a {kind} token of this service")
    return subject, life


def _read_zone(claims: Mapping[str, Any]) -> TokenSubject:
    [scope] = claims["Scope"]
    # If the scope is that of a data plane, `TokenSubject` raises an error, because a data plane needs a mesh.
    identity = ProxyIdentity(
        type=ProxyType(scope),
        mesh=None,
        service=None,
        workload=None,
        zone=_text(claims["Zone"], _NAME),
        labels=_read_labels(claims.get("Tags", {})),
    )
    return TokenSubject(identity=identity, principal=_read_principal(claims["principal"]))


def _read_dataplane(claims: Mapping[str, Any]) -> TokenSubject:
    tags = claims.get("Tags", {})
    [service] = tags.get(SERVICE_TAG, [None])
    identity = ProxyIdentity(
        type=ProxyType(claims["Type"]),
        mesh=_text(claims["Mesh"], _NAME),
        service=_optional(service, _SERVICE),
        workload=_optional(claims.get("Workload"), _WORKLOAD),
        zone=_optional(claims.get("Zone"), _NAME),
        labels=_read_labels({key: values for key, values in tags.items() if key != SERVICE_TAG}),
    )
    principal = _read_principal(claims["principal"])
    return TokenSubject(identity=identity, principal=principal, name=_optional(claims.get("Name"), _NAME))


def _read_principal(value: Any) -> Principal:
    """Read the principal. Its grammar is that of step 4 of a decision, which reads STS's answer."""
    partition, account, role, role_id, session = (value[member] for member in _PRINCIPAL_MEMBERS)
    arn = Arn(
        partition=_text(partition, _PARTITION),
        service="sts",
        region="",
        account=_text(account, _ACCOUNT),
        resource=f"assumed-role/{role}/{session}",
    )
    return read_principal(CallerIdentity(arn=arn, user_id=f"{role_id}:{session}", request_id=""))


def _read_labels(tags: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Read the labels that the role pinned when the token was issued."""
    labels = {key: value for key, [value] in tags.items()}
    if not all(is_pinnable_label(key) and is_label_value(value) for key, value in labels.items()):
        raise ValueError("not a text of this claim's grammar")
    return tuple(sorted(labels.items()))


def _text(value: Any, grammar: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not grammar.fullmatch(value):
        raise ValueError("not a text of this claim's grammar")
    return value


def _optional(value: Any, grammar: re.Pattern[str]) -> str | None:
    return None if value is None else _text(value, grammar)


def _seconds(value: Any) -> int:
    # True is an int, and 1.0 equals 1, so the type is compared exactly.
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise ValueError("not whole seconds since the epoch")
    return value
