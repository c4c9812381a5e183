"""The record of one decision. Each step adds to it, and the service makes the audit line and the metrics from it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from app.core.principal import Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.signed_request import CredentialForm

# The results of the cache for a decision; see `UpstreamCall.cache`.
NONE: Final = "none"
HIT: Final = "hit"
MISS: Final = "miss"
COALESCED: Final = "coalesced"
SHARED: Final = "shared"
STALE: Final = "stale"
# The form of a credential that is a token issued by this service.
TOKEN_FORM: Final = "token"  # noqa: S105 - a form's name
PresentedForm = CredentialForm | Literal["token"]
# The origin of a decision's token.
TokenOrigin = Literal["fresh", "reused", "presented"]
FRESH: Final = "fresh"
REUSED: Final = "reused"
PRESENTED: Final = "presented"
TOKEN_ORIGINS: Final[tuple[TokenOrigin, ...]] = (FRESH, REUSED, PRESENTED)

CACHE_RESULTS: Final = (HIT, MISS, COALESCED, SHARED, STALE)


@dataclass(slots=True)
class UpstreamCall:
    """The use of one upstream by one decision.

    Attributes:
        cache: ``hit``, ``miss``, ``coalesced`` (the decision waited for a call of another decision), ``shared`` (another
            replica had the answer), ``stale`` (IAM did not answer, so the service used an old answer), or ``none`` (the
            decision ended before this step).
        request_id: AWS's request id. On a hit it is the request id of the cached answer.
        seconds: the time that the decision waited for the upstream.
        region: the region of the STS endpoint; empty for IAM.
    """

    cache: str = NONE
    request_id: str = ""
    seconds: float = 0.0
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNote:
    """What the audit line says about an issued token. The text of the token is not part of it.

    Attributes:
        jti: the id of the token. An operator can revoke the token in Kuma by this id.
        kid: the id of the key that signed the token.
        expires_at: when the token expires.
        origin: ``fresh`` (signed for this call), ``reused`` (signed for an earlier call) or ``presented`` (the proxy
            presented the token as its credential).
    """

    jti: str
    kid: str
    expires_at: datetime
    origin: TokenOrigin


@dataclass(slots=True)
class DecisionRecord:
    """The facts about one decision so far. They have no effect on the decision.

    Attributes:
        request_id: the id of the API call; the answer contains this id.
        asserted: what the proxy asserts.
        form: the form of the credential; None until the credential is decoded.
        signed_at: the moment of signing, by the signer's clock.
        skew: the signing time minus the service's time, in seconds. It is negative if the credential was signed in the past.
        principal: the role that STS named.
        granted: the granted identity.
        token: the token that the service issued, or the token that the proxy presented as its credential.
        sts: the call to STS.
        iam: the call to IAM.
    """

    request_id: str
    asserted: ProxyAssertion | None = None
    form: PresentedForm | None = None
    signed_at: datetime | None = None
    skew: float | None = None
    principal: Principal | None = None
    granted: ProxyIdentity | None = None
    token: TokenNote | None = None
    sts: UpstreamCall = field(default_factory=UpstreamCall)
    iam: UpstreamCall = field(default_factory=UpstreamCall)

    def saw_signature(self, form: CredentialForm, signed_at: datetime, now: datetime) -> None:
        """Record when the credential was signed, and how far that is from the service's time."""
        self.form = form
        self.signed_at = signed_at
        self.skew = (signed_at - now).total_seconds()
