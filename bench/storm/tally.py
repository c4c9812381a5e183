"""What the sidecars of a storm see: who was admitted and when, and everything that should not have been."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from bench.rows import percentile

OK: Final = 200
UNDECIDED: Final = 503
_DENIALS: Final = (400, 401, 403)
# For an answer that should say when to come again, and does not.
_DEFAULT_RETRY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Tally:
    """One storm's account. Times are seconds since it began.

    Attributes:
        expected: role and session of each sidecar.
        missing: how many presentations of each sidecar are not admitted yet.
        left: presentations that are not decided yet, those of impostors among them.
        refused: seconds that each 503 took.
        gave_up: how often a caller did not wait for its answer any longer.
    """

    expected: list[list[str]]
    missing: list[int]
    left: int
    admitted: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    undecided: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    impostors: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    refused: list[float] = field(default_factory=list)
    gave_up: int = 0
    wrong: int = 0

    def answered(
        self, sidecar: int | None, status: int, body: bytes, retry_after: float | None, *, at: float, took: float
    ) -> float | None:
        """Account for an answer to a sidecar, or to an impostor (None); return after how many seconds to come again."""
        if status == UNDECIDED:
            self.undecided[orjson.loads(body)["reason"]] += 1
            self.refused.append(took)
            if retry_after is None:
                self.errors["503 without Retry-After"] += 1
            return retry_after or _DEFAULT_RETRY_SECONDS
        if status != OK and status not in _DENIALS:
            self.errors[f"status {status}"] += 1
            return _DEFAULT_RETRY_SECONDS
        self.latencies.append(took)
        self.left -= 1
        answer = orjson.loads(body)
        verdict = "allowed" if status == OK else answer["reason"]
        if sidecar is None:
            self.impostors[verdict] += 1
        elif status == OK:
            self._admit(sidecar, answer, at)
        else:
            self.denied[verdict] += 1
        return None

    def _admit(self, sidecar: int, answer: dict[str, Any], at: float) -> None:
        role, session = self.expected[sidecar]
        seen = answer["principal"]["role"], answer["principal"]["session"], answer["identity"]["service"]
        self.wrong += seen != (role, session, role)
        self.missing[sidecar] -= 1
        if not self.missing[sidecar]:
            self.admitted.append(at)

    def result(self) -> dict[str, Any]:
        """Return what is told of it."""
        ordered, refused = sorted(self.latencies), sorted(self.refused)
        return {
            "admitted": self.admitted,
            "undecided": self.undecided,
            "denied": self.denied,
            "impostors": self.impostors,
            "errors": self.errors,
            "wrong": self.wrong,
            "p50": percentile(ordered, 0.5),
            "p99": percentile(ordered, 0.99),
            "refused_p99": percentile(refused, 0.99) if refused else 0.0,
            "refused_slowest": refused[-1] if refused else 0.0,
            "gave_up": self.gave_up,
        }
