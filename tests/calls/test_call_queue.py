"""The service owns the calls: what happens to a call when its waiting decisions leave, and to them when it ends."""

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.calls.budget import Priority
from app.calls.call_queue import CallQueue
from app.calls.limits import CallLimits
from app.calls.outcomes import MAX_RETRY_SECONDS, Failure, Settled, retry_seconds
from app.calls.upstream import Pending
from app.calls.waiting_places import WaitingPlaces
from app.core.errors import AuthenticationError, AuthError, CredentialError, UpstreamDownError, UpstreamError
from app.core.reasons import Reason
from app.decision.record import UpstreamCall
from app.store.replicas import Replicas, SharedCall
from app.store.sealing import Kind, Opened
from tests.support.ports import SharedStore, Time
from tests.support.service import until
from tests.support.upstreams import settle
from tests.support.virtual_time import run_in_virtual_time

LIMITS = CallLimits(
    rate=10.0,
    burst=1.0,
    in_flight=4,
    new_in_flight=4,
    circuit_in_flight=4,
    total_in_flight=8,
    total_new_in_flight=8,
    total_unproven_in_flight=4,
    queued=100,
    new_queued=100,
    failures_to_open=3,
)


@dataclass
class Echo:
    """An upstream that returns the payload, after a moment."""

    name: str = "X"
    unavailable: Reason = Reason.STS_UNAVAILABLE
    attempt_seconds: float = 4.0
    silence_seconds: float = 2.0
    has_verified_callers: bool = False
    seconds: float = 0.01
    error: Exception | None = None
    known: dict[str, str] = field(default_factory=dict)
    useless: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def seconds_for(self, _payload: str) -> float:
        return 8.0

    def recheck(self, payload: str) -> str | None:
        if payload in self.useless:
            raise CredentialError(Reason.CREDENTIAL_EXPIRED, "seen")
        return self.known.get(payload)

    async def call(self, payload: str, seen: UpstreamCall, deadline: float, shared: SharedCall[Any] | None) -> str:  # noqa: ARG002 - the port's
        self.asked.append(payload)
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return payload


@dataclass
class Store(SharedStore):
    """The store that replicas share, which may fail."""

    error: Exception | None = None
    claimed: list[bytes] = field(default_factory=list)

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:
        self.claimed.append(key)
        return await super().claim(kind, key, seconds)

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        if self.error is not None:
            raise self.error
        return await super().get(kind, key)


class Askers:
    """Decisions that wait for one upstream."""

    def __init__(
        self,
        upstream: Echo | None = None,
        places: WaitingPlaces | None = None,
        ask_ahead: Callable[[str], None] | None = None,
        queued: int = 100,
        store: Store | None = None,
    ) -> None:
        self.store = store
        self.upstream = upstream or Echo()
        self.queue: CallQueue[str, str] = CallQueue(
            self.upstream, replace(LIMITS, new_queued=queued), places or WaitingPlaces(), ask_ahead
        )

    def submit(self, key: str, account: str = "a") -> Pending[str, str]:
        pending = self.queue.get(key)
        if pending is None:
            priority = Priority.KNOWN if key.startswith("known") else Priority.NEW
            pending = Pending(key, key, owner=account, budget=account, circuit="host", priority=priority)
            if self.store is not None:
                replicas = Replicas(self.store, "role", patience=0.5, rate=1e6, burst=1.0)
                pending.shared = SharedCall(replicas, key.encode(), account, lambda opened: opened.payload.decode())
            self.queue.submit(pending)
        return pending

    async def ask(self, key: str, seconds: float = 10.0, account: str = "a") -> Settled[str]:
        pending = self.submit(key, account)
        deadline = asyncio.get_running_loop().time() + seconds
        return Settled(await self.queue.join(pending, UpstreamCall(), deadline), None)

    async def refused(self, key: str, seconds: float = 10.0, account: str = "a") -> AuthError:
        with pytest.raises(AuthError) as raised:
            await self.ask(key, seconds, account)
        return raised.value


def start(askers: Askers, *keys: str, seconds: float = 10.0, account: str = "a") -> list[asyncio.Task[Settled[str]]]:
    return [asyncio.create_task(askers.ask(key, seconds, account)) for key in keys]


async def test_equal_calls_at_the_same_time_are_one() -> None:
    askers = Askers()
    answers = await asyncio.gather(*start(askers, "x", "x", "y", "x"))
    assert [answer.answer for answer in answers] == ["x", "x", "y", "x"]
    assert askers.upstream.asked == ["x", "y"]
    assert askers.queue.get("x") is None


