"""The record of one decision. Each step adds to it, and the service makes the audit line and the metrics from it."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol, get_args

from app.core.endpoints import StsEndpoint
from app.core.errors import CredentialError
from app.core.key_account import account_of_key_id
from app.core.key_id_hint import hint_key_id
from app.core.principal import Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm, SignedRequest
from app.core.sigv4 import parse_amz_date

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

# The path of the API that was called: for the identity alone, for a token, or Envoy's call for a token.
ApiCall = Literal["authenticate", "token", "ext_authz"]
AUTHENTICATE_CALL: Final = "authenticate"

CACHE_RESULTS: Final = (HIT, MISS, COALESCED, SHARED, STALE)

# A host or a region that no rule has checked yet is recorded only if it can be one. No label of a host name is longer than
# 63 characters and no region longer than 32, so that neither can be a signature, which has 64 (I22).
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*+\.?(?::[0-9]{1,5})?", re.ASCII)
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,32}", re.ASCII)


class Signed(Protocol):
    """What is recorded of a signature that the local rules accept, whether it is new or cached."""

    @property
    def form(self) -> CredentialForm:
        """Return the form of the credential."""

    @property
    def signed_at(self) -> datetime:
        """Return the moment of signing, by the signer's clock."""

    @property
    def access_key_id(self) -> str:
        """Return the key id in the credential."""

    @property
    def key_account(self) -> str | None:
        """Return the account that the key id names, or None."""

    @property
    def endpoint(self) -> StsEndpoint:
        """Return the STS endpoint that the credential is signed for."""


# The possible results of the report-only policy.
CandidateOutcome = Literal["allowed", "denied", "unknown", "failed"]
CANDIDATE_OUTCOMES: Final[tuple[CandidateOutcome, ...]] = get_args(CandidateOutcome)


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
        identity: the identity that a presented token names; None for another origin.
        name: the only name of a proxy that may use the presented token; None if every name may.
    """

    jti: str
    kid: str
    expires_at: datetime
    origin: TokenOrigin
    identity: ProxyIdentity | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class CandidateNote:
    """What the report-only policy would have decided (`app.policy.report_only`).

    Attributes:
        outcome: ``allowed``, ``denied``, ``unknown`` (facts are missing), or ``failed`` (a bug in the evaluation).
        reason: why the policy would deny the proxy; None for another outcome.
        missing: what an ``unknown`` outcome would need; None for another outcome.
    """

    outcome: CandidateOutcome
    reason: Reason | None = None
    missing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceNote:
    """What the audit line says about the audience of a credential that is not for this service, or may not be.

    Attributes:
        expected: the service's own audience.
        presented: the audience in the credential, where the service can read it; untrusted.
        hint: the audience that the caller's header names; untrusted.
    """

    expected: str
    presented: str | None = None
    hint: str | None = None


@dataclass(slots=True)
class DecisionRecord:
    """The facts about one decision so far. They have no effect on the decision.

    Attributes:
        request_id: the id of the API call; the answer contains this id.
        client: the address of the TCP peer; None for a Unix socket.
        call: the path of the API that was called.
        asserted: what the proxy asserts.
        form: the form of the credential; None until the credential is decoded.
        access_key_id: the key id in the credential. It is the client's text; only if STS accepted the credential, the key
            exists.
        key_account: the account that the key id names, or None. Anybody can invent a key id for any account.
        signed_for: the host and the region that the credential is signed for, as the members of the audit line.
        signed_at: the moment of signing, by the signer's clock.
        skew: the signing time minus the service's time, in seconds. It is negative if the credential was signed in the past.
        age: the service's time minus the signing time, or minus the issue of a token, in seconds.
        audience: the audiences on both sides, if they differ or if STS rejected the credential and the caller sent a hint.
        principal: the role that STS named.
        role: the role as IAM returned it; None until it is read.
        granted: the granted identity.
        token: the token that the service issued, or the token that the proxy presented as its credential.
        candidate: what the report-only policy would have decided; None without one.
        sts: the call to STS.
        iam: the call to IAM.
    """

    request_id: str
    client: str | None = None
    call: ApiCall = AUTHENTICATE_CALL
    asserted: ProxyAssertion | None = None
    form: PresentedForm | None = None
    access_key_id: str | None = None
    key_account: str | None = None
    signed_for: Mapping[str, str | None] | None = None
    signed_at: datetime | None = None
    skew: float | None = None
    age: float | None = None
    audience: AudienceNote | None = None
    principal: Principal | None = None
    role: RoleRecord | None = None
    granted: ProxyIdentity | None = None
    token: TokenNote | None = None
    candidate: CandidateNote | None = None
    sts: UpstreamCall = field(default_factory=UpstreamCall)
    iam: UpstreamCall = field(default_factory=UpstreamCall)

    def saw_text(self, text: str) -> None:
        """Record the key id that a text seems to contain. This is for a text that was not decoded."""
        key_id = hint_key_id(text)
        if key_id is not None:
            self.access_key_id, self.key_account = key_id, account_of_key_id(key_id)

    def saw_request(self, request: SignedRequest, now: datetime) -> None:
        """Record whose key a decoded credential names, where it is signed for, and when. No rule has checked it yet."""
        scope, host = request.signature.scope, request.url.authority
        self.form = request.form
        self.access_key_id, self.key_account = scope.access_key_id, account_of_key_id(scope.access_key_id)
        self.signed_for = {
            "host": host if _HOST.fullmatch(host) else None,
            "region": scope.region if _REGION.fullmatch(scope.region) else None,
        }
        with contextlib.suppress(CredentialError):
            self._saw_time(parse_amz_date(request.amz_date), now)

    def saw_signature(self, signed: Signed, now: datetime) -> None:
        """Record whose key signed a credential, for which endpoint, when, and how far that is from the service's time."""
        self.form = signed.form
        self.access_key_id, self.key_account = signed.access_key_id, signed.key_account
        self.signed_for = signed.endpoint.signed_for
        self._saw_time(signed.signed_at, now)

    def _saw_time(self, signed_at: datetime, now: datetime) -> None:
        self.signed_at = signed_at
        self.age = age = (now - signed_at).total_seconds()
        self.skew = 0.0 - age  # not -0.0, if the age is 0.0
