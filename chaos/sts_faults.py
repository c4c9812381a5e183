"""STS misbehaves: hangs, breaks off, refuses, throttles, lies, is flooded, or is not there."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from app.calls.waiting_places import MAX_WAITING
from app.emulator import FaultKind
from app.emulator.fault_kinds import LIES
from app.sts.calls import STS_FAILURES
from app.sts.upstream import STS_CALL_SECONDS
from chaos.aws import HOME, OTHERS
from chaos.row import DEADLINE, Promise, Row, Seen
from chaos.stage import Stage

UNAVAILABLE: Final = "503 sts_unavailable"
THROTTLED: Final = "503 sts_throttled"
OVERLOADED: Final = "503 overloaded"
_ACTION: Final = "GetCallerIdentity"
# Fewer than open the breaker, so that each row finds it closed.
_AT_ONCE: Final = 3
_AT_ONCE_SECONDS: Final = 0.5
# More than two thirds, which may wait for one account; all have one account.
_STORM: Final = MAX_WAITING * 2 // 3 + 300
# The deadline, and what so many connections take at both ends.
_STORM_SECONDS: Final = DEADLINE + 3
_LATENT: Final = 3.0
_FLOOD: Final = 2_400
_LATENCY: Final = 1.0
# What orchestrators give a probe by default (ECS: 5 s).
_PROBE_SECONDS: Final = 5.0
_MEMORY_MB: Final = 30.0
# A waiting decision takes some 20 KiB, and its connection a few more.
_STORM_MEMORY_MB: Final = _STORM * 25 * 1024 / 1e6
_TASK: Final = 400

_OUTCOMES: Final = {
    FaultKind.THROTTLE: THROTTLED,
    FaultKind.ACCESS_DENIED: "503 sts_access_denied",
}
_SLOW: Final = frozenset({FaultKind.HANG, FaultKind.SLOW_DRIP})
_WORDS: Final = {
    FaultKind.THROTTLE: "throttled with 400 Throttling",
    FaultKind.INTERNAL_FAILURE: "500",
    FaultKind.SERVICE_UNAVAILABLE: "503",
    FaultKind.ACCESS_DENIED: "403 AccessDenied (a VPC endpoint's policy)",
    FaultKind.UNKNOWN_CODE: "400 with a code that nobody knows",
    FaultKind.REDIRECT: "302 to another host",
    FaultKind.HANG: "hangs",
    FaultKind.SLOW_DRIP: "drips, a byte at a time",
    FaultKind.CUT_OFF: "breaks off in the middle",
    FaultKind.RESET: "resets the connection",
    FaultKind.WRONG_CONTENT_TYPE: "another content type",
    FaultKind.OVERSIZE_BODY: "a mebibyte too much",
    FaultKind.TRUNCATED: "half a document",
    FaultKind.DTD: "a DTD",
    FaultKind.TWO_DOCUMENTS: "two documents",
    FaultKind.FORGED_ACTION: "another action's answer, one about an administrator inside",
    FaultKind.ACCOUNT_MISMATCH: "an account that is not the ARN's",
    FaultKind.SESSION_MISMATCH: "a session that is not the ARN's",
    FaultKind.OTHER_PARTITION: "an ARN of another partition",
    FaultKind.DUPLICATE_ACCOUNT: "two accounts",
    FaultKind.GZIP_BOMB: "64 MiB in a small gzip",
}


def rows() -> Iterator[Row]:
    """Yield the rows that share one service."""
    for kind in FaultKind:
        promise = Promise(
            outcomes=(_OUTCOMES.get(kind, UNAVAILABLE),),
            within=DEADLINE if kind in _SLOW else 2.0,
            words="known credentials stay allowed",
        )
        fault = f"STS {'lies: ' if kind in LIES else ''}{_WORDS[kind]}"
        yield Row(fault=fault, promise=promise, play=_play(kind), kind=kind)
    yield Row(
        fault=f"STS takes {_LATENT:g} s for every answer",
        promise=Promise(outcomes=("200",), within=_LATENT + 1, words="slow is not down"),
        play=_slow,
    )
    yield Row(
        fault="STS hangs, and proxies keep coming",
        promise=Promise(outcomes=(UNAVAILABLE,), words=f"after {STS_FAILURES} failures at once, and without a call"),
        play=_breaker,
    )
    yield Row(
        fault=f"STS hangs, and {_STORM:,} proxies come at once",
        promise=Promise(
            outcomes=(UNAVAILABLE, OVERLOADED),
            within=_STORM_SECONDS,
            words="beyond the queue at once; /healthy answers",
        ),
        play=_storm,
    )
    yield Row(
        fault="an account's STS quota is used up (20 calls/s)",
        promise=Promise(outcomes=("200", THROTTLED), within=3.0, words="nobody is denied for it"),
        play=_quota,
    )
    yield Row(
        fault="STS answers one account 400 with a code that nobody knows, again and again",
        promise=Promise(outcomes=("200",), within=2.0, words="(other accounts)"),
        play=_hostile_refusals,
    )
    yield Row(
        fault=f"{_FLOOD:,} forged signatures with one real key id, while STS takes {_LATENCY:g} s",
        promise=Promise(outcomes=("200",), within=3.0, words="(another account)"),
        play=_hostile_key,
    )


def _play(kind: FaultKind) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        known = stage.known()
        memory = stage.service.memory()
        stage.emulator.faults.sts.inject(kind, action=_ACTION)
        seen = Seen(stage.caller.ask_all(stage.tasks.credential() for _ in range(_AT_ONCE)))
        _expect_known(stage, known, seen)
        seen.expect(stage.service.memory() - memory < _MEMORY_MB, "memory grew")
        stage.emulator.faults.clear()
        seen.recovered = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
        return seen

    return play


def _slow(stage: Stage, promise: Promise) -> Seen:
    stage.emulator.faults.sts.latency = _LATENT
    seen = Seen(stage.caller.ask_all(stage.tasks.credential() for _ in range(2 * STS_FAILURES)))
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
    return seen


def _breaker(stage: Stage, promise: Promise) -> Seen:
    known = stage.known()
    faults, calls = stage.emulator.faults.sts, stage.emulator.calls
    faults.inject(FaultKind.HANG, action=_ACTION)
    seen = Seen(stage.caller.ask_all(stage.tasks.credential() for _ in range(STS_FAILURES)))
    before = calls.count("sts", _ACTION)
    at_once = stage.caller.ask_all(stage.tasks.credential() for _ in range(20))
    seen.expect(max(answer.seconds for answer in at_once) < _AT_ONCE_SECONDS, "the breaker did not open")
    seen.expect(calls.count("sts", _ACTION) == before, "STS was asked while the breaker was open")
    seen.answers += at_once
    _expect_known(stage, known, seen)
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
    return seen


def _storm(stage: Stage, promise: Promise) -> Seen:
    credentials = _of_vouched_keys(stage, HOME, _STORM)
    late = _of_vouched_keys(stage, HOME, _AT_ONCE)
    memory, without_core = stage.service.memory(), stage.service.without_core()
    stage.emulator.faults.sts.inject(FaultKind.HANG, action=_ACTION)
    with stage.probing() as probe, ThreadPoolExecutor(1) as threads:
        storm = threads.submit(stage.caller.storm, credentials)
        # Afterwards the first calls fail, and who waits or comes is told `sts_unavailable`, rightly.
        filled = stage.service.poll(lambda: stage.service.in_flight() > MAX_WAITING * 2 // 3, STS_CALL_SECONDS)
        turned_away = [stage.caller.ask(credential) for credential in late]
        seen = Seen([*storm.result(), *turned_away])
    seen.without_core = stage.service.without_core() - without_core
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
    seen.expect(probe.slowest < _PROBE_SECONDS + seen.without_core, f"/healthy took {probe.slowest:.1f} s")
    outcomes = {answer.outcome for answer in turned_away}
    # On a machine that is too busy for the storm, STS is known to fail before all places are taken.
    is_too_busy = filled is None and seen.without_core > STS_CALL_SECONDS / 2
    reason = UNAVAILABLE if is_too_busy else OVERLOADED
    seen.expect(outcomes == {reason}, f"calls beyond the queue were answered {', '.join(sorted(outcomes))}")
    at_once = _AT_ONCE_SECONDS + seen.without_core
    seen.expect(max(answer.seconds for answer in turned_away) < at_once, "they were not turned away quickly")
    grown = stage.service.memory() - memory
    seen.expect(grown < _STORM_MEMORY_MB, f"memory grew by {grown:.0f} MB")
    return seen


def _quota(stage: Stage, promise: Promise) -> Seen:
    stage.emulator.faults.sts.rate = 20
    seen = Seen(stage.caller.ask_all(stage.tasks.credential() for _ in range(60)))
    outcomes = {answer.outcome for answer in seen.answers}
    seen.expect(outcomes == {"200", THROTTLED}, "the quota was not reached, or nobody got in")
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
    return seen


def _hostile_refusals(stage: Stage, promise: Promise) -> Seen:
    seen = Seen()
    stage.emulator.faults.sts.inject(FaultKind.UNKNOWN_CODE, account=OTHERS[0], action=_ACTION)
    for _ in range(2):
        hostile = [stage.caller.ask(stage.tasks.credential(OTHERS[0])) for _ in range(STS_FAILURES)]
        seen.expect({answer.outcome for answer in hostile} == {UNAVAILABLE}, "the unknown code was taken for an answer")
        seen.answers.append(stage.caller.ask(stage.tasks.credential()))
    stage.emulator.faults.clear()
    seen.recovered = stage.recovery(lambda: stage.tasks.credential(OTHERS[0]), 3 * (promise.recovery or 0))
    return seen


def _hostile_key(stage: Stage, promise: Promise) -> Seen:
    others = _of_vouched_keys(stage, OTHERS[0], 3)
    attacker = next(stage.tasks.credentials_of_one_task(HOME, "demo-app", 1))
    stage.caller.ask(attacker)
    forged = list(stage.tasks.forgeries(attacker, _FLOOD))
    stage.emulator.faults.sts.latency = _LATENCY
    with ThreadPoolExecutor(1) as threads:
        flood = threads.submit(stage.caller.storm, forged)
        time.sleep(1.5)
        seen = Seen([stage.caller.ask(credential) for credential in others])
        stage.emulator.faults.clear()
        approved = sum(answer.allowed for answer in flood.result())
    seen.expect(not approved, "A FORGED SIGNATURE WAS APPROVED")
    seen.recovered = stage.recovery(lambda: stage.tasks.credential(OTHERS[0]), 3 * (promise.recovery or 0))
    return seen


def _expect_known(stage: Stage, known: str, seen: Seen) -> None:
    answer = stage.caller.ask(known)
    seen.expect(answer.allowed, f"a known credential was answered {answer.outcome}")
    seen.expect(answer.seconds < _AT_ONCE_SECONDS, f"a known credential took {answer.seconds:.1f} s")


def _of_vouched_keys(stage: Stage, account: str, number: int) -> list[str]:
    """Make unseen credentials with keys that STS has vouched for: those have a lane of their own."""
    fresh: list[str] = []
    while len(fresh) < number:
        first, *rest = stage.tasks.credentials_of_one_task(account, "demo-app", _TASK)
        stage.caller.ask(first)
        fresh += rest
    return fresh[:number]
