"""What one decision saw, filled in as it goes. The audit line and the metrics are made of it, in one place each."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from app.core.principal import Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.signed_request import CredentialForm

# What a cache did for a decision.
NONE: Final = "none"
HIT: Final = "hit"
MISS: Final = "miss"
COALESCED: Final = "coalesced"
SHARED: Final = "shared"
STALE: Final = "stale"
# The form of a credential that is a token of this service's.
TOKEN_FORM: Final = "token"  # noqa: S105 - a form's name
PresentedForm = CredentialForm | Literal["token"]
# Where the token of a decision comes from.
TokenOrigin = Literal["fresh", "reused", "presented"]
FRESH: Final = "fresh"
REUSED: Final = "reused"
PRESENTED: Final = "presented"
TOKEN_ORIGINS: Final[tuple[TokenOrigin, ...]] = (FRESH, REUSED, PRESENTED)

CACHE_RESULTS: Final = (HIT, MISS, COALESCED, SHARED, STALE)


@dataclass(slots=True)
class UpstreamCall:
    """What one upstream cost this decision.

    Attributes:
        cache: ``hit``, ``miss``, ``coalesced`` (another decision had just asked the same), ``shared`` (a replica knew),
            ``stale`` (IAM is down), or ``none`` when the decision did not come this far.
        request_id: AWS's request id; that of the cached answer on a hit.
        seconds: time spent waiting for it.
        region: of the STS endpoint; empty for IAM.
    """

    cache: str = NONE
    request_id: str = ""
    seconds: float = 0.0
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNote:
    """What is written down of an issued token; never its text.

    Attributes:
        jti: its id, by which Kuma revokes it.
        kid: the id of the key that signed it.
        expires_at: when it ends.
        origin: ``fresh``, ``reused`` (it was signed for an earlier call) or ``presented`` (as the credential).
    """

    jti: str
    kid: str
    expires_at: datetime
    origin: TokenOrigin


@dataclass(slots=True)
class DecisionRecord:
    """What one decision saw so far. Nothing is decided by what stands in it, except that ``deadline`` bounds all waiting.

    Attributes:
        request_id: of the API call; echoed to the caller.
        deadline: when the whole decision must have ended, in seconds of the event loop's clock.
        asserted: what the proxy says it is.
        form: how the credential is written, once it is decoded.
        signed_at: the moment of signing, by the signer's clock.
        skew: seconds by which the signer's clock is ahead, as far as the age shows it; negative for an old credential.
        principal: whom STS named.
        granted: the identity that was granted.
        token: what was issued for it, or presented as the credential.
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
        """Note when the credential was signed, and what that tells of the signer's clock."""
        self.form = form
        self.signed_at = signed_at
        self.skew = (signed_at - now).total_seconds()
