"""Decide about a credential and about what its proxy asserts. Only this module uses AWS in a decision.

A decision has these steps. Code, docs and audit lines use the same numbers::

    1 decode    text              -> SignedRequest       core.credential
    2 validate  SignedRequest     -> ForwardableRequest  core.request_policy; no network call before this line
    3 identify  ForwardableRequest -> CallerIdentity     STS, or its cache
    4 read      CallerIdentity    -> Principal           core.principal
    5 admit     Principal         -> AdmittedPrincipal   core.principal; no IAM call before this line
    6 fetch     AdmittedPrincipal -> RoleRecord          IAM, or its cache
    7 read      RoleRecord        -> RoleGrant           core.role_tags
    8 match     RoleGrant         -> ProxyIdentity       core.role_grant

The time check of step 2 and the steps 5, 7 and 8 run for every decision, cache hits included (I7, I12, I15). The results of
step 1, the rest of step 2 and step 4 depend only on the text, the settings and STS's answer. So these results are cached
with STS's answer, if STS accepted the credential.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthError, CredentialError
from app.core.forwarding import ForwardableRequest
from app.core.known_credential import (
    KnownCredential,
    NewCredential,
    PresentedCredential,
    RememberedCredential,
)
from app.core.principal import AdmittedPrincipal, Principal
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.reasons import Reason
from app.core.request_policy import RequestPolicy, require_fresh
from app.core.role_grant import GrantPolicy
from app.core.role_tags import RoleRecord
from app.decision.record import HIT, AudienceNote, DecisionRecord, UpstreamCall
from app.decision.steps import STEPS, Steps
from app.local.clock import Clock

# Checks one credential against the local rules, and raises `CredentialError` if the credential breaks a rule.
Judge = Callable[[], ForwardableRequest]


class AccountList(Protocol):
    """The authorized accounts, which may change while the service runs."""

    def current(self) -> AbstractSet[str]:
        """Return the accounts that are authorized at this moment; never empty.

        Raises:
            UpstreamError: ``accounts_unavailable``.
        """


class KnownTexts(Protocol):
    """The cache of STS's answers about credentials, by their exact text."""

    def key_of(self, credential: str) -> bytes:
        """Return the cache key of a text. No other text has the same key, and the key reveals nothing about the text."""

    def recall(self, key: bytes) -> RememberedCredential | None:
        """Return the cached credential with this key, or None."""

    def approve(self, known: KnownCredential) -> None:
        """Move a cached credential to the approved credentials. An unapproved credential never evicts an approved one."""


class IdentitySource(Protocol):
    """Asks STS who signed a request."""

    async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:
        """Find out who signed the request, before the deadline; fill in ``seen``.

        Raises:
            AuthenticationError: STS rejects the request.
            UpstreamError: there is no usable answer from STS.
        """


class Introductions(Protocol):
    """Finds out who signed a credential that is not cached."""

    async def introduce(
        self, credential: NewCredential, judge: Judge, trail: DecisionRecord, deadline: float
    ) -> KnownCredential:
        """Find out who signed a credential, with one call to STS for all decisions that present it at the same time (I19).

        Args:
            credential: the text and its cache key.
            judge: checks the credential against the local rules. ``introduce`` calls it only if no call for the same text is
                pending and the queue may have a place for the call.
            trail: the record of the decision; ``introduce`` fills in ``trail.sts``.
            deadline: the deadline of the decision, in seconds of the event loop's clock.

        Raises:
            CredentialError: the error that ``judge`` raises.
            AuthenticationError: STS rejects the credential.
            AuthorizationError: ``principal_not_a_role``.
            UpstreamError: there is no usable answer from STS before the deadline.
        """


class RoleSource(Protocol):
    """Reads roles from IAM, or from a cache of IAM's answers."""

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
        """Read the caller's role in the caller's account, before the deadline; fill in ``seen``.

        Raises:
            AuthorizationError: only ``role_not_found``.
            UpstreamError: there is no usable answer from IAM.
        """


