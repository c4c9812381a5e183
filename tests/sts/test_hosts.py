"""Hosts of STS that hang or fail."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from app.core.caller_identity import CallerIdentity
from app.core.errors import (
    AuthError,
    OutOfTimeError,
    UpstreamDownError,
)
from app.core.forwarding import ForwardableRequest
from app.core.reasons import Reason
from app.decision.record import UpstreamCall
from app.limits.circuits import BREAKER_PAUSE_SECONDS, UNPROVEN_IN_FLIGHT
from app.settings.accounts import FixedAccounts
from app.sts import calls as sts_calls
from app.sts import upstream as sts_upstream
from app.sts.calls import STS_FAILURES, STS_NEW_IN_FLIGHT
from app.sts.endpoints import load_sts_endpoints
from tests.support.ports import Sts, Time, new_trail
from tests.support.signing import HOST
from tests.support.sts_caller import ACCOUNT, DENIALS, DOWN, ERRORS, OTHER, Caller, new_key, renewed
from tests.support.upstreams import settle
from tests.support.virtual_time import run_in_virtual_time


@pytest.fixture
def time() -> Time:
    return Time()


@dataclass
class SomeHang(Sts):
    """An STS with some hosts that never answer."""

    hanging: set[str] = field(default_factory=set)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:
        host = request.request.endpoint.host
        self.at_once[host] += 1
        self.most_at_once[host] = max(self.most_at_once[host], self.at_once[host])
        try:
            if host in self.hanging:
                await asyncio.sleep(deadline - asyncio.get_running_loop().time())
                raise UpstreamDownError(Reason.STS_UNAVAILABLE, "no answer")
            return await super().identify(request, seen, deadline)
        finally:
            self.at_once[host] -= 1


def every_host_but(host: str) -> set[str]:
    return {endpoint.host for endpoint in load_sts_endpoints() if endpoint.partition == "aws"} - {host}


@pytest.mark.parametrize("kind", ["known", "new", "another account"])
def test_hosts_that_hang_slow_no_host_that_answers(kind: str) -> None:
    """The credential names the host, so a client can name each host that cannot be reached from here."""

    async def scene() -> None:
        sts = SomeHang(hanging=every_host_but(HOST))
        assert len(sts.hanging) > 100
        caller = Caller(sts)
        await caller.ask(host=HOST)
        flood = [
            asyncio.create_task(caller.refused(new_key(), new_trail(), host=host))
            for host in sts.hanging
            for _ in range(5)
        ]
        await settle()
        recipe = {"known": renewed(0), "new": new_key(), "another account": new_key(OTHER)}[kind]
        async with asyncio.timeout(0.1):
            await caller.ask(recipe, host=HOST)
        assert max(sts.most_at_once[host] for host in sts.hanging) == UNPROVEN_IN_FLIGHT
        assert {(await task).reason for task in flood} == {Reason.STS_UNAVAILABLE}
        await caller.calls.close()

    run_in_virtual_time(scene())


def test_a_host_that_begins_to_hang_leaves_places_to_others() -> None:
    """A region that fails while many accounts call it has answered before."""

    async def scene() -> None:
        dying = "sts.eu-west-1.amazonaws.com"
        accounts = [f"{number:012}" for number in range(300_000_000_001, 300_000_000_021)]
        sts = SomeHang()
        caller = Caller(sts, accounts=FixedAccounts(frozenset({ACCOUNT, *accounts})))
        for host in (dying, HOST):
            await caller.ask(new_key(), host=host)
        sts.hanging.add(dying)
        flood = [
            asyncio.create_task(caller.refused(new_key(account), host=dying)) for account in accounts for _ in range(40)
        ]
        await settle()
        assert sts.at_once[dying] == sts_calls.STS_HOST_IN_FLIGHT
        async with asyncio.timeout(0.1):
            await asyncio.gather(*(caller.ask(new_key(), host=HOST) for _ in range(STS_NEW_IN_FLIGHT)))
        assert {(await task).reason for task in flood} == {Reason.STS_UNAVAILABLE}
        await caller.calls.close()

    run_in_virtual_time(scene())


def test_who_asks_a_host_that_hangs_is_answered_before_its_deadline() -> None:
    """The host does not answer. No caller waits until the deadline of its decision."""

    async def scene() -> None:
        sts = SomeHang(hanging={HOST})
        caller = Caller(sts)
        clock = asyncio.get_running_loop().time
        probes = [asyncio.create_task(caller.refused(renewed(number))) for number in range(2)]
        waiting = asyncio.create_task(caller.refused(renewed(2)))
        assert (await waiting).reason is Reason.STS_UNAVAILABLE
        assert clock() == pytest.approx(sts_upstream.STS_SILENCE_SECONDS)
        assert (await caller.refused(renewed(3))).reason is Reason.STS_UNAVAILABLE
        assert clock() == pytest.approx(sts_upstream.STS_SILENCE_SECONDS)
        for probe in probes:
            assert (await probe).reason is Reason.STS_UNAVAILABLE
        await caller.calls.close()

    run_in_virtual_time(scene())


async def test_who_waits_for_the_probe_of_a_host_goes_on_with_its_answer() -> None:
    """After a restart, no host has answered yet when a storm begins."""
    sts = SomeHang(released=asyncio.Event())
    caller = Caller(sts)
    storm = [asyncio.create_task(caller.ask(renewed(number))) for number in range(50)]
    await settle()
    assert sts.at_once[HOST] == UNPROVEN_IN_FLIGHT
    assert sts.released is not None
    sts.released.set()
    await asyncio.gather(*storm)
    assert sts.asked == 50


def test_a_dead_sts_is_not_asked_for_a_moment_and_then_by_probes() -> None:
    async def scene() -> None:
        sts = Sts(error=DOWN)
        caller = Caller(sts)
        for number in range(STS_FAILURES + 3):
            error = await caller.refused(renewed(number))
            assert error.reason is Reason.STS_UNAVAILABLE
        assert sts.asked == STS_FAILURES
        sts.error = None
        await asyncio.sleep(BREAKER_PAUSE_SECONDS + 0.1)
        # The calls of the refused callers were sent: first one as a probe, then the others.
        assert sts.asked == STS_FAILURES + 3
        await caller.ask(renewed(STS_FAILURES + 2))
        assert sts.asked == STS_FAILURES + 3

    run_in_virtual_time(scene())


def test_who_waits_while_sts_dies_is_told_and_asks_it_no_more() -> None:
    async def scene() -> None:
        sts = Sts()
        caller = Caller(sts, rate=20.0)
        await caller.ask()
        sts.error = DOWN
        clock = asyncio.get_running_loop().time
        began = clock()
        errors = await asyncio.gather(*(caller.refused(renewed(number)) for number in range(50)))
        assert {error.reason for error in errors} == {Reason.STS_UNAVAILABLE}
        assert sts.asked == 1 + STS_FAILURES
        assert clock() - began < 1.0
        await caller.calls.close()

    run_in_virtual_time(scene())


@pytest.mark.parametrize("error", [DENIALS[0], *ERRORS[:2]], ids=["denial", "throttling", "odd-answer"])
async def test_an_answer_of_whatever_kind_shows_that_sts_lives(error: AuthError) -> None:
    """Otherwise anybody could open the circuit breaker of STS for all callers with forged signatures."""
    caller = Caller(Sts(error=error))
    for number in range(STS_FAILURES * 3):
        assert (await caller.refused(renewed(number))).reason is error.reason
    assert caller.sts.asked == STS_FAILURES * 3


async def test_a_call_without_its_time_tells_nothing_about_sts_and_is_overload() -> None:
    """A slow event loop must neither open nor close a circuit breaker."""
    caller = Caller(Sts())
    for number in range(STS_FAILURES * 2 - 1):
        caller.sts.error = OutOfTimeError(Reason.STS_UNAVAILABLE, "seen") if number % 2 else DOWN
        reason = (await caller.refused(renewed(number))).reason
        assert reason is (Reason.OVERLOADED if number % 2 else Reason.STS_UNAVAILABLE)
    asked = caller.sts.asked
    assert (await caller.refused(renewed(50))).detail.startswith("STS is not asked")
    assert caller.sts.asked == asked
    await caller.calls.close()


def test_throttling_slows_the_account_down_and_no_other() -> None:
    async def scene() -> None:
        caller = Caller(Sts(), rate=10.0)
        await caller.ask()
        caller.sts.error = ERRORS[0]
        assert (await caller.refused(renewed(0))).reason is Reason.STS_THROTTLED
        caller.sts.error = None
        clock = asyncio.get_running_loop().time
        began = clock()
        await caller.ask(renewed(1))
        await caller.ask(renewed(2))
        assert clock() - began == pytest.approx(0.3, abs=0.05)
        began = clock()
        caller.sts.account = OTHER
        await caller.ask(new_key(OTHER))
        assert clock() == began

    run_in_virtual_time(scene())


async def test_a_bug_in_a_call_is_an_internal_error_and_the_queue_goes_on() -> None:
    """I21."""

    class Broken(Sts):
        async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:
            if self.asked == 0:
                self.asked += 1
                raise ZeroDivisionError
            return await super().identify(request, seen, deadline)

    caller = Caller(Broken())
    assert (await caller.refused()).reason is Reason.INTERNAL_ERROR
    await caller.ask()
