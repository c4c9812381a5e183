"""Tokens from signing keys. No admin token is needed then, and the control plane only has the public keys.

The tokens have the claims that Kuma compares, and neither ``iss`` nor ``aud``. So the service never accepts one of them as
a credential (`app.tokens.reading`): a token of the controller proves no role.
"""

import asyncio
import uuid
from datetime import timedelta
from typing import Any, Final

from app.controller.held_token import TokenFacts
from app.controller.metrics import ControllerMetrics
from app.controller.reasons import Call, CallError, Failure, PutReason
from app.controller.tasks import TaskIdentity
from app.core.errors import CredentialError
from app.core.proxy import ProxyType
from app.core.token_kind import TokenKind
from app.local.clock import Clock
from app.tokens.claims import BACKDATED_SECONDS
from app.tokens.codec import seconds_of
from app.tokens.key_files import SigningKeySource
from app.tokens.signing import sign, verify

# A control plane before 2.4 rejects an iat ahead of its clock; see `app.tokens.claims`.
_BACKDATED: Final = BACKDATED_SECONDS


class OwnKeys:
    """An `Issuer` that signs itself. The file of keys is read again before each use, so keys can be replaced."""

    def __init__(
        self, source: SigningKeySource, valid_for: timedelta, metrics: ControllerMetrics, clock: Clock
    ) -> None:
        self._source = source
        self._valid_for = valid_for
        self._metrics = metrics
        self._clock = clock

    async def issue(self, identity: TaskIdentity) -> str:
        """See `Issuer`."""
        key = self._source.keys.find_signer(TokenKind.DATAPLANE, identity.mesh)
        if key is None:
            self._metrics.call_failed(Call.ISSUE_TOKEN, Failure.REJECTED)
            raise CallError(Call.ISSUE_TOKEN, Failure.REJECTED, f"no key signs for mesh {identity.mesh}")
        token = await asyncio.to_thread(sign, self._claims(identity), key)
        self._metrics.call_made(Call.ISSUE_TOKEN)
        return token

    def check(self, token: str, facts: TokenFacts, identity: TaskIdentity) -> PutReason | None:
        """See `Issuer`."""
        key = self._source.keys.find(facts.kid)
        if key is None or key.kind is not TokenKind.DATAPLANE or not key.signs_for(identity.mesh):
            return PutReason.KEY_UNKNOWN
        try:
            verify(token, self._source.keys)
        except CredentialError:
            return PutReason.TOKEN_UNREADABLE
        return None

    def _claims(self, identity: TaskIdentity) -> dict[str, Any]:
        now = seconds_of(self._clock())
        claims: dict[str, Any] = {
            "jti": str(uuid.uuid4()),
            "iat": now - _BACKDATED,
            "nbf": now - _BACKDATED,
            "exp": now + int(self._valid_for.total_seconds()),
            "Mesh": identity.mesh,
            "Type": ProxyType.DATAPLANE.value,
        }
        if identity.tags:
            claims["Tags"] = identity.tags
        return claims if identity.workload is None else {**claims, "Workload": identity.workload}
