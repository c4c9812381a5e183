"""Parse a token into its key id and claims, both unverified.

A token is one JWS in compact form (RFC 7515), with only one accepted spelling.

The parser accepts only what this service writes: header and claims are unambiguous JSON, and the header has exactly three
members with one fixed algorithm (RFC 8725, section 3.1). So it can contain no ``crit``, ``jwk``, ``jku`` or ``b64``.
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
# Enough for claims of 7.5 KiB, which base64 makes longer, and for the signature of a key of 8192 bits. Claims without pinned
# labels have at most 2.5 KiB; 45 pinned labels with keys and values of 40 characters have 4 KiB.
MAX_TOKEN_CHARS: Final = 12 * 1024
# The tolerated difference between the clocks of two replicas. It is the same as for records in the shared store.
LEEWAY_SECONDS: Final = 10

_PARTS: Final = 3
# The text {" in base64url. Every token begins with it, because its header is a JSON object.
_JSON_BEGINS: Final = "eyJ"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """The parts of a token. They are untrusted until the signature is verified.

    Attributes:
        kid: the id of the key that signed the token, as the token's header says.
        claims: the payload of the token.
    """

    kid: str
    claims: Mapping[str, Any] = field(repr=False)


def is_key_id(text: str) -> bool:
    """Whether a text can be the id of a key.

    An id of digits only is rejected: Kuma gives its own keys such ids, and searches the configured keys first. So Kuma would
    check its own tokens with this service's key (pkg/core/tokens/validator.go).
    """
    return _KEY_ID.fullmatch(text) is not None and not text.isdigit()


def looks_like_token(text: str) -> bool:
    """Whether a credential can only be a signed token: three parts, the first is JSON and the last is not empty.

    No other form of credential looks like this: the native and the EKS form begin with their prefixes, and the ``jwt`` form
    has an empty third part.
    """
    return text.startswith(_JSON_BEGINS) and text.count(".") == _PARTS - 1 and not text.endswith(".")


def parse_token(text: str) -> UnverifiedToken:
    """Parse a token.

    Raises:
        CredentialError: ``token_rejected``.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise CredentialError(Reason.TOKEN_REJECTED, "the token is over 6 KiB")
    try:
        header, claims, _signature = (decode_base64url(part) for part in text.split("."))
        members = parse_object(header)
        payload = parse_object(claims)
    except ValueError as error:  # also for another number of parts, and for invalid base64 or JSON
        raise CredentialError(Reason.TOKEN_REJECTED, "it is no JWS of two JSON objects in compact form") from error
    kid = members.get("kid")
    if not isinstance(kid, str) or not is_key_id(kid) or members != {"alg": ALGORITHM, "typ": TYPE, "kid": kid}:
        raise CredentialError(Reason.TOKEN_REJECTED, "its header is not that of a token of this service")
    return UnverifiedToken(kid=kid, claims=payload)


def require_current(life: TokenLife, now: datetime) -> datetime:
    """Check the times of a token by this host's clock. Return when the token expires.

    Raises:
        CredentialError: ``credential_expired``, ``credential_not_yet_valid``; ``token_rejected`` if its lifetime is longer
            than that of any token of this service.
    """
    if not 0 < life.expires_at - life.issued_at <= MAX_VALIDITY_SECONDS:
        raise CredentialError(Reason.TOKEN_REJECTED, "its lifetime is longer than that of any token of this service")
    seconds = (now - _EPOCH).total_seconds()
    if seconds >= life.expires_at:
        raise CredentialError(Reason.CREDENTIAL_EXPIRED, "the token has expired")
    if seconds < life.issued_at - LEEWAY_SECONDS:
        raise CredentialError(Reason.CREDENTIAL_NOT_YET_VALID, "the token was issued in the future")
    return end_of(life)


def end_of(life: TokenLife) -> datetime:
    """Return when a token expires."""
    return _EPOCH + timedelta(seconds=life.expires_at)


def seconds_of(moment: datetime) -> int:
    """Return a time in whole seconds since the epoch, rounded down."""
    return (moment - _EPOCH) // timedelta(seconds=1)
