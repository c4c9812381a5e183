"""A token that this service issued for an approval, or that came back to it as a credential."""

from dataclasses import dataclass, field
from datetime import datetime

from app.core.token_kind import TokenKind
from app.decision.authenticator import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A signed token.

    Attributes:
        token: its text; whoever has it is the proxy.
        kind: of the key that signed it.
        kid: the id of that key.
        jti: its own id, by which Kuma revokes it.
        expires_at: when it ends.
    """

    token: str = field(repr=False)
    kind: TokenKind
    kid: str
    jti: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDecision(Decision):
    """An approval of a token that was presented as a credential; no other is issued for it, or it would never end."""

    token: IssuedToken
