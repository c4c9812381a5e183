"""`DecisionFacts` and `AccessPolicy` → `Verdict`: what a policy decides on facts that a decision has found out.

The function applies the rules of steps 5, 7 and 8 of `app.decision.authenticator`, and those for a token. It has no rule of
its own. A decision ends at its first failed step, so facts of later steps can be missing. If another policy needs them, its
verdict is ``unknown``: this module reads nothing and guesses nothing.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.core.errors import AuthorizationError, RequestError
from app.core.principal import AdmittedPrincipal, Principal, admit
from app.core.proxy import ProxyAssertion, ProxyIdentity
from app.core.reasons import EXPLANATIONS, Reason
from app.core.role_grant import GrantPolicy, RoleGrant, match
from app.core.role_tags import RoleRecord, read_grant
from app.tokens.claims import TokenSubject, subject_of
from app.tokens.subject import limit, require_name

_DENIED_STATUSES: Final = (401, 403)
# Denials by IAM's answer that no policy changes. The audit line may not contain everything that caused them.
_ABOUT_ROLE: Final = frozenset({Reason.ROLE_NOT_FOUND, Reason.ROLE_ID_MISMATCH, Reason.ROLE_TAG_INVALID})


class Outcome(StrEnum):
    """What a policy decides. ``unknown`` means that facts are missing."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


class Missing(StrEnum):
    """What a verdict would need, and the facts do not contain."""

    ROLE = "role"
    """The role: the decision ended before it was read, or the audit line is of a version that did not write it."""
    ANSWER = "answer"
    """An answer: the decision itself ended without one (503 or 500), or the API call was malformed."""
    CALL = "call"
    """Whether the caller wanted a token, or what its name is: tokens have requirements of their own."""
    TOKEN = "token"  # noqa: S105 - what is missing
    """What the presented token says: the audit line is of a version that did not write it."""
    PROXY = "proxy"
    """The labels of the proxy: the caller named none. Only Kuma 3.0's rules need them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy decides, with the reason of a denial, or with what is missing for a verdict."""

    outcome: Outcome
    reason: Reason | None = None
    missing: Missing | None = None


ALLOWED: Final = Verdict(Outcome.ALLOWED)
_UNKNOWN: Final = {missing: Verdict(Outcome.UNKNOWN, missing=missing) for missing in Missing}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy(GrantPolicy):
    """A whole policy: the settings of `GrantPolicy`, and the ids of the authorized accounts."""

    accounts: AbstractSet[str]

    def __post_init__(self) -> None:
        if not self.accounts or not self.enabled_types:
            raise ValueError("a policy needs at least one account and one proxy type")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFacts:
    """The facts of one decision on which a policy depends.

    Attributes:
        reason: why the decision ended without an approval; None if it approved the proxy.
        principal: the role that STS or the presented token names. None if no step before step 5 found one.
        role: the role from IAM's answer; None if it was not read.
        is_token: whether the credential is a token of this service.
        token: what that token says; None if it is not known.
        asserted: what the proxy asserts; None if the caller wanted the identity alone.
        wants_token: whether the caller wanted a token; None if it is not known.
    """

    reason: Reason | None
    principal: Principal | None = None
    role: RoleRecord | None = None
    is_token: bool = False
    token: TokenSubject | None = None
    asserted: ProxyAssertion | None = None
    wants_token: bool | None = False

    @property
    def is_undecided(self) -> bool:
        """Whether the decision ended neither with an approval nor with a denial."""
        return self.reason is not None and EXPLANATIONS[self.reason].status not in _DENIED_STATUSES


def evaluate_policy(facts: DecisionFacts, policy: AccessPolicy) -> Verdict:
    """Return what a policy decides. The steps have the order of a decision, so the reason is the first one that applies."""
    if facts.principal is None:
        # Steps 1 to 4 depend on the credential and on STS, and on no setting of a policy.
        return _UNKNOWN[Missing.ANSWER] if facts.is_undecided else Verdict(Outcome.DENIED, facts.reason)
    try:
        admitted = admit(facts.principal, policy.accounts)  # 5
        grant = _grant(facts, admitted, policy)  # 7
        if isinstance(grant, Verdict):
            return grant
        identity = match(grant, facts.asserted, policy)  # 8
    except AuthorizationError as error:
        return Verdict(Outcome.DENIED, error.reason)
    unissued = None if facts.is_token else _judge_issue(facts, facts.principal, identity, policy)
    if unissued is not None:
        return unissued
    return _UNKNOWN[Missing.ANSWER] if facts.is_undecided else ALLOWED


def _grant(facts: DecisionFacts, admitted: AdmittedPrincipal, policy: AccessPolicy) -> RoleGrant | Verdict:
    if facts.is_token:
        if facts.token is None:
            return _UNKNOWN[Missing.TOKEN]
        grant = limit(facts.token, policy)
        require_name(facts.token, facts.asserted)
        return grant
    if facts.role is not None:
        return read_grant(admitted, facts.role, policy, facts.asserted)
    if facts.reason in _ABOUT_ROLE:
        return Verdict(Outcome.DENIED, facts.reason)
    return _UNKNOWN[Missing.ANSWER if facts.is_undecided else Missing.ROLE]


def _judge_issue(
    facts: DecisionFacts, principal: Principal, identity: ProxyIdentity, policy: AccessPolicy
) -> Verdict | None:
    """Return the verdict about a call for a token that would get none; None if the call ends with an approval.

    Of the settings that this depends on, only the zone is part of a policy. Whether tokens contain names is not, and the
    facts tell it only if that was the reason of a denial.
    """
    if facts.wants_token is False:
        return None
    try:
        subject_of(
            identity,
            principal,
            facts.asserted,
            default_zone=policy.zone,
            # If the decision approved the proxy, the names were as the service wants them.
            with_names=facts.reason is not None,
        )
    except AuthorizationError as error:
        is_certain = error.reason in (facts.reason, Reason.ROLE_ZONE_MISSING, Reason.ROLE_WORKLOAD_MISSING)
        return Verdict(Outcome.DENIED, error.reason) if facts.wants_token and is_certain else _UNKNOWN[Missing.CALL]
    except RequestError:
        return _UNKNOWN[Missing.ANSWER]
    return None
