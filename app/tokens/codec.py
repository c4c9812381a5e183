"""A token's text → its key id and claims, both unverified: one JWS in compact form (RFC 7515) with one spelling.

Only what this service writes is read: header and claims are JSON without ambiguities, the header has exactly the three
members of ours, with the one algorithm (RFC 8725, section 3.1), so it can hold no ``crit``, ``jwk``, ``jku`` or ``b64``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.core.base64_text import decode_base64url
from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.strict_json import parse_object
from app.tokens.claims import MAX_VALIDITY_SECONDS, TokenLife

ALGORITHM: Final = "RS256"
TYPE: Final = "JWT"
# Claims of at most 2.5 KiB, in base64, and the signature of a key of 8192 bits.
MAX_TOKEN_CHARS: Final = 6 * 1024
# Of the clocks of two replicas, like that of their shared records.
LEEWAY_SECONDS: Final = 10

_PARTS: Final = 3
# What {" becomes in base64url.
_JSON_BEGINS: Final = "eyJ"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A token in its parts. Nothing of it is believed before its signature is verified.

    Attributes:
        kid: names the key that is said to have signed it.
        claims: its payload.
    """

    kid: str
    claims: Mapping[str, Any] = field(repr=False)


def is_key_id(text: str) -> bool:
    """Whether a text can be a key's id.

    One of digits alone cannot: Kuma numbers its own keys, and looks for configured ones first, so that it would check its
    own tokens with ours (pkg/core/tokens/validator.go).
    """
    return _KEY_ID.fullmatch(text) is not None and not text.isdigit()


def looks_like_token(text: str) -> bool:
    """Whether a credential can only be a signed token: three parts, of which the first is JSON and the last is not empty.

    No other form is so: the native and the EKS form begin with their prefixes, and the one in a JWT's clothes has no
    signature.
    """
    return text.startswith(_JSON_BEGINS) and text.count(".") == _PARTS - 1 and not text.endswith(".")


def parse_token(text: str) -> UnverifiedToken:
    """Take a token apart.

    Raises:
        CredentialError: ``token_rejected``.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise CredentialError(Reason.TOKEN_REJECTED, "the token is over 6 KiB")
    try:
        header, claims, _signature = (decode_base64url(part) for part in text.split("."))
        members = parse_object(header)
        payload = parse_object(claims)
    except ValueError as error:  # also of another number of parts, of base64 and of JSON
        raise CredentialError(Reason.TOKEN_REJECTED, "it is no JWS of two JSON objects in compact form") from error
    kid = members.get("kid")
    if not isinstance(kid, str) or not is_key_id(kid) or members != {"alg": ALGORITHM, "typ": TYPE, "kid": kid}:
        raise CredentialError(Reason.TOKEN_REJECTED, "its header is not that of a token of ours")
    return UnverifiedToken(kid=kid, claims=payload)


def require_current(life: TokenLife, now: datetime) -> datetime:
    """Hold a token to its time, by our clock; returns when it ends.

    Raises:
        CredentialError: ``credential_expired``, ``credential_not_yet_valid``; ``token_rejected`` where it lives longer than
            any token of ours.
    """
    if not 0 < life.expires_at - life.issued_at <= MAX_VALIDITY_SECONDS:
        raise CredentialError(Reason.TOKEN_REJECTED, "it lives longer than a token of ours can")
    seconds = (now - _EPOCH).total_seconds()
    if seconds >= life.expires_at:
        raise CredentialError(Reason.CREDENTIAL_EXPIRED, "the token has expired")
    if seconds < life.issued_at - LEEWAY_SECONDS:
        raise CredentialError(Reason.CREDENTIAL_NOT_YET_VALID, "the token was issued in the future")
    return end_of(life)


def end_of(life: TokenLife) -> datetime:
    """Return when a token ends."""
    return _EPOCH + timedelta(seconds=life.expires_at)


def seconds_of(moment: datetime) -> int:
    """Return a moment in whole seconds of the epoch, rounded down."""
    return (moment - _EPOCH) // timedelta(seconds=1)
