"""Sign claims, and verify signatures, with PyJWT on `cryptography`.

This module is not in `app.core` because it needs PyJWT, which is loaded with the first token. `app.tokens.reading` checks
the claims.
"""

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.token_kind import TokenKind
from app.tokens.codec import ALGORITHM, TYPE, parse_token
from app.tokens.keys import SigningKey, SigningKeys

if TYPE_CHECKING:
    from jwt import PyJWS


def sign(claims: Mapping[str, Any], key: SigningKey) -> str:
    """Sign claims. This takes nearly a millisecond, and holds the interpreter's lock (GIL) for very little of that time."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return _jws().encode(payload, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TYPE})


def verify(text: str, keys: SigningKeys) -> tuple[SigningKey, Mapping[str, Any]]:
    """Verify a token's signature with the key that the token names. Return the key and the verified claims.

    The check includes the key's mesh: a key for the data plane tokens of one mesh signs for no other mesh.

    Raises:
        CredentialError: ``token_rejected``.
    """
    from jwt import PyJWTError  # noqa: PLC0415 - see above

    token = parse_token(text)
    key = keys.find(token.kid)
    if key is None:
        raise CredentialError(Reason.TOKEN_REJECTED, "its key id is not known")
    try:
        _jws().decode(text, key.public, algorithms=[ALGORITHM])
    except PyJWTError as error:
        raise CredentialError(
            Reason.TOKEN_REJECTED, "its signature is not its key's, or its header is not one of this service"
        ) from error
    mesh = token.claims.get("Mesh")
    if key.kind is TokenKind.DATAPLANE and not key.signs_for(mesh if isinstance(mesh, str) else None):
        raise CredentialError(Reason.TOKEN_REJECTED, "its key is another mesh's")
    return key, token.claims


@functools.cache
def _jws() -> "PyJWS":
    from jwt import PyJWS  # noqa: PLC0415 - see above

    # `parse_token` has already checked the header. This second check allows exactly one algorithm, whatever the header says
    # (RFC 8725, sections 3.1 and 3.2).
    return PyJWS(algorithms=[ALGORITHM])
