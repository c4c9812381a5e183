"""One row of the table: what is promised about a fault, what was seen, and whether the two agree."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from app.emulator import FaultKind
from chaos.calls import ALLOWED, Answer
from chaos.stage import Stage

DEADLINE: Final = 10.5
"""Seconds for any answer: the decision timeout's default, and what the way costs on a busy machine."""
RECOVERY: Final = 4.0
"""Seconds from the end of a fault until all is well: the breaker's pause, and a try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What must be seen.

    Attributes:
        outcomes: every answer during the fault is one of these; an approval only where 200 stands among them.
        within: seconds that the slowest of them may take.
        recovery: seconds after the fault until it is gone without anybody's doing; None where it is not ours to end.
        words: what else must hold.
    """

    outcomes: tuple[str, ...]
    within: float = DEADLINE
    recovery: float | None = RECOVERY
    words: str = ""

    def __str__(self) -> str:
        text = f"{' or '.join(self.outcomes)} in {self.within:g} s"
        return f"{text}; {self.words}" if self.words else text


@dataclass(slots=True)
class Seen:
    """What was seen.

    Attributes:
        answers: those during the fault.
        recovered: seconds until it was gone; None where it did not go, or was not waited for.
        problems: everything that was not as promised.
        without_core: seconds for which the service or its callers could have run but had no core. Rows with very many
            callers note them: no answer can be faster than the machine.
    """

    answers: list[Answer] = field(default_factory=list)
    recovered: float | None = None
    problems: list[str] = field(default_factory=list)
    without_core: float = 0.0

    def expect(self, holds: bool, problem: str) -> None:  # noqa: FBT001 - reads as a sentence where it is called
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(problem)

    def summary(self) -> str:
        """Say what was answered, and how often."""
        counts = Counter(answer.outcome for answer in self.answers)
        return ", ".join(f"{number} x {outcome}" for outcome, number in counts.most_common())

    @property
    def slowest(self) -> float:
        """The slowest answer's seconds."""
        return max((answer.seconds for answer in self.answers), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        fault: it, in words.
        promise: what must be seen.
        play: makes it happen on a stage, and tells what was seen.
        kind: the emulator's fault that it plays, if it is one of these.
    """

    fault: str
    promise: Promise
    play: Callable[[Stage, Promise], Seen]
    kind: FaultKind | None = None


def judge(promise: Promise, seen: Seen) -> list[str]:
    """Return everything that is not as promised."""
    return [*seen.problems, *_wrong_answers(promise, seen), *_wrong_recovery(promise, seen)]


def _wrong_answers(promise: Promise, seen: Seen) -> Iterable[str]:
    if not seen.answers:
        yield "nothing was asked"
    unexpected = {answer.outcome for answer in seen.answers} - set(promise.outcomes)
    if ALLOWED in unexpected:
        yield "AN APPROVAL THAT SHOULD NOT BE"
    if unexpected - {ALLOWED}:
        yield f"answered {', '.join(sorted(unexpected - {ALLOWED}))}"
    if seen.slowest > promise.within + seen.without_core:
        yield f"an answer took {seen.slowest:.1f} s"
    yield from sorted({answer.complaint for answer in seen.answers} - {""})


def _wrong_recovery(promise: Promise, seen: Seen) -> Iterable[str]:
    if promise.recovery is None:
        return
    if seen.recovered is None:
        yield "it did not recover"
    elif seen.recovered > promise.recovery:
        yield f"it recovered after {seen.recovered:.1f} s only"