class Decider(Protocol):
    """Decides about credentials."""

    async def authenticate(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> "Decision":
        """Decide about one credential and what its proxy asserts; see `Authenticator.authenticate`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy(GrantPolicy):
    """All settings on which a decision depends: the settings of `GrantPolicy`, and two more.

    Attributes:
        request: the settings of the local rules.
        accounts: the ids of the authorized accounts.
    """

    request: RequestPolicy
    accounts: AccountList

    def __post_init__(self) -> None:
        # Fail closed: an empty list is a bug of this service. It must mean neither "everybody" nor "nobody".
        if not self.accounts.current() or not self.enabled_types:
            raise ValueError("a decision policy needs at least one account and one proxy type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An approval.

    Attributes:
        identity: the identity that the proxy may have.
        principal: the role of the proxy.
        expires_at: the moment when the signature expires. The approval ends at the same moment.
    """

    identity: ProxyIdentity
    principal: Principal
    expires_at: datetime


class Authenticator:
    """Makes each decision independently of all others. It has no state of its own."""

    def __init__(
        self,
        policy: DecisionPolicy,
        known: KnownTexts,
        introductions: Introductions,
        roles: RoleSource,
        clock: Clock,
        steps: Steps = STEPS,
    ) -> None:
        self._policy = policy
        self._known = known
        self._introductions = introductions
        self._roles = roles
        self._clock = clock
        self._steps = steps

    async def authenticate(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, trail: DecisionRecord, deadline: float
    ) -> Decision:
        """Decide about one credential and what its proxy asserts.

        Args:
            credential: the text that the proxy presented, or what is cached of STS's answer about exactly that text.
            asserted: what the proxy asserts. None means that the caller wants the identity without a comparison.
            trail: the record of the decision. This method fills it in, even if it raises an error.
            deadline: when the decision must have ended, in seconds of the event loop's clock. It bounds all waiting.

        Raises:
            AuthError: the credential is not approved. The error is of any subclass except `RequestError`.
        """
        steps = self._steps
        trail.asserted = asserted
        if isinstance(credential, NewCredential):
            known = await self._introduce(credential, trail, deadline)  # 1 to 4
        elif isinstance(credential, KnownCredential):
            # A cache hit: STS is not called. `Introductions` records all other cases.
            known = credential
            trail.sts.cache, trail.sts.request_id = HIT, known.principal.request_id
        else:
            trail.sts.cache = HIT
            trail.saw_signature(credential, self._clock())
            raise credential.error()
        now = self._clock()
        trail.saw_signature(known, now)
        expires_at = steps.require_age(known.signed_at, known.lifetime, now)  # 2
        principal = trail.principal = known.principal
        admitted = steps.admit(principal, self._policy.accounts.current())  # 5
        role = trail.role = await self._roles.fetch_role(admitted, trail.iam, deadline)  # 6
        grant = steps.read_grant(admitted, role, self._policy, asserted)  # 7
        granted = trail.granted = steps.match(grant, asserted, self._policy)  # 8
        if not known.is_approved:
            self._known.approve(known)
        return Decision(identity=granted, principal=principal, expires_at=expires_at)

    async def _introduce(self, credential: NewCredential, trail: DecisionRecord, deadline: float) -> KnownCredential:
        text = credential.text
        try:
            return await self._introductions.introduce(credential, lambda: self._judge(text, trail), trail, deadline)
        except AuthError:
            if trail.access_key_id is None:
                trail.saw_text(text)
            raise

    def _judge(self, text: str, trail: DecisionRecord) -> ForwardableRequest:
        signed = self._steps.decode(text, self._policy.request.forms)  # 1
        now = self._clock()
        trail.saw_request(signed, now)
        try:
            validated = self._steps.validate(signed, self._policy.request)  # 2
        except CredentialError as error:
            if error.reason is Reason.AUDIENCE_MISMATCH:
                presented = signed.headers.get(signed.form.audience_header)
                trail.audience = AudienceNote(expected=self._policy.request.audience, presented=presented)
            raise
        return require_fresh(validated, now)
