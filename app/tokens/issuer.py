"""The port behind ``POST /v1/token``: an approval in, a token for the control plane out."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from app.core.proxy import ProxyRequest
from app.core.token_kind import TokenKind
from app.decision.authenticator import Decision
from app.decision.trail import Trail


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


class TokenIssuer(Protocol):
    """Issues tokens for approvals."""

    async def issue(self, decision: Decision, claimed: ProxyRequest | None, trail: Trail) -> IssuedToken:
        """Return a token for the approved identity, before ``trail.deadline``.

        Args:
            decision: the approval.
            claimed: what the proxy says it is, which was compared with it.
            trail: filled in with the token's id, key and end.

        Raises:
            AuthorizationError: ``role_zone_missing``, ``role_workload_missing``, ``proxy_name_missing``.
            RequestError: ``malformed_request``.
            UpstreamError: ``signing_key_missing``, ``overloaded``.
        """
