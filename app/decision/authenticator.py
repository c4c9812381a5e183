"""Decide about a credential and what its proxy asserts. This is the only place where decisions use AWS.

The steps, with the numbers that code, docs and audit lines share::

    1 decode    text              -> SignedRequest       core.credential
    2 validate  SignedRequest     -> ForwardableRequest  core.request_policy; no network call before this line
    3 identify  ForwardableRequest -> CallerIdentity     STS, or its cache
    4 read      CallerIdentity    -> Principal           core.principal
    5 admit     Principal         -> AdmittedPrincipal   core.principal; no IAM call before this line
    6 fetch     AdmittedPrincipal -> RoleRecord          IAM, or its cache
    7 read      RoleRecord        -> RoleGrant           core.role_tags
    8 match     RoleGrant         -> ProxyIdentity       core.role_grant

The time check of step 2 and the steps 5, 7 and 8 run on every decision, also on cache hits (I7, I12, I15). Step 1, the rest
of step 2 and step 4 depend only on the text, the settings and STS's answer. Their results are cached for a text that STS has
vouched for.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.core.caller_identity import CallerIdentity
from app.core.credential import decode_credential
from app.core.forwarding import ForwardableRequest
from app.core.known_credential import KnownCredential, NewCredential, PresentedCredential
from app.core.principal import AdmittedPrincipal, Principal, admit
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.request_policy import RequestPolicy, require_age, require_fresh, validate
from app.core.role_grant import GrantPolicy, match
from app.core.role_tags import RoleRecord, read_grant
from app.decision.record import HIT, DecisionRecord
from app.local.clock import Clock

# Checks one credential against the local rules, and raises `CredentialError` if it breaks one.
Judge = Callable[[], ForwardableRequest]


class AccountList(Protocol):
    """The authorized accounts, which may change while the service runs."""

    def current(self) -> AbstractSet[str]:
        """Return the list as it is now; never empty.

        Raises:
            UpstreamError: ``accounts_unavailable``.
        """


class KnownTexts(Protocol):
    """The cache of credentials that STS has vouched for, by their exact text."""

    def key_of(self, credential: str) -> bytes:
        """Return the key of a text. No other text has the same key, and the key reveals nothing about the text."""

    def recall(self, key: bytes) -> KnownCredential | None:
        """Return the cached credential with this key, or None."""

    def remember(self, known: KnownCredential) -> None:
        """Cache a credential until its signature expires. The new cache entry evicts no approved credential."""

    def approve(self, known: KnownCredential) -> None:
        """Move a cached credential to the approved ones, which no other credential evicts."""


class IdentitySource(Protocol):
    """STS."""

    async def identify(self, request: ForwardableRequest, trail: DecisionRecord) -> CallerIdentity:
        """Find out who signed the request, before ``trail.deadline``; fill in ``trail.sts``.

        Raises:
            AuthenticationError: STS does not vouch for it.
            UpstreamError: STS could not be asked.
        """


class Introductions(Protocol):
    """Finds out who signed a credential that is not cached."""

    async def introduce(self, key: bytes, credential: str, judge: Judge, trail: DecisionRecord) -> KnownCredential:
        """Find out who signed a credential, with one call to STS for all decisions that present it at the same time (I19).

        Args:
            key: the key of the credential's text.
            credential: the text.
            judge: checks the credential against the local rules. It is called only if no call for the same text is pending,
                and the queue may have a place for the call.
            trail: the record of the decision; ``trail.sts`` is filled in.

        Raises:
            CredentialError: as ``judge`` does.
            AuthenticationError: STS does not vouch for it.
            AuthorizationError: ``principal_not_a_role``.
            UpstreamError: STS could not be asked before ``trail.deadline``.
        """


class RoleSource(Protocol):
    """IAM, or a cache in front of it."""

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: DecisionRecord) -> RoleRecord:
        """Read the caller's role in the caller's account, before ``trail.deadline``; fill in ``trail.iam``.

        Raises:
            AuthorizationError: only ``role_not_found``.
            UpstreamError: IAM could not be asked.
        """


class Decider(Protocol):
    """Decides about credentials."""

    async def authenticate(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, trail: DecisionRecord
    ) -> "Decision":
        """Decide about one credential and what its proxy asserts; see `Authenticator.authenticate`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy(GrantPolicy):
    """All settings on which a decision depends: those of its grant, and these.

    Attributes:
        request: the local rules' settings.
        accounts: the listed account ids.
    """

    request: RequestPolicy
    accounts: AccountList

    def __post_init__(self) -> None:
        # Fail closed: an empty list is a bug of this service, and must mean neither "everybody" nor "nobody".
        if not self.accounts.current() or not self.enabled_types:
            raise ValueError("a decision policy needs at least one account and one proxy type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An approval.

    Attributes:
        identity: the identity that the proxy may have.
        principal: the role of the proxy.
        expires_at: when this approval ends, which is when the signature expires.
    """

    identity: ProxyIdentity
    principal: Principal
    expires_at: datetime


class Authenticator:
    """Makes each decision independently; it has no state except its ports."""

    def __init__(
        self,
        policy: DecisionPolicy,
        known: KnownTexts,
        introductions: Introductions,
        roles: RoleSource,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._known = known
        self._introductions = introductions
        self._roles = roles
        self._clock = clock

    async def authenticate(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, trail: DecisionRecord
    ) -> Decision:
        """Decide about one credential and what its proxy asserts.

        Args:
            credential: the text that the proxy presented, or the cached credential with exactly that text.
            asserted: what the proxy asserts; None asks for the identity without a comparison.
            trail: filled in with what the decision saw, also if this method raises.

        Raises:
            AuthError: any subclass except `RequestError`; the reason says why.
        """
        trail.asserted = asserted
        if isinstance(credential, NewCredential):
            known = await self._introduce(credential, trail)
        else:
            known = _note_hit(credential, trail)
        expires_at = self._require_age(known, trail)  # 2
        principal = trail.principal = known.principal
        admitted = admit(principal, self._policy.accounts.current())  # 5
        role = await self._roles.fetch_role(admitted, trail)  # 6
        grant = read_grant(admitted, role, self._policy, asserted)  # 7
        granted = trail.granted = match(grant, asserted, self._policy)  # 8
        if not known.is_approved:
            self._known.approve(known)
        return Decision(identity=granted, principal=principal, expires_at=expires_at)

    async def _introduce(self, credential: NewCredential, trail: DecisionRecord) -> KnownCredential:
        text = credential.text
        return await self._introductions.introduce(
            credential.key, text, lambda: self._judge(text, trail), trail
        )  # 3, 4

    def _judge(self, text: str, trail: DecisionRecord) -> ForwardableRequest:
        signed = decode_credential(text, self._policy.request.forms)  # 1
        trail.form = signed.form
        validated = validate(signed, self._policy.request)  # 2
        now = self._clock()
        trail.saw_signature(validated.form, validated.signed_at, now)
        return require_fresh(validated, now)

    def _require_age(self, known: KnownCredential, trail: DecisionRecord) -> datetime:
        now = self._clock()
        trail.saw_signature(known.form, known.signed_at, now)
        return require_age(known.signed_at, known.lifetime, now)


def _note_hit(known: KnownCredential, trail: DecisionRecord) -> KnownCredential:
    """Record that STS was not called. `Introductions` records all other outcomes."""
    trail.sts.cache, trail.sts.request_id = HIT, known.principal.request_id
    return known