def test_an_asker_that_is_cancelled_harms_no_other_and_not_the_call() -> None:
    """I19."""

    async def scene() -> None:
        askers = Askers()
        leaving, staying = start(askers, "x", "x")
        await settle()
        leaving.cancel()
        assert (await staying).answer == "x"
        [alone] = start(askers, "y")
        await settle()
        alone.cancel()
        await asyncio.gather(alone, return_exceptions=True)
        pending = askers.queue.get("y")
        assert pending is not None
        assert (await askers.ask("y")).answer == "y"
        assert askers.upstream.asked == ["x", "y"]

    run_in_virtual_time(scene())


def test_a_turn_after_the_deadline_is_refused_at_once_and_the_call_goes_out_all_the_same() -> None:
    async def scene() -> None:
        askers, clock = Askers(), asyncio.get_running_loop().time
        waiting = start(askers, *(str(number) for number in range(30)), seconds=100.0)
        await settle()
        began = clock()
        error = await askers.refused("late", seconds=1.0)
        assert clock() == began
        assert isinstance(error, UpstreamError)
        assert error.reason is Reason.OVERLOADED
        assert error.retry_after in (3, 4)
        await asyncio.gather(*waiting)
        await asyncio.sleep(float(error.retry_after or 0) - clock())
        assert "late" in askers.upstream.asked

    run_in_virtual_time(scene())


def test_what_an_answer_makes_known_is_asked_ahead_where_no_decision_waits() -> None:
    async def scene() -> None:
        ahead: list[str] = []
        askers = Askers(ask_ahead=ahead.append)
        askers.submit("alone")
        [leaving, _] = start(askers, "left", "awaited")
        await settle()
        leaving.cancel()
        await asyncio.sleep(1.0)
        assert askers.upstream.asked == ["alone", "left", "awaited"]
        assert ahead == ["alone", "left"]
        askers.upstream.error = UpstreamError(Reason.STS_THROTTLED, "seen")
        askers.submit("throttled")
        await asyncio.sleep(1.0)
        assert ahead == ["alone", "left"]

    run_in_virtual_time(scene())


def test_a_decision_whose_place_in_the_queue_was_lost_is_told() -> None:
    async def scene() -> None:
        askers = Askers()
        mine = start(askers, *(str(number) for number in range(110)), seconds=60.0)
        await settle()
        # The first call is sent at once, and the second one waits in the queue.
        for other in start(askers, "other", "another", account="b"):
            await other
        reasons = await asyncio.gather(*mine, return_exceptions=True)
        refused = [reason for reason in reasons if isinstance(reason, UpstreamError)]
        # A hundred calls could wait beside the one in progress; one of these places was lost.
        assert len(refused) == 10
        assert {error.reason for error in refused} == {Reason.OVERLOADED}
        assert all(error.retry_after for error in refused)

    run_in_virtual_time(scene())


def test_without_a_place_to_wait_a_decision_is_refused_and_its_call_is_made() -> None:
    async def scene() -> None:
        askers = Askers(places=WaitingPlaces(3, 3))
        tasks = start(askers, *"abcde")
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, UpstreamError) for answer in answers) == 3
        await asyncio.sleep(1.0)
        assert sorted(askers.upstream.asked) == list("abcde")

    run_in_virtual_time(scene())


def test_a_decision_that_runs_out_of_time_is_overload_unless_the_upstream_is_late() -> None:
    async def scene() -> None:
        askers = Askers(Echo(seconds=6.0))
        askers.queue.order.answered("host")
        hurried, patient = start(askers, "x", seconds=1.0), start(askers, "x", seconds=5.0)
        errors = await asyncio.gather(*hurried, *patient, return_exceptions=True)
        assert [getattr(error, "reason", None) for error in errors] == [Reason.OVERLOADED, Reason.STS_UNAVAILABLE]
        assert (await askers.ask("x")).answer == "x"
        assert askers.upstream.asked == ["x"]

    run_in_virtual_time(scene())


def test_a_call_that_is_of_no_use_when_its_turn_comes_is_not_made() -> None:
    async def scene() -> None:
        askers = Askers(Echo(useless={"old"}, known={"told": "meanwhile"}))
        error = await askers.refused("old")
        assert isinstance(error, CredentialError)
        assert (await askers.ask("told")).answer == "meanwhile"
        await askers.ask("new")
        # Their rate allowance was returned, so the next call did not wait.
        assert asyncio.get_running_loop().time() == pytest.approx(askers.upstream.seconds)
        assert askers.upstream.asked == ["new"]

    run_in_virtual_time(scene())


def test_an_open_circuit_answers_at_once_and_its_calls_go_out_when_it_closes() -> None:
    async def scene() -> None:
        askers = Askers(Echo(error=UpstreamDownError(Reason.STS_UNAVAILABLE, "seen")))
        clock = asyncio.get_running_loop().time
        tasks = start(askers, *"abcdef")
        for task in tasks:
            with pytest.raises(UpstreamError) as raised:
                await task
            assert raised.value.reason is Reason.STS_UNAVAILABLE
        assert clock() < 1.0
        assert len(askers.upstream.asked) == LIMITS.failures_to_open
        askers.upstream.error = None
        await asyncio.sleep(4.0)
        assert sorted(askers.upstream.asked) == list("abcdef")

    run_in_virtual_time(scene())


