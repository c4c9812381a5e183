"""Count what a policy would change, over any number of audit lines, in bounded memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from app.core.principal import Principal
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.policy.verdict import DecisionFacts, Missing, Outcome, Verdict

# A client chooses the mesh and the name that it asserts, so both the rows and the names of a row are bounded.
MAX_CHANGES: Final = 10_000
MAX_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """The proxies of one role whose decisions would change in the same way.

    Attributes:
        role: the role's ARN, without its path.
        proxy: the type and the mesh that the proxies assert.
        before: the reason of the decision in the log; None if it was an approval.
        after: the reason that the policy gives; None if it approves.
    """

    role: str
    proxy: str
    before: Reason | None
    after: Reason | None

    @property
    def breaks(self) -> bool:
        """Whether proxies that were allowed would be denied."""
        return self.before is None


@dataclass(slots=True)
class Seen:
    """The audit lines of one row.

    Attributes:
        lines: how many there are.
        last_seen: the time of the last line, as the line has it.
        request_id: the id of the last line's API call.
        names: names of the proxies' resources, at most `MAX_NAMES`.
    """

    lines: int = 0
    last_seen: str = ""
    request_id: str = ""
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """The result of a preview.

    Attributes:
        decisions: the number of audit lines.
        same: lines with the same outcome and the same reason.
        other_reason: lines that stay denied, for another reason.
        would_deny: lines with an approval that would be a denial.
        would_allow: lines with a denial that would be an approval.
        unknown: lines without a verdict, by what is missing.
        unknown_approvals: lines with an approval, and without a verdict.
        first_seen: the time of the earliest line, as the line has it.
        last_seen: the time of the latest line.
        rows: the lines that change.
        more: lines that change, and are in none of the rows, because there are `MAX_CHANGES` of them.
    """

    decisions: int = 0
    same: int = 0
    other_reason: int = 0
    would_deny: int = 0
    would_allow: int = 0
    unknown: Counter[Missing] = field(default_factory=Counter)
    unknown_approvals: int = 0
    first_seen: str = ""
    last_seen: str = ""
    rows: dict[ChangedRow, Seen] = field(default_factory=dict)
    more: int = 0

    def add(self, line: dict[str, Any], facts: DecisionFacts, verdict: Verdict) -> None:
        """Count one audit line. ISO 8601 times in UTC compare as texts."""
        time = str(line.get("time", ""))
        self.decisions += 1
        self.first_seen = min(self.first_seen or time, time)
        self.last_seen = max(self.last_seen, time)
        if verdict.missing is not None:
            self.unknown[verdict.missing] += 1
            self.unknown_approvals += facts.reason is None
        elif facts.is_undecided:
            # A decision that ended without an answer, and a policy that denies before the point where it ended.
            self.unknown[Missing.ANSWER] += 1
        elif verdict.reason is facts.reason:
            self.same += 1
        elif facts.reason is not None and verdict.outcome is Outcome.DENIED:
            self.other_reason += 1
        else:
            self._changed(line, facts, verdict, time)

    def sorted_rows(self) -> list[tuple[ChangedRow, Seen]]:
        """Return the rows: first the proxies that would be denied, then by the number of lines."""
        return sorted(self.rows.items(), key=lambda row: (not row[0].breaks, -row[1].lines, row[0].role, row[0].proxy))

    def _changed(self, line: dict[str, Any], facts: DecisionFacts, verdict: Verdict, time: str) -> None:
        if facts.reason is None:
            self.would_deny += 1
        else:
            self.would_allow += 1
        row = ChangedRow(_role(facts.principal), _proxy(facts.asserted), facts.reason, verdict.reason)
        seen = self.rows.get(row)
        if seen is None:
            if len(self.rows) >= MAX_CHANGES:
                self.more += 1
                return
            seen = self.rows[row] = Seen()
        seen.lines += 1
        if time >= seen.last_seen:
            seen.last_seen, seen.request_id = time, str(line.get("request_id", ""))
        name = None if facts.asserted is None else facts.asserted.name
        if name is not None and name not in seen.names and len(seen.names) < MAX_NAMES:
            seen.names.append(name)


def _role(principal: Principal | None) -> str:
    return "" if principal is None else f"arn:{principal.partition}:iam::{principal.account}:role/{principal.role}"


def _proxy(asserted: ProxyAssertion | None) -> str:
    if asserted is None:
        return "(not named)"
    return asserted.type.value if asserted.mesh is None else f"{asserted.type} of mesh {asserted.mesh}"
