"""Decide about credentials if signing keys are configured: then tokens of this service are accepted as credentials too.

A decision about a token needs no call to AWS.

The steps are those of `app.decision.authenticator`, without the steps whose result the token already proves::

    1 parse     text            -> key id and claims    app.tokens.codec
    2 verify    claims          -> what a key signed    app.tokens.signing, offline
      read      claims          -> TokenSubject         app.tokens.reading; app.tokens.codec checks the times
    5 admit     Principal       -> AdmittedPrincipal    core.principal, with the current list of accounts
    7 limit     TokenSubject    -> RoleGrant            app.tokens.subject, with the current settings
    8 match     RoleGrant       -> ProxyIdentity        core.role_grant

The token replaces steps 3, 4 and 6, the answers of STS and IAM. So a change of the role's tags takes effect when the token
expires.
"""

from collections.abc import Callable

from app.core.errors import CredentialError
from app.core.known_credential import NewCredential, PresentedCredential
from app.core.principal import admit
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.core.role_grant import match
from app.decision.authenticator import Decider, Decision, DecisionPolicy
from app.decision.record import PRESENTED, TOKEN_FORM, AudienceNote, DecisionRecord, TokenNote
from app.local.clock import Clock
from app.tokens.codec import end_of, looks_like_token, require_current
from app.tokens.issued_token import IssuedToken, TokenDecision
from app.tokens.keys import SigningKeys
from app.tokens.reading import read_claims_of_token
from app.tokens.signing import verify
from app.tokens.subject import limit, require_name


class TokenAuthenticator:
    """Decides about tokens itself, and passes all other credentials to another `Decider`."""

    def __init__(
        self, credentials: Decider, policy: DecisionPolicy, keys: Callable[[], SigningKeys], clock: Clock
    ) -> None:
        self._credentials = credentials
        self._policy = policy
        self._keys = keys
        self._clock = clock

    async def authenticate(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> Decision:
        """Decide about one credential, a token or another one, and what its proxy asserts; see `Authenticator`."""
        if not isinstance(credential, NewCredential) or not looks_like_token(credential.text):
            return await self._credentials.authenticate(credential, asserted, trail, deadline)
        return self._decide(credential.text, asserted, trail)

    def _decide(self, text: str, asserted: ProxyAssertion | None, trail: DecisionRecord) -> TokenDecision:
        trail.asserted, trail.form = asserted, TOKEN_FORM
        policy = self._policy
        key, signed = verify(text, self._keys())  # 1, 2
        try:
            subject, life = read_claims_of_token(signed, key.kind, policy.request.audience)
        except CredentialError as error:
            if error.reason is Reason.AUDIENCE_MISMATCH:
                other = signed.get("aud")
                trail.audience = AudienceNote(
                    expected=policy.request.audience, presented=other if isinstance(other, str) else None
                )
            raise
        trail.token = TokenNote(
            jti=life.jti,
            kid=key.kid,
            expires_at=end_of(life),
            origin=PRESENTED,
            identity=subject.identity,
            name=subject.name,
        )
        now = self._clock()
        trail.age = now.timestamp() - life.issued_at
        expires_at = require_current(life, now)
        principal = trail.principal = subject.principal
        admit(principal, policy.accounts.current())  # 5
        grant = limit(subject, policy)  # 7
        require_name(subject, asserted)
        granted = trail.granted = match(grant, asserted, policy)  # 8
        presented = IssuedToken(token=text, kind=key.kind, kid=key.kid, jti=life.jti, expires_at=expires_at)
        return TokenDecision(identity=granted, principal=principal, expires_at=expires_at, token=presented)
