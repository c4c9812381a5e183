"""A token that this service issued for an approval, or that was presented as a credential."""

from dataclasses import dataclass, field
from datetime import datetime

from app.core.token_kind import TokenKind
from app.decision.authenticator import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A signed token.

    Attributes:
        token: the text of the token; whoever has it can act as the proxy.
        kind: the kind of the key that signed the token.
        kid: the id of that key.
        jti: the id of the token, which Kuma uses to revoke it.
        expires_at: when the token expires.
    """

    token: str = field(repr=False)
    kind: TokenKind
    kid: str
    jti: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDecision(Decision):
    """The approval of a token that was presented as a credential.

    No new token is issued for a presented token. Otherwise a proxy could renew its token for ever without AWS.
    """

    token: IssuedToken
