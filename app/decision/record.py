"""The record of what one decision saw, filled in at each step. The audit line and the metrics are made from it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from app.core.principal import Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.signed_request import CredentialForm

# How the cache answered a decision.
NONE: Final = "none"
HIT: Final = "hit"
MISS: Final = "miss"
COALESCED: Final = "coalesced"
SHARED: Final = "shared"
STALE: Final = "stale"
# The form of a credential that is a token of this service's.
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
        cache: ``hit``, ``miss``, ``coalesced`` (joined a call of another decision), ``shared`` (another replica had the
            answer), ``stale`` (IAM is down), or ``none`` if the decision ended before this step.
        request_id: AWS's request id; that of the cached answer on a hit.
        seconds: the time that the decision waited for the upstream.
        region: of the STS endpoint; empty for IAM.
    """

    cache: str = NONE
    request_id: str = ""
    seconds: float = 0.0
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNote:
    """What the audit line contains about an issued token; never its text.

    Attributes:
        jti: the id of the token, which Kuma uses to revoke it.
        kid: the id of the key that signed it.
        expires_at: when the token expires.
        origin: ``fresh``, ``reused`` (signed for an earlier call) or ``presented`` (as the credential).
    """

    jti: str
    kid: str
    expires_at: datetime
    origin: TokenOrigin


@dataclass(slots=True)
class DecisionRecord:
    """What one decision saw until now. Only ``deadline`` has an effect on the decision: it bounds all waiting.

    Attributes:
        request_id: the id of the API call; the answer contains it.
        deadline: when the whole decision must have ended, in seconds of the event loop's clock.
        asserted: what the proxy asserts.
        form: how the credential is written, once it is decoded.
        signed_at: the moment of signing, by the signer's clock.
        skew: signing time minus the service's time, in seconds; negative for an old credential.
        principal: the role that STS named.
        granted: the granted identity.
        token: the token that was issued, or that was presented as the credential.
        sts: the call to STS.
        iam: the call to IAM.
    """

    request_id: str
    deadline: float
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
        """Record when the credential was signed, and the difference to the service's clock."""
        self.form = form
        self.signed_at = signed_at
        self.skew = (signed_at - now).total_seconds()