@pytest.mark.parametrize("askers_of_one", [1, 3])
async def test_a_failure_leaves_nothing_for_the_garbage_collector(askers_of_one: int) -> None:
    """Otherwise a flood of forged credentials would block the event loop for tens of milliseconds per second."""
    askers = Askers(Echo(error=AuthenticationError(Reason.STS_REJECTED, "of the collector's test"), seconds=0.0))

    async def present(number: int) -> None:
        with contextlib.suppress(AuthError):
            await askers.ask(f"{number}", seconds=60.0)

    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(*(present(number) for number in range(5) for _ in range(askers_of_one)))
        askers.upstream.error = None
        await settle()
        failures = [found for found in gc.get_objects() if isinstance(found, AuthenticationError)]
        assert [failure for failure in failures if failure.detail == "of the collector's test"] == []
    finally:
        gc.enable()


async def test_a_bug_ends_one_call_and_not_the_queue() -> None:
    """Fail closed (I21): a call that stays in the queue would block its credential for ever."""
    upstream, store = Echo(), Store(Time(), error=ValueError("a bug"))
    askers = Askers(upstream, store=store)
    assert (await askers.refused("x")).reason is Reason.INTERNAL_ERROR
    store.error = None
    assert (await askers.ask("x")).answer == "x"
    upstream.error = ValueError("another one")
    assert (await askers.refused("y")).reason is Reason.INTERNAL_ERROR


async def test_a_claim_ends_with_its_call_however_that_ends() -> None:
    """Otherwise other replicas would wait for the claim."""
    upstream, store = Echo(seconds=0.0), Store(Time())
    askers = Askers(upstream, store=store)
    await askers.ask("answered")
    assert store.claimed == [b"answered"]
    upstream.error = AuthenticationError(Reason.STS_REJECTED, "seen")
    await askers.refused("denied")
    upstream.seconds = 1_000.0
    under_way = start(askers, "under way")
    await until(lambda: "under way" in upstream.asked)
    await askers.queue.close()
    await asyncio.gather(*under_way, return_exceptions=True)
    assert store.claimed == [b"answered", b"denied", b"under way"]
    assert store.claims == set()


async def test_once_it_is_closed_no_call_begins() -> None:
    askers = Askers()
    await askers.queue.close()
    assert (await askers.refused("x")).reason is Reason.OVERLOADED
    assert askers.upstream.asked == []
    assert askers.queue.get("x") is None


def test_calls_that_lose_their_places_are_told_when_their_own_account_has_places_again() -> None:
    """One after the other, at the rate of their own account, and not when the account that displaced them has room."""

    async def scene() -> None:
        askers = Askers()
        askers.queue.order.answered("host")
        long = [asyncio.create_task(askers.refused(f"{number}", 30.0)) for number in range(LIMITS.new_queued + 1)]
        await settle()
        others = start(askers, *(f"other {number}" for number in range(40)), account="b")
        await settle()
        lost = [task.result() for task in long if task.done() and "is full" in task.result().detail]
        told = [error.retry_after for error in lost if isinstance(error, UpstreamError) and error.retry_after]
        assert len(told) == len(lost) >= 30
        assert max(told) >= len(lost) / LIMITS.rate
        await asyncio.gather(*others)
        await askers.queue.close()
        await asyncio.gather(*long, return_exceptions=True)

    run_in_virtual_time(scene())


async def test_each_decision_raises_an_error_of_its_own() -> None:
    askers = Askers(Echo(error=AuthenticationError(Reason.STS_REJECTED, "seen")))
    errors = await asyncio.gather(*start(askers, "x", "x"), return_exceptions=True)
    assert [str(error) for error in errors] == ["sts_rejected: seen"] * 2
    assert errors[0] is not errors[1]


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError(Reason.OVERLOADED, "seen", retry_after=7),
        UpstreamDownError(Reason.STS_UNAVAILABLE, "seen"),
        CredentialError(Reason.CREDENTIAL_EXPIRED, "seen"),
    ],
)
def test_a_failure_keeps_all_that_an_error_says(error: AuthError) -> None:
    again = Failure.of(error).error()
    assert (type(again), again.reason, again.detail) == (type(error), error.reason, error.detail)
    assert getattr(again, "retry_after", None) == getattr(error, "retry_after", None)


@pytest.mark.parametrize(("wait", "least", "most"), [(0.0, 1, 1), (2.5, 3, 4), (100.0, 100, 105), (1e9, 300, 300)])
def test_retry_after_is_not_before_the_turn_and_spread(wait: float, least: int, most: int) -> None:
    seconds = {retry_seconds(wait) for _ in range(200)}
    assert least <= min(seconds) <= max(seconds) <= most <= MAX_RETRY_SECONDS
