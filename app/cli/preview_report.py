"""The result of ``preview``, as text and as JSON."""

import sys
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from app.core.reasons import Reason
from app.policy.changes import MAX_NAMES, ChangedRow, Seen
from app.policy.preview import Preview
from app.policy.verdict import Missing
from app.telemetry.human import escape

# A file or a pipe has no width.
_WIDTH: Final = 120
_MISSING: Final = {
    Missing.ROLE: "the role was not read, or the line is of a version that did not write it; --role-tags gives its tags",
    Missing.ANSWER: "the decision itself ended without an answer (503 or 500), or the call was malformed",
    Missing.CALL: "a token may have been wanted, and its requirements need more than the line has",
    Missing.TOKEN: "the line is of a version that did not write what a presented token says",
    Missing.PROXY: "the caller named no proxy, and Kuma 3.0 compares the labels of its Dataplane",
}


def as_members(replay: Preview) -> dict[str, Any]:
    """Return the result as the members of a JSON object."""
    changes = replay.changes
    return {
        "first_seen": changes.first_seen,
        "last_seen": changes.last_seen,
        "lines": {
            "decisions": changes.decisions,
            "unchanged": changes.same,
            "denied_for_another_reason": changes.other_reason,
            "would_be_denied": changes.would_deny,
            "would_be_allowed": changes.would_allow,
            "unknown": changes.unknown.total(),
            "unknown_and_were_allowed": changes.unknown_approvals,
            "unreadable": replay.unreadable,
            "unreadable_and_may_be_allowed": replay.unreadable_approvals,
            "other": replay.other_lines,
        },
        "unknown": {missing.value: changes.unknown[missing] for missing in Missing},
        "changes": [_row(row, seen) for row, seen in changes.sorted_rows()],
        "lines_in_no_change": changes.more,
        "roles_without_a_line": replay.unseen_roles(),
    }


def print_report(replay: Preview) -> None:
    """Print the result: the proxies that change, and then the counts."""
    changes = replay.changes
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)
    rows = changes.sorted_rows()
    for breaks, title in ((True, "Would be DENIED"), (False, "Would be allowed")):
        chosen = [(row, seen) for row, seen in rows if row.breaks == breaks]
        if chosen:
            console.print(_table(title, chosen))
            console.print()
    first_seen, last_seen = escape(changes.first_seen), escape(changes.last_seen)
    console.print(f"{changes.decisions} decisions from {first_seen} to {last_seen}:")
    console.print(f"  {changes.would_deny:>8}  would be denied")
    for number, what in (
        (changes.would_allow, "would be allowed"),
        (changes.other_reason, "would be denied for another reason"),
        (changes.same, "would be the same"),
        *((changes.unknown[missing], f"unknown: {_MISSING[missing]}") for missing in Missing),
    ):
        if number:
            console.print(f"  {number:>8}  {what}")
    for note in _notes(replay):
        console.print(note)


def _table(title: str, rows: list[tuple[ChangedRow, Seen]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for heading in ("role", "proxy", "decision", "lines", "last seen"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "lines" else "left")
    for row, seen in rows:
        names = ", ".join([*seen.names, *(["..."] if len(seen.names) == MAX_NAMES else [])])
        # A log can contain lines of others, whose texts could move the cursor or change the title of a terminal.
        table.add_row(
            "\n".join(map(escape, _short(row.role))),
            "\n".join(map(escape, filter(None, (row.proxy, names)))),
            f"{_reason(row.before)}\n-> {_reason(row.after)}",
            str(seen.lines),
            f"{escape(seen.last_seen)}\n{escape(seen.request_id)}",
        )
    return table


def _notes(replay: Preview) -> list[str]:
    changes = replay.changes
    notes = []
    if changes.unknown_approvals:
        notes.append(f"{changes.unknown_approvals} of the unknown decisions were allowed, so the exit status is 1.")
    if changes.more:
        notes.append(f"{changes.more} lines that would change are not in the tables: too many different proxies.")
    if replay.unreadable:
        notes.append(f"{replay.unreadable} audit lines cannot be read: they are of another version, or damaged.")
    if replay.unreadable_approvals:
        notes.append(f"{replay.unreadable_approvals} of these may have been allowed, so the exit status is 1.")
    if replay.other_lines:
        notes.append(f"{replay.other_lines} other lines were skipped.")
    if unseen := replay.unseen_roles():
        notes.append(f"No line is of these roles of --role-tags: {', '.join(unseen)}.")
    return notes


def _row(row: ChangedRow, seen: Seen) -> dict[str, Any]:
    return {
        "change": "denied" if row.breaks else "allowed",
        "role": row.role,
        "proxy": row.proxy,
        "names": seen.names,
        "reason_before": row.before,
        "reason_after": row.after,
        "lines": seen.lines,
        "last_seen": seen.last_seen,
        "request_id": seen.request_id,
    }


def _short(arn: str) -> list[str]:
    """Return the name and the account of a role, which fit into a column."""
    return [arn.rpartition("/")[2], f"of {arn.split(':')[4]}"] if arn else []


def _reason(reason: Reason | None) -> str:
    return "allowed" if reason is None else reason.value
