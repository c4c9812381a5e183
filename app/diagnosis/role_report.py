"""What the service would decide about a role: steps 5, 7 and 8 of a decision, without a credential.

No proxy has signed anything here, so the report proves nothing about a caller. It grants nothing.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from app.core.errors import AuthError, AuthorizationError
from app.core.principal import Principal, admit
from app.core.proxy import ProxyAssertion, ProxyIdentity, identity_words
from app.core.reasons import EXPLANATIONS
from app.core.role_grant import GrantPolicy, match, require_permitted
from app.core.role_tags import RoleRecord, read_grant
from app.diagnosis.role_name import RoleName
from app.diagnosis.tag_judgement import TagJudgement, judge_tags
from app.iam.missing_permission import MissingPermission, RoleUnreadableError

_DENIED: Final = range(400, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReport:
    """The answer to: what would this role be granted now?

    Attributes:
        asked: the role that the operator named.
        role: the role as IAM has it; None if it was not read.
        tags: each tag of this service with its result; empty if the role was not read.
        identity: what would be granted; None if nothing would be.
        error: why nothing would be granted; None if something would be.
        missing: the permission that the service lacks to read the role; None if it lacks none.
        notes: further facts, each a sentence.
    """

    asked: RoleName
    role: RoleRecord | None = None
    tags: tuple[TagJudgement, ...] = ()
    identity: ProxyIdentity | None = None
    error: AuthError | None = None
    missing: MissingPermission | None = None
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The result: ``allowed``, ``denied`` or ``undecided``."""
        if self.error is None:
            return "allowed"
        return "denied" if EXPLANATIONS[self.error.reason].status in _DENIED else "undecided"

    def members(self) -> dict[str, Any]:
        """Return the report as ``--json`` prints it."""
        return {
            "outcome": self.outcome,
            "asked": {"account": self.asked.account, "name": self.asked.name},
            "role": None if self.role is None else _role_members(self.role),
            "tags": [
                {"key": tag.key, "value": tag.value, "verdict": tag.verdict.value, "why": tag.why or None}
                for tag in self.tags
            ],
            "identity": None if self.identity is None else self.identity.members(),
            "problem": None if self.error is None else _problem_members(self.error),
            "missing_permission": None if self.missing is None else self.missing.members(),
            "notes": list(self.notes),
        }


def report_unread(asked: RoleName, error: AuthError, policy: GrantPolicy) -> RoleReport:
    """Report a role that was not read: its account is not listed, or AWS does not give it."""
    missing = error.missing if isinstance(error, RoleUnreadableError) else None
    notes: list[str] = []
    # Without a reader role no call was made, and the missing policy is that role's.
    is_about_reading = missing is not None and (missing.operation == "GetRole" or missing.denied_by is None)
    if is_about_reading and policy.role_path_prefix is not None:
        notes.append(f"With KMESH_AWSIAM_ROLE_PATH_PREFIX, the resource role{policy.role_path_prefix}* is enough.")
    return RoleReport(asked=asked, error=error, missing=missing, notes=tuple(notes))


def report_role(
    asked: RoleName,
    role: RoleRecord,
    accounts: AbstractSet[str],
    policy: GrantPolicy,
    *,
    partition: str,
    proxy: ProxyAssertion | None,
) -> RoleReport:
    """Judge a role that IAM returned.

    Args:
        asked: the role that the operator named.
        role: the role from IAM's answer.
        accounts: the listed accounts.
        policy: what the settings require of a role.
        partition: the partition of the service.
        proxy: what a proxy asserts; None to see only what the role grants.
    """
    principal = as_principal(asked, partition=partition, role=role)
    identity, error = None, None
    try:
        grant = read_grant(admit(principal, accounts), role, policy, proxy)
        identity = match(grant, proxy, policy)
    except AuthorizationError as denial:
        error = denial
    return RoleReport(
        asked=asked,
        role=role,
        tags=judge_tags(role, policy, in_dataplane=proxy is not None and bool(proxy.listeners)),
        identity=identity,
        error=error,
        notes=tuple(_notes(asked, role, policy, proxy, identity)),
    )


def as_principal(asked: RoleName, *, partition: str, role: RoleRecord | None = None) -> Principal:
    """Return the principal that a task with this role would be. Until the role is read, its unique id is unknown."""
    principal = Principal(
        partition=partition,
        account=asked.account,
        role=asked.name,
        role_id="",
        session="explain-role",
        request_id="",
    )
    return principal if role is None else replace(principal, role=role.name, role_id=role.role_id)


def _notes(
    asked: RoleName,
    role: RoleRecord,
    policy: GrantPolicy,
    proxy: ProxyAssertion | None,
    identity: ProxyIdentity | None,
) -> list[str]:
    notes = []
    if role.identifiers is not None and asked.path is not None and asked.path != role.parts.path:
        notes.append(f"IAM has the role under the path {role.parts.path}, not {asked.path}.")
    if role.name != asked.name:
        notes.append(f"IAM spells the name {role.name}.")
    if proxy is None and identity is not None and identity.mesh is None:
        notes.append(f"A Dataplane with a zone listener: {_as_dataplane(role, asked.account, policy)}.")
    if identity is not None and identity.labels:
        notes.append(
            "A token of this role contains the pinned labels. Kuma 3.0 compares them with the Dataplane's labels. An "
            "earlier control plane compares them with the tags of its inbounds, and rejects the token."
        )
    return notes


def _as_dataplane(role: RoleRecord, account: str, policy: GrantPolicy) -> str:
    """Return what a zone role grants to a Dataplane with zone listeners (Kuma 2.14 and later)."""
    try:
        grant = role.grant_in_dataplane
        require_permitted(grant, account, policy)
        identity = match(grant, None, policy)
    except AuthorizationError as error:
        return f"denied, {error.reason.value} ({error.detail})"
    return f"allowed, {identity_words(identity.members())}"


def _role_members(role: RoleRecord) -> dict[str, Any]:
    path = None if role.identifiers is None else role.parts.path
    tags = [{"key": key, "value": value} for key, value in role.tags]
    return {"arn": role.arn, "path": path, "roleId": role.role_id, "name": role.name, "tags": tags}


def _problem_members(error: AuthError) -> dict[str, Any]:
    explanation = EXPLANATIONS[error.reason]
    return {
        "reason": error.reason.value,
        "status": explanation.status,
        "title": explanation.title,
        "detail": explanation.detail,
        "found": error.detail,
    }
