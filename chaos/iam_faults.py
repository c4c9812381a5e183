"""IAM misbehaves: the emulator's faults, lies, a role that is known, one account among several, AssumeRole."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from app.emulator import FaultKind
from app.iam.calls import IAM_FAILURES
from chaos import liar
from chaos.aws import HOME, OTHERS
from chaos.liar import Lie
from chaos.row import DEADLINE, RECOVERY, Promise, Row, Seen
from chaos.stage import Stage

ROLE_TTL: Final = 1.0
MAX_STALE: Final = 6.0
# A role that may not be read is remembered for so long, as undecided.
ACCESS_DENIED_SECONDS: Final = 32.0
UNAVAILABLE: Final = "503 iam_unavailable"
THROTTLED: Final = "503 iam_throttled"
DENIED: Final = "503 iam_access_denied"
OVERLOADED: Final = "503 overloaded"
_ANOTHER_ROLE: Final = "403 role_id_mismatch"
_AT_ONCE: Final = 3
_AT_ONCE_SECONDS: Final = 0.5
_MEMORY_MB: Final = 100.0
_STARVING_SECONDS: Final = 14.0
_WAVE: Final = 12
_PAUSE: Final = 0.2

_OUTCOMES: Final = {FaultKind.THROTTLE: THROTTLED, FaultKind.ACCESS_DENIED: DENIED}
_WORDS: Final[Mapping[FaultKind, str]] = {
    FaultKind.THROTTLE: "throttled",
    FaultKind.INTERNAL_FAILURE: "500",
    FaultKind.SERVICE_UNAVAILABLE: "503",
    FaultKind.UNKNOWN_CODE: "400 with a code that nobody knows",
    FaultKind.REDIRECT: "302 to another host",
    FaultKind.CUT_OFF: "breaks off in the middle",
    FaultKind.RESET: "resets the connection",
    FaultKind.HANG: "hangs",
    FaultKind.SLOW_DRIP: "drips, a byte at a time",
}
_LIES: Final[Mapping[str, tuple[Lie, str]]] = {
    "half a document": (liar.cut, UNAVAILABLE),
    "two documents": (liar.twice, UNAVAILABLE),
    "an empty document": (liar.nothing, UNAVAILABLE),
    "another action's answer around it": (liar.another_action, UNAVAILABLE),
    "two ids": (liar.two_ids, UNAVAILABLE),
    "two ARNs": (liar.two_names, UNAVAILABLE),
    "two lists of tags": (liar.two_lists_of_tags, UNAVAILABLE),
    "entities of entities in a DTD": (liar.laughs, UNAVAILABLE),
    "the role of that name in another account": (liar.another_account, _ANOTHER_ROLE),
    "another role id": (liar.another_id, _ANOTHER_ROLE),
    "the tag of the mesh twice": (liar.two_meshes, "403 role_tag_invalid"),
}


def rows() -> Iterator[Row]:
    """Yield the rows that share a service which believes a role for a second."""
    for kind, words in _WORDS.items():
        yield Row(
            fault=f"IAM {words}",
            promise=Promise(outcomes=(_OUTCOMES.get(kind, UNAVAILABLE),), words="known roles stay allowed"),
            play=_play(kind),
            kind=kind,
        )
    yield Row(
        fault="IAM hangs, and unknown roles keep coming",
        promise=Promise(outcomes=(UNAVAILABLE,), words=f"after {IAM_FAILURES} failures at once"),
        play=_breaker,
    )
    yield Row(
        fault="IAM denies GetRole (the policy is missing)",
        promise=Promise(outcomes=(DENIED,), within=2.0, recovery=ACCESS_DENIED_SECONDS, words="known roles too"),
        play=_denied,
        kind=FaultKind.ACCESS_DENIED,
    )


def rows_of_lies() -> Iterator[Row]:
    """Yield the rows whose IAM stands behind a liar."""
    for words, (lie, outcome) in _LIES.items():
        yield Row(
            fault=f"IAM lies: {words}",
            promise=Promise(outcomes=(outcome,), within=8.0),
            play=_lie(lie),
        )
    yield Row(
        fault="IAM lies: 64 MiB in a small gzip",
        promise=Promise(outcomes=(UNAVAILABLE,), within=8.0, words="memory stays"),
        play=_lie(liar.bomb, encoding="gzip"),
    )


def rows_of_known_roles() -> Iterator[Row]:
    """Yield the row of a service that believes a known role for some seconds more while IAM is down."""
    yield Row(
        fault=f"IAM is down for longer than KMESH_AWSIAM_ROLE_MAX_STALE ({MAX_STALE:g} s here)",
        promise=Promise(
            outcomes=("200", UNAVAILABLE), words=f"200 for {MAX_STALE:g} s, then 503; unknown roles 503 at once"
        ),
        play=_stale,
    )


def rows_of_accounts() -> Iterator[Row]:
    """Yield the rows of several accounts, with a decision timeout of 2 s."""
    yield Row(
        fault="IAM hangs in one account",
        promise=Promise(outcomes=("200",), within=1.5, words="(other accounts, also through the reader role)"),
        play=_faulty_accounts(FaultKind.HANG, OTHERS[:1], (HOME, OTHERS[1]), seconds=5.0),
    )
    yield Row(
        fault=f"IAM drips a byte a second in {len(OTHERS)} accounts, for {_STARVING_SECONDS:g} s",
        promise=Promise(outcomes=("200",), within=1.5, recovery=DEADLINE, words="(another account)"),
        play=_faulty_accounts(FaultKind.SLOW_DRIP, OTHERS, (HOME,), seconds=_STARVING_SECONDS),
    )


def rows_of_assume_role() -> Iterator[Row]:
    """Yield the rows about becoming the reader of another account."""
    yield Row(
        fault="AssumeRole of the reader is throttled",
        promise=Promise(outcomes=(THROTTLED,), within=3.0, words="the own account is decided"),
        play=_assume(FaultKind.THROTTLE, OTHERS[1]),
    )
    yield Row(
        fault="AssumeRole of the reader hangs",
        promise=Promise(outcomes=(UNAVAILABLE,), recovery=8.0, words="the own account is decided"),
        play=_assume(FaultKind.HANG, OTHERS[2]),
    )
    yield Row(
        fault="AssumeRole of the reader is denied",
        promise=Promise(
            outcomes=(DENIED,), within=3.0, recovery=ACCESS_DENIED_SECONDS, words="the own account is decided"
        ),
        play=_assume(FaultKind.ACCESS_DENIED, OTHERS[3]),
    )


def _unknown(stage: Stage, account: str = HOME) -> str:
    return stage.tasks.credential(account, stage.tasks.new_role(account))


def _recovery(stage: Stage, promise: Promise, role: str, account: str = HOME) -> float | None:
    """Return how long it took until new credentials of one role are allowed, as a sidecar tries again.

    A new role for each try would measure the queue instead: calls stay queued, and go out at ``KMESH_AWSIAM_IAM_RATE``.
    """
    return stage.recovery(lambda: stage.tasks.credential(account, role), 3 * (promise.recovery or 0))


def _play(kind: FaultKind) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        known = stage.known()
        time.sleep(ROLE_TTL)
        stage.emulator.faults.iam.inject(kind)
        seen = Seen(stage.caller.ask_all(_unknown(stage) for _ in range(_AT_ONCE)))
        answer = stage.caller.ask(known)
        seen.expect(answer.allowed, f"a known role was answered {answer.outcome}")
        seen.expect(answer.seconds < promise.within, f"a known role took {answer.seconds:.1f} s")
        stage.emulator.faults.clear()
        seen.recovered = _recovery(stage, promise, stage.tasks.new_role())
        return seen

    return play


def _breaker(stage: Stage, promise: Promise) -> Seen:
    known = stage.known()
    time.sleep(ROLE_TTL)
    stage.emulator.faults.iam.inject(FaultKind.HANG)
    # The first ones wait for IAM, those behind them in the queue; then it is open.
    roles = [stage.tasks.new_role() for _ in range(IAM_FAILURES)]
    seen = Seen(stage.caller.ask_all(stage.tasks.credential(HOME, role) for role in roles))
    at_once = stage.caller.ask_all(stage.tasks.credential(HOME, role) for role in 5 * roles)
    slow = [answer for answer in at_once if answer.seconds > _AT_ONCE_SECONDS]
    seen.expect(len(slow) <= 1, f"the breaker did not open: {len(slow)} of {len(at_once)} calls waited")
    answer = stage.caller.ask(known)
    seen.expect(answer.allowed, f"a known role was answered {answer.outcome}")
    seen.expect(answer.seconds < promise.within, f"a known role took {answer.seconds:.1f} s")
    seen.answers += at_once
    stage.emulator.faults.clear()
    seen.recovered = _recovery(stage, promise, stage.tasks.new_role())
    return seen


def _denied(stage: Stage, promise: Promise) -> Seen:
    known, role = stage.known(), stage.tasks.new_role()
    time.sleep(ROLE_TTL)
    stage.emulator.faults.iam.inject(FaultKind.ACCESS_DENIED)
    seen = Seen([stage.caller.ask(stage.tasks.credential(HOME, role)), stage.caller.ask(known)])
    before = stage.emulator.calls.count("iam")
    seen.answers.append(stage.caller.ask(stage.tasks.credential(HOME, role)))
    seen.expect(stage.emulator.calls.count("iam") == before, "IAM was asked again at once")
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(lambda: stage.tasks.credential(HOME, role), (promise.recovery or 0) + 3)
    return seen


def _lie(lie: Lie, encoding: str | None = None) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        assert stage.liar is not None
        stage.known()
        memory = stage.service.memory()
        stage.liar.lie, stage.liar.encoding = lie, encoding
        role = stage.tasks.new_role()
        seen = Seen([stage.caller.ask(stage.tasks.credential(HOME, role)) for _ in range(_AT_ONCE)])
        grown = stage.service.memory() - memory
        seen.expect(grown < _MEMORY_MB, f"memory grew by {grown:.0f} MB")
        stage.liar.lie = None
        seen.recovered = stage.recovery(lambda: stage.tasks.credential(HOME, role), 3 * (promise.recovery or 0))
        return seen

    return play


def _stale(stage: Stage, promise: Promise) -> Seen:
    known = stage.known()
    read_at = time.monotonic()
    stage.emulator.faults.iam.inject(FaultKind.INTERNAL_FAILURE)
    unknown = stage.caller.ask(_unknown(stage))
    seen = Seen([unknown])
    seen.expect(unknown.outcome == UNAVAILABLE, f"an unknown role was answered {unknown.outcome}")
    last_allowed = 0.0
    while time.monotonic() - read_at < MAX_STALE + 2 * ROLE_TTL:
        asked_at = time.monotonic() - read_at
        answer = stage.caller.ask(known)
        seen.answers.append(answer)
        if answer.allowed:
            last_allowed = asked_at
        time.sleep(0.1)
    seen.expect(MAX_STALE - ROLE_TTL < last_allowed < MAX_STALE + ROLE_TTL / 2, f"allowed until {last_allowed:.1f} s")
    seen.expect(seen.answers[-1].outcome == UNAVAILABLE, "it did not end")
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(lambda: known, 3 * (promise.recovery or 0))
    return seen


def _faulty_accounts(
    kind: FaultKind, faulty: Sequence[str], others: Sequence[str], seconds: float
) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        for account in others:
            stage.known(account)
        # The sidecars of a few roles try again and again. Calls for more roles would queue for longer than the fault.
        roles = [(account, stage.tasks.new_role(account)) for account in faulty for _ in range(_WAVE)]
        stage.emulator.faults.iam.drip_interval = 1.0
        for account in faulty:
            stage.emulator.faults.iam.inject(kind, account=account)
        seen, started = Seen(), time.monotonic()
        while time.monotonic() - started < seconds:
            answers = stage.caller.ask_all(stage.tasks.credential(*role) for role in roles)
            outcomes = {answer.outcome for answer in answers} - {UNAVAILABLE, OVERLOADED}
            seen.expect(not outcomes, f"a faulty account was answered {', '.join(outcomes)}")
            seen.answers += stage.caller.ask_all(_unknown(stage, account) for account in others)
            time.sleep(_PAUSE)
        stage.emulator.faults.clear()
        seen.recovered = _recovery(stage, promise, roles[0][1], faulty[0])
        return seen

    return play


def _assume(kind: FaultKind, account: str) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        # A service that has not yet become the reader of that account.
        stage.restart()
        stage.emulator.faults.sts.inject(kind, action="AssumeRole")
        role = stage.tasks.new_role(account)
        seen = Seen(stage.caller.ask_all(stage.tasks.credential(account, role) for _ in range(_AT_ONCE)))
        own = stage.caller.ask(_unknown(stage))
        seen.expect(own.allowed, f"the own account was answered {own.outcome}")
        stage.emulator.faults.clear()
        seen.recovered = stage.recovery(
            lambda: stage.tasks.credential(account, role), max(3 * RECOVERY, (promise.recovery or 0) + 3)
        )
        return seen

    return play
