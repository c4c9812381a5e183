"""What a check of ``doctor`` found: a state, a sentence and a remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_FAILED: Final = 1
_SETTINGS: Final = 2


class State(StrEnum):
    """The states of a finding. Only `FAILED` changes the exit status."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of the table.

    Attributes:
        check: what was checked.
        state: the result.
        found: what was seen, as a sentence. It never contains a secret (I22).
        remedy: what to do; None if there is nothing to do.
        is_of_settings: whether the finding is a problem of the settings, with which ``serve`` does not start.
    """

    check: str
    state: State
    found: str
    remedy: str | None = None
    is_of_settings: bool = False

    def members(self) -> dict[str, str | None]:
        """Return the finding as ``--json`` prints it."""
        return {"check": self.check, "state": self.state.value, "found": self.found, "remedy": self.remedy}


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no attention."""
    return Finding(check=check, state=State.OK, found=found)


def warning(check: str, found: str, remedy: str | None = None) -> Finding:
    """Return a finding about a risk, or about something that could not be found out."""
    return Finding(check=check, state=State.WARNING, found=found, remedy=remedy)


def failed(check: str, found: str, remedy: str | None = None) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(check=check, state=State.FAILED, found=found, remedy=remedy)


def skipped(check: str, why: str) -> Finding:
    """Return a finding that says why something was not checked."""
    return Finding(check=check, state=State.SKIPPED, found=why)


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 2 if the settings are invalid, 1 if anything else failed, otherwise 0."""
    failures = [finding for finding in findings if finding.state is State.FAILED]
    if any(finding.is_of_settings for finding in failures):
        return _SETTINGS
    return _FAILED if failures else 0


def worst(findings: Iterable[Finding]) -> State:
    """Return the worst state of all findings: failed, warning or ok."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.FAILED, State.WARNING) if state in states), State.OK)
