"""What one decision saw, filled in as it goes. The audit line and the metrics are made of it, in one place each."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

from app.core.principal import Principal
from app.core.proxy import ProxyIdentity, ProxyRequest
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

# What this process knows about a role before it asks IAM: nothing, an old record, or that the role was not found a while
# ago.
RoleHistory = Literal["new", "known", "missing"]
NEW: Final = "new"
KNOWN: Final = "known"
MISSING: Final = "missing"

CACHE_RESULTS: Final = (HIT, MISS, COALESCED, SHARED, STALE)
# How long one decision waits for other replicas and shared budgets, over all of its steps (docs/decisions/0012).
MAX_SHARED_WAIT_SECONDS: Final = 2.0


@dataclass(slots=True)
class SharedWait:
    """The seconds that one decision may still wait for the claims of other replicas and for shared budgets.

    Whoever can write to the store controls how long such a wait takes, so one bound applies to all of them together.
    """

    left: float = MAX_SHARED_WAIT_SECONDS


class Elsewhere(Protocol):
    """Checks, while a call waits, whether it is still needed: another replica may have the answer already."""

    async def before_queue(self) -> None:
        """Claim the question, or wait for the replica that has claimed it. Runs before the call takes any place."""

    async def before_turn(self) -> None:
        """Raise what ends the waiting, before a turn is spent."""


@dataclass(slots=True)
class UpstreamCall:
    """What one upstream cost this decision.

    Attributes:
        cache: ``hit``, ``miss``, ``coalesced`` (another decision had just asked the same), ``shared`` (a replica knew),
            ``stale`` (IAM is down), or ``none`` when the decision did not come this far.
        request_id: AWS's request id; that of the cached answer on a hit.
        seconds: time spent waiting for it.
        region: of the STS endpoint; empty for IAM.
        elsewhere: checks, while the call waits, whether another replica has the answer.
        share: the places for waiting decisions of the same account; each decision that waits for this answer takes one.
        role: what is known about the role that the call is about: ``new``, ``known`` or ``missing``.
    """

    cache: str = NONE
    request_id: str = ""
    seconds: float = 0.0
    region: str = ""
    elsewhere: Elsewhere | None = None
    share: AbstractContextManager[object] | None = None
    role: RoleHistory = NEW


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
class Trail:
    """One decision on its way.

    Attributes:
        request_id: of the API call; echoed to the caller.
        deadline: when the whole decision must have ended, in seconds of the event loop's clock.
        claimed: what the proxy says it is.
        form: how the credential is written, once it is decoded.
        signed_at: the moment of signing, by the signer's clock.
        skew: seconds by which the signer's clock is ahead, as far as the age shows it; negative for an old credential.
        principal: whom STS named.
        granted: the identity that was granted.
        token: what was issued for it, or presented as the credential.
        sts: the call to STS.
        iam: the call to IAM.
        shared_wait: what is left of the time to wait for other replicas.
    """

    request_id: str
    deadline: float
    claimed: ProxyRequest | None = None
    form: PresentedForm | None = None
    signed_at: datetime | None = None
    skew: float | None = None
    principal: Principal | None = None
    granted: ProxyIdentity | None = None
    token: TokenNote | None = None
    sts: UpstreamCall = field(default_factory=UpstreamCall)
    iam: UpstreamCall = field(default_factory=UpstreamCall)
    shared_wait: SharedWait = field(default_factory=SharedWait)

    def saw_signature(self, form: CredentialForm, signed_at: datetime, now: datetime) -> None:
        """Note when the credential was signed, and what that tells of the signer's clock."""
        self.form = form
        self.signed_at = signed_at
        self.skew = (signed_at - now).total_seconds()
