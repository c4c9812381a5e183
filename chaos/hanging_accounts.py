"""IAM hangs for one of 16 accounts, or for all of them: who is decided meanwhile, and what is left of the calls."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from app.emulator import FaultKind
from chaos.aws import SIXTEEN
from chaos.calls import Answer
from chaos.iam_faults import OVERLOADED, UNAVAILABLE
from chaos.row import DEADLINE, Promise, Row, Seen
from chaos.stage import Service, Stage

DECISION_TIMEOUT: Final = 2.0
# Decisions of other accounts, which IAM answers, or which need no IAM.
_UNAFFECTED_SECONDS: Final = 1.5
_FAULT_SECONDS: Final = 6.0
# Unknown roles at once, in each account whose IAM hangs: one account gets more than all its places towards IAM.
_WAVE_IN_ONE: Final = 12
_WAVE_IN_EACH: Final = 3
# From the last answer until no call is under way: its own deadline.
_LEFT_SECONDS: Final = DEADLINE
_PAUSE: Final = 0.2
_MORE_THREADS: Final = 1


def rows() -> Iterator[Row]:
    """Yield the rows, which share a service with a decision timeout of 2 s that lists 16 accounts."""
    yield Row(
        fault=f"IAM hangs for one of {len(SIXTEEN)} accounts",
        promise=Promise(
            outcomes=("200",),
            within=_UNAFFECTED_SECONDS,
            words="(new roles of the others, known roles of all); nothing is left of the calls",
        ),
        play=_hanging(SIXTEEN[1:2], _WAVE_IN_ONE),
    )
    yield Row(
        fault=f"IAM hangs for all {len(SIXTEEN)} accounts",
        promise=Promise(
            outcomes=("200",),
            within=_UNAFFECTED_SECONDS,
            words="(known roles of all); nothing is left of the calls",
        ),
        play=_hanging(SIXTEEN, _WAVE_IN_EACH),
    )


def _hanging(faulty: Sequence[str], wave: int) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        for account in SIXTEEN:
            stage.known(account)
        # Sidecars try again with the roles that they have: calls for ever new ones would queue for longer than the fault.
        roles = [(account, stage.tasks.new_role(account)) for account in faulty for _ in range(wave)]
        threads = _threads(stage.service)
        for account in faulty:
            stage.emulator.faults.iam.inject(FaultKind.HANG, account=account)
        seen, started = Seen(), time.monotonic()
        with ThreadPoolExecutor(1) as beside:
            while time.monotonic() - started < _FAULT_SECONDS:
                unknown = [stage.tasks.credential(*role) for role in roles]
                hanging = beside.submit(stage.caller.ask_all, unknown)
                # At least once: the answers come at once where the circuit breaker is open.
                while True:
                    seen.answers += stage.caller.ask_all(_unaffected(stage, faulty))
                    time.sleep(_PAUSE)
                    if hanging.done():
                        break
                _judge_hanging(hanging.result(), seen)
        _judge_what_is_left(stage, threads, seen)
        stage.emulator.faults.clear()
        seen.recovered = stage.recovery(lambda: stage.tasks.credential(*roles[0]), 3 * (promise.recovery or 0))
        return seen

    return play


def _new_role(stage: Stage, account: str) -> str:
    return stage.tasks.credential(account, stage.tasks.new_role(account))


def _unaffected(stage: Stage, faulty: Sequence[str]) -> list[str]:
    """Return new credentials that must be allowed: of a known role in each account, and of new roles where IAM answers."""
    known = [stage.tasks.credential(account) for account in SIXTEEN]
    return known + [_new_role(stage, account) for account in SIXTEEN if account not in faulty]


def _judge_hanging(answers: Sequence[Answer], seen: Seen) -> None:
    others = {answer.outcome for answer in answers} - {UNAVAILABLE, OVERLOADED}
    seen.expect(not others, f"an account whose IAM hangs was answered {', '.join(sorted(others))}")
    slowest = max(answer.seconds for answer in answers)
    seen.expect(slowest <= DECISION_TIMEOUT + 0.5, f"an account whose IAM hangs was answered after {slowest:.1f} s")


def _judge_what_is_left(stage: Stage, threads: int, seen: Seen) -> None:
    """See that the calls end while IAM still hangs, and that no decision and no thread is left of them."""
    service, iam = stage.service, stage.emulator.faults.iam
    service.poll(lambda: iam.hanging() == 0 and service.in_flight() == 0, _LEFT_SECONDS)
    left = iam.hanging()
    seen.expect(left == 0, f"{left} calls to IAM were left after {_LEFT_SECONDS:g} s")
    seen.expect(service.in_flight() == 0, "decisions were left")
    more = _threads(service) - threads
    seen.expect(more <= _MORE_THREADS, f"{more} threads more than before")


def _threads(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/task").iterdir()))
