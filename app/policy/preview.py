"""Replay the audit lines of a log against a policy: what would have changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from app.core.kuma_version import LABELS_ONLY, KumaVersion
from app.core.reasons import Reason
from app.policy.changes import Changes
from app.policy.facts import LineError, facts_of_line, role_record
from app.policy.labels_only import evaluate_for_labels_only
from app.policy.log_lines import find_decision
from app.policy.role_tags_file import NewTags, RoleKey, key_of
from app.policy.verdict import AccessPolicy, DecisionFacts, evaluate_policy

# New tags do not change these: the role that signed does not exist any more.
_WITHOUT_ROLE: Final = frozenset({Reason.ROLE_NOT_FOUND, Reason.ROLE_ID_MISMATCH})
_NO_APPROVALS: Final = ("denied", "error")


@dataclass(slots=True)
class Preview:
    """A replay. It keeps counts and no line, so its memory does not grow with the log.

    Attributes:
        policy: the policy to evaluate.
        new_tags: the roles that are to get other tags. Presented tokens keep what they say until they expire, because the
            verdict about a token does not depend on the role.
        kuma_version: of the control plane that the proxies are to come to; None for the one that wrote the log.
        changes: the result so far.
        other_lines: the number of lines that are no audit lines.
        unreadable: the number of audit lines that this version cannot read.
        unreadable_approvals: how many of them do not say that the decision was no approval.
        seen: the roles of ``new_tags`` that occurred in the log.
    """

    policy: AccessPolicy
    new_tags: Mapping[RoleKey, NewTags] = field(default_factory=dict)
    kuma_version: KumaVersion | None = None
    changes: Changes = field(default_factory=Changes)
    other_lines: int = 0
    unreadable: int = 0
    unreadable_approvals: int = 0
    seen: set[RoleKey] = field(default_factory=set)

    @property
    def may_break(self) -> bool:
        """Whether somebody who was allowed would be denied, or whether this is unknown."""
        changes = self.changes
        return bool(changes.would_deny or changes.unknown_approvals or self.unreadable_approvals)

    def read(self, lines: Iterable[bytes]) -> Iterator[None]:
        """Read the lines of a log. Yields after each line, so that the caller can show its progress."""
        for line in lines:
            self._read(line)
            yield

    def unseen_roles(self) -> list[str]:
        """Return the ARNs of the roles that are to get other tags, and of which the log has no line."""
        return sorted(new.arn for key, new in self.new_tags.items() if key not in self.seen)

    def _read(self, line: bytes) -> None:
        members = find_decision(line)
        if members is None:
            self.other_lines += bool(line.strip())
            return
        try:
            facts = self._with_new_tags(facts_of_line(members))
        except LineError:
            self.unreadable += 1
            self.unreadable_approvals += members.get("outcome") not in _NO_APPROVALS
            return
        is_labels_only = self.kuma_version is not None and self.kuma_version >= LABELS_ONLY
        evaluate = evaluate_for_labels_only if is_labels_only else evaluate_policy
        self.changes.add(members, facts, evaluate(facts, self.policy))

    def _with_new_tags(self, facts: DecisionFacts) -> DecisionFacts:
        principal = facts.principal
        if principal is None:
            return facts
        key = key_of(principal)
        new = self.new_tags.get(key)
        if new is None:
            return facts
        self.seen.add(key)
        if facts.reason in _WITHOUT_ROLE:
            return facts
        return replace(facts, role=role_record(principal, new.path, new.tags))
