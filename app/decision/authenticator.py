"""The use case: a credential and what its proxy asserts in, a decision out. The only place where decisions meet AWS.

The steps, with the numbers that code, docs and audit lines share::

    1 decode    text              -> SignedRequest       core.credential
    2 validate  SignedRequest     -> ForwardableRequest  core.request_policy; no network call before this line
    3 identify  ForwardableRequest -> CallerIdentity     STS, or its cache
    4 read      CallerIdentity    -> Principal           core.principal
    5 admit     Principal         -> AdmittedPrincipal   core.principal; no IAM call before this line
    6 fetch     AdmittedPrincipal -> RoleRecord          IAM, or its cache
    7 read      RoleRecord        -> RoleGrant           core.role_tags
    8 match     RoleGrant         -> ProxyIdentity       core.role_grant

The clock's part of 2, and 5, 7 and 8, run on every decision, whatever is remembered (I7, I12, I15). 1, the rest of 2 and 4
depend on the text, the settings and STS's answer alone: of a text that STS has vouched for they are remembered.
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

# Evaluates one credential by the local rules, and raises `CredentialError` if it breaks one.
Judge = Callable[[], ForwardableRequest]


class AccountList(Protocol):
    """The authorized accounts, which may change while the service runs."""

    def current(self) -> AbstractSet[str]:
        """Return the list as it is now; never empty.

        Raises:
            UpstreamError: ``accounts_unavailable``.
        """


class KnownTexts(Protocol):
    """Credentials, by their exact text, that were judged and vouched for before."""

    def key_of(self, credential: str) -> bytes:
        """Return the key of a text, which no other text has, and which gives nothing of it away."""

    def recall(self, key: bytes) -> KnownCredential | None:
        """Return what is known of the text of this key."""

    def remember(self, known: KnownCredential) -> None:
        """Cache a credential until its signature ends. It evicts no approved credential."""

    def approve(self, known: KnownCredential) -> None:
        """Move a cached credential to the approved ones, which no other credential evicts."""


class IdentitySource(Protocol):
    """STS."""

    async def identify(self, request: ForwardableRequest, trail: DecisionRecord) -> CallerIdentity:
        """Find out who signed, before ``trail.deadline``; fill in ``trail.sts``.

        Raises:
            AuthenticationError: STS does not vouch for it.
            UpstreamError: STS could not be asked.
        """


class Introductions(Protocol):
    """Finds out who signed credentials that are not known."""

    async def introduce(self, key: bytes, credential: str, judge: Judge, trail: DecisionRecord) -> KnownCredential:
        """Find out who signed a credential, with one call to STS for all decisions that present it at the same time (I19).

        Args:
            key: of its text.
            credential: its text.
            judge: evaluates it by the local rules. It is asked only if nobody else is finding out about the same text, and
                the call has a chance of a place.
            trail: of the decision; ``trail.sts`` is filled in.

        Raises:
            CredentialError: as ``judge`` does.
            AuthenticationError: STS does not vouch for it.
            AuthorizationError: ``principal_not_a_role``.
            UpstreamError: STS could not be asked before ``trail.deadline``.
        """


class RoleSource(Protocol):
    """IAM, or what remembers its answers."""

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: DecisionRecord) -> RoleRecord:
        """Read the caller's role in the caller's account, before ``trail.deadline``; fill in ``trail.iam``.

        Raises:
            AuthorizationError: ``role_not_found`` alone.
            UpstreamError: IAM could not be asked.
        """


class Decider(Protocol):
    """What decides about credentials."""

    async def authenticate(
        self, credential: PresentedCredential, asserted: ProxyAssertion | None, trail: DecisionRecord
    ) -> "Decision":
        """Decide about one credential and what its proxy says it is; see `Authenticator.authenticate`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy(GrantPolicy):
    """All settings that a decision depends on: those of its grant, and these.

    Attributes:
        request: the local rules' settings.
        accounts: the listed account ids.
    """

    request: RequestPolicy
    accounts: AccountList

    def __post_init__(self) -> None:
        # Fail closed: an empty list is a mistake of ours, never "everybody" and never a silent "nobody".
        if not self.accounts.current() or not self.enabled_types:
            raise ValueError("a decision policy needs at least one account and one proxy type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An approval.

    Attributes:
        identity: what the proxy may be.
        principal: the role that it runs as.
        expires_at: when this verdict stops holding: the end of the signature's life.
    """

    identity: ProxyIdentity
    principal: Principal
    expires_at: datetime


class Authenticator:
    """Takes one decision after the other; holds no state but its ports."""

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
        """Decide about one credential and what its proxy says it is.

        Args:
            credential: what the proxy presented, or what is known of exactly that text at this moment.
            asserted: what the proxy says it is, or None for the identity alone.
            trail: filled in with what was seen, also when this raises.

        Raises:
            AuthError: any of its kinds but `RequestError`; the reason says which.
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
    """Record that STS need not be asked; `Introductions` record everything else."""
    trail.sts.cache, trail.sts.request_id = HIT, known.principal.request_id
    return known
