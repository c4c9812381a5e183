"""Claims and a key → a token, and back: the signature alone, by PyJWT on `cryptography`.

Not `app.core`, since it needs a library. What a token may say is `app.core.token_reading`'s to judge.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import jwt

from app.core.token_claims import TokenKind
from app.core.token_text import ALGORITHM, TYPE, parse_token
from app.errors import CredentialError
from app.reasons import Reason
from app.token_keys import SigningKey, SigningKeys

# Restated: the one algorithm, whatever a header says, and no other way for a key into a token (RFC 8725, sections 3.1, 3.2).
_JWS: Final = jwt.PyJWS(algorithms=[ALGORITHM])


def sign(claims: Mapping[str, Any], key: SigningKey) -> str:
    """Sign claims; takes a good part of a millisecond, nearly all of it without the interpreter's lock."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return _JWS.encode(payload, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TYPE})


def verify(text: str, keys: SigningKeys) -> tuple[SigningKey, Mapping[str, Any]]:
    """Verify a token's signature with the key that it names; returns the key, and the claims that it has signed.

    Whether the key may say that is checked here as far as it is the key's to tell: a data plane's key of one mesh speaks for
    no other.

    Raises:
        CredentialError: ``token_rejected``.
    """
    token = parse_token(text)
    key = keys.find(token.kid)
    if key is None:
        raise CredentialError(Reason.TOKEN_REJECTED, "its key id is not known")
    try:
        _JWS.decode(text, key.public, algorithms=[ALGORITHM])
    except jwt.PyJWTError as error:
        raise CredentialError(
            Reason.TOKEN_REJECTED, f"its signature is not its key's ({type(error).__name__})"
        ) from error
    mesh = token.claims.get("Mesh")
    if key.kind is TokenKind.DATAPLANE and not key.signs_for(mesh if isinstance(mesh, str) else None):
        raise CredentialError(Reason.TOKEN_REJECTED, "its key is another mesh's")
    return key, token.claims
