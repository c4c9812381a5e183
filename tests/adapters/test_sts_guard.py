"""What stands between the identity cache and STS: budgets, fairness between accounts, and the breaker."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from app.adapters.sts_guard import GuardedIdentities

from app.adapters import breaker, host_bulkhead, sts_guard
from app.adapters.accounts import FixedAccounts
from app.adapters.sts_endpoints import load_sts_endpoints
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.emulator.identities import new_access_key_id
from app.errors import AuthenticationError, AuthError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.reasons import Reason
from app.trail import Trail
from tests.support.signing import HOST, NOW, Recipe, endpoint_of, judge
from tests.support.upstreams import ACCOUNT, Upstream, settle, trail

OTHER = "444455556666"
LISTED = FixedAccounts(frozenset({ACCOUNT, OTHER}))
KEY = new_access_key_id("ASIA", ACCOUNT)
OTHER_KEY = new_access_key_id("ASIA", OTHER)
# Of the kind of before 2019, which names no account.
OLD_KEY = "ASIAIEXAMPLEEXAMPLE2"
UNAVAILABLE = UpstreamDownError(Reason.STS_UNAVAILABLE, "seen")


def forwardable(key_id: str = KEY) -> ForwardableRequest:
    validated = judge(Recipe(form=CredentialForm.NATIVE, access_key_id=key_id).credential())
    return require_fresh(validated, NOW)


def guard(upstream: Upstream, **given: Any) -> GuardedIdentities:
    options: dict[str, Any] = {"accounts": LISTED, "rate": 1e6} | given
    return GuardedIdentities(upstream, **options)


async def flood(identities: GuardedIdentities, keys: list[str]) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(identities.identify(forwardable(key), trail())) for key in keys]
    await settle()
    return tasks


async def end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def refused(identities: GuardedIdentities, key: str = KEY, seconds: float = 60.0) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await identities.identify(forwardable(key), trail(seconds))
    return raised.value


async def test_keys_that_sts_never_vouched_for_share_half_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of made-up keys holds up no known key, whatever accounts it names."""
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_UNVOUCHED", 2)
    upstream = Upstream()
    identities = guard(upstream)
    await identities.identify(forwardable(), trail())
    upstream.waits = True
    forged = await flood(identities, [new_access_key_id("ASIA", account) for account in (ACCOUNT, OTHER) * 5])
    assert upstream.at_once == 2
    known = await flood(identities, [KEY])
    assert upstream.at_once == 3
    upstream.released.set()
    await asyncio.gather(*known, *forged)
    assert upstream.most_at_once == 3


async def test_the_key_of_a_strangers_account_is_never_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """STS vouches for anybody's role; only those of listed accounts earn the other places."""
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_UNVOUCHED", 1)
    upstream = Upstream(account="999900001111")
    identities = guard(upstream)
    await identities.identify(forwardable(), trail())
    upstream.waits = True
    tasks = await flood(identities, [KEY] * 5)
    assert upstream.at_once == 1
    upstream.released.set()
    await asyncio.gather(*tasks)


async def test_a_real_key_fills_no_more_than_its_accounts_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_PER_ACCOUNT", 2)
    upstream = Upstream()
    identities = guard(upstream)
    await identities.identify(forwardable(KEY), trail())
    upstream.waits = True
    hostile = await flood(identities, [KEY] * 50)
    assert upstream.at_once == 2
    other = await flood(identities, [OTHER_KEY])
    assert upstream.at_once == 3
    await end([*hostile, *other])


async def test_a_real_key_spends_no_more_than_its_accounts_budget() -> None:
    upstream = Upstream()
    identities = guard(upstream, rate=0.01, timer=lambda: 0.0)
    await identities.identify(forwardable(KEY), trail())
    error = await refused(identities)
    assert error.reason is Reason.OVERLOADED
    assert error.retry_after == 30
    await identities.identify(forwardable(OTHER_KEY), trail())
    assert upstream.asked == 2


async def test_forged_keys_of_an_account_leave_a_part_of_its_budget_to_known_ones() -> None:
    """They go through a lane of their own first, which takes a part at most."""
    upstream = Upstream()
    identities = guard(upstream, rate=10, timer=lambda: 0.0)
    await identities.identify(forwardable(), trail())
    upstream.error = AuthenticationError(Reason.STS_REJECTED, "seen")
    for _ in range(3):
        error = await refused(identities, new_access_key_id("ASIA", ACCOUNT), seconds=0.05)
        assert error.reason is Reason.OVERLOADED
    upstream.error = None
    # The next turn of the account is the one behind the first call, not behind all that were made up.
    assert upstream.asked == 1
    error = await refused(identities, KEY, seconds=0.05)
    assert "0.1 s" in error.detail


@pytest.mark.parametrize(
    "key", ["ASIAIEXAMPLEEXAMPLE3", new_access_key_id("ASIA", "999900001111")], ids=["old", "stranger"]
)
async def test_ids_that_name_no_listed_account_share_one_budget(key: str) -> None:
    upstream = Upstream()
    identities = guard(upstream, rate=1, timer=lambda: 0.0)
    await identities.identify(forwardable(OLD_KEY), trail())
    assert (await refused(identities, key, seconds=0.5)).reason is Reason.OVERLOADED
    await identities.identify(forwardable(KEY), trail())
    assert upstream.asked == 2


async def test_an_old_key_that_sts_has_vouched_for_takes_its_accounts_budget() -> None:
    """Once STS has told the account it is no hint any more."""
    upstream = Upstream()
    identities = guard(upstream, rate=0.01, timer=lambda: 0.0)
    await identities.identify(forwardable(OLD_KEY), trail())
    await identities.identify(forwardable(OLD_KEY), trail())
    assert upstream.asked == 2
    assert (await refused(identities, OLD_KEY)).reason is Reason.OVERLOADED


async def test_a_full_queue_towards_sts_is_overload_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_PER_ACCOUNT", 1)
    monkeypatch.setattr(sts_guard, "STS_QUEUE", 1)
    upstream = Upstream()
    identities = guard(upstream)
    await identities.identify(forwardable(), trail())
    upstream.waits = True
    tasks = await flood(identities, [KEY] * 2)
    assert (await refused(identities)).reason is Reason.OVERLOADED
    upstream.released.set()
    await asyncio.gather(*tasks)
    assert upstream.asked == 3


# Hosts of STS that hang, each until its deadline.


@dataclass
class SomeHang(Upstream):
    """An STS some of whose hosts never answer."""

    hanging: set[str] = field(default_factory=set)
    hung_at_once: Counter[str] = field(default_factory=Counter)

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        host = request.request.endpoint.host
        if host in self.hanging:
            self.hung_at_once[host] += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.hung_at_once[host] -= 1
        return await super().identify(request, trail)


def at_host(host: str, key_id: str) -> ForwardableRequest:
    request = forwardable(key_id)
    return replace(request, request=replace(request.request, endpoint=endpoint_of(host)))


def every_host() -> list[str]:
    return [endpoint.host for endpoint in load_sts_endpoints() if endpoint.partition == "aws"]


def some_hang(reachable: str) -> SomeHang:
    hanging = set(every_host()) - {reachable}
    assert len(hanging) > sts_guard.STS_AT_ONCE_UNVOUCHED
    return SomeHang(hanging=hanging)


@pytest.mark.parametrize("key", ["known", "new", "another account's"])
async def test_hosts_that_hang_slow_no_host_that_answers(key: str) -> None:
    """The credential names the host, so anybody can name all that cannot be reached from here."""
    upstream = some_hang(HOST)
    identities = guard(upstream)
    await identities.identify(forwardable(KEY), trail())
    flood = [
        asyncio.create_task(identities.identify(at_host(host, new_access_key_id("ASIA", ACCOUNT)), trail(5)))
        for host in upstream.hanging
        for _ in range(5)
    ]
    await settle()
    keys = {"known": KEY, "new": new_access_key_id("ASIA", ACCOUNT), "another account's": OTHER_KEY}
    async with asyncio.timeout(1.0):
        await identities.identify(at_host(HOST, keys[key]), trail())
    assert max(upstream.hung_at_once.values()) <= host_bulkhead.PROBES_AT_ONCE
    await end(flood)


async def test_who_asks_a_host_that_hangs_is_answered_before_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Honestly: that host does not answer. It holds up nobody until the end of each decision."""
    monkeypatch.setattr(host_bulkhead, "PROBE_SECONDS", 0.05)
    upstream = some_hang(HOST)
    identities = guard(upstream)
    host = min(upstream.hanging)
    probes = [asyncio.create_task(identities.identify(at_host(host, KEY), trail())) for _ in range(2)]
    await settle()
    async with asyncio.timeout(5):
        with pytest.raises(UpstreamError) as raised:
            await identities.identify(at_host(host, OTHER_KEY), trail())
    assert raised.value.reason is Reason.STS_UNAVAILABLE
    await end(probes)


async def test_who_waits_for_the_probe_of_a_host_goes_on_with_its_answer() -> None:
    """A storm after a restart finds no host that has answered yet."""
    upstream = Upstream(waits=True)
    identities = guard(upstream)
    storm = await flood(identities, [KEY] * 50)
    assert upstream.at_once == host_bulkhead.PROBES_AT_ONCE
    upstream.released.set()
    await asyncio.gather(*storm)
    assert upstream.asked == 50


async def test_hosts_that_begin_to_hang_do_not_hold_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that dies while many accounts call it has answered before."""
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_UNVOUCHED", 2)
    monkeypatch.setattr(sts_guard, "SLOW_SECONDS", 0.02)
    upstream = SomeHang()
    identities = guard(upstream)
    dying, alive = "sts.eu-west-1.amazonaws.com", HOST
    for host in (dying, alive):
        await identities.identify(at_host(host, OLD_KEY), trail())
    upstream.hanging.add(dying)
    keys = [new_access_key_id("ASIA", account) for account in (ACCOUNT, OTHER)]
    hung = [asyncio.create_task(identities.identify(at_host(dying, key), trail())) for key in keys]
    await settle()
    async with asyncio.timeout(5):
        await identities.identify(at_host(alive, new_access_key_id("ASIA", ACCOUNT)), trail())
    await end(hung)
    # Whatever came of them, each place was given back once.
    again = [asyncio.create_task(identities.identify(at_host(alive, key), trail())) for key in keys * 3]
    upstream.waits = True
    await settle()
    upstream.released.set()
    await asyncio.gather(*again)
    assert upstream.most_at_once <= 2


async def test_calls_of_many_accounts_take_turns_at_the_places_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One account's queue in many regions delays another account's call by one call."""
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_UNVOUCHED", 1)
    upstream = Upstream()
    identities = guard(upstream)
    await identities.identify(forwardable(OLD_KEY), trail())
    upstream.waits = True
    await flood(identities, [new_access_key_id("ASIA", ACCOUNT) for _ in range(40)])
    [other] = await flood(identities, [OTHER_KEY])
    upstream.released.set()
    await other
    assert upstream.asked <= 5


async def test_throttling_slows_the_account_down_and_no_other() -> None:
    upstream = Upstream()
    identities = guard(upstream, rate=10, timer=lambda: 0.0)
    await identities.identify(forwardable(), trail())
    upstream.error = UpstreamError(Reason.STS_THROTTLED, "seen")
    error = await refused(identities)
    assert error.reason is Reason.STS_THROTTLED
    upstream.error = None
    assert "0.2 s" in (await refused(identities, seconds=0.15)).detail
    await identities.identify(forwardable(OTHER_KEY), trail())


async def test_a_dead_sts_is_not_asked_for_a_moment_and_then_once() -> None:
    seconds = [0.0]
    upstream = Upstream(error=UNAVAILABLE)
    identities = guard(upstream, timer=lambda: seconds[0])
    for _ in range(breaker.BREAKER_FAILURES + 3):
        assert (await refused(identities)).reason is Reason.STS_UNAVAILABLE
    assert upstream.asked == breaker.BREAKER_FAILURES
    seconds[0] += breaker.BREAKER_PAUSE_SECONDS
    upstream.error = None
    await identities.identify(forwardable(), trail())
    await identities.identify(forwardable(), trail())
    assert upstream.asked == breaker.BREAKER_FAILURES + 2


async def test_who_waits_while_sts_dies_is_answered_and_asks_it_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_PER_ACCOUNT", breaker.BREAKER_FAILURES)
    upstream = Upstream()
    identities = guard(upstream, timer=lambda: 0.0)
    await identities.identify(forwardable(), trail())
    upstream.error, upstream.waits = UNAVAILABLE, True
    tasks = await flood(identities, [KEY] * 50)
    upstream.released.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in errors} <= {UpstreamDownError, UpstreamError}
    assert upstream.asked == 1 + breaker.BREAKER_FAILURES


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(Reason.STS_REJECTED, "seen"),
        UpstreamError(Reason.STS_THROTTLED, "seen"),
        UpstreamError(Reason.STS_UNAVAILABLE, "seen"),
    ],
    ids=["denial", "throttling", "odd-answer"],
)
async def test_an_answer_of_whatever_kind_shows_that_sts_lives(error: AuthError) -> None:
    """Else anybody could close the way to STS for everybody with forged signatures."""
    upstream = Upstream(error=error)
    identities = guard(upstream)
    for _ in range(breaker.BREAKER_FAILURES * 3):
        with pytest.raises(AuthError) as raised:
            await identities.identify(forwardable(), trail())
        assert raised.value is error
    assert upstream.asked == breaker.BREAKER_FAILURES * 3


async def test_a_decision_whose_time_was_over_tells_nothing_about_sts() -> None:
    """Neither that it lives nor that it is dead: a queue must not open or close the way."""
    upstream = Upstream(error=UNAVAILABLE)
    identities = guard(upstream, timer=lambda: 0.0)
    for number in range(breaker.BREAKER_FAILURES * 2):
        out_of_time = OutOfTimeError(Reason.STS_UNAVAILABLE, "seen")
        upstream.error = UNAVAILABLE if number % 2 else out_of_time
        await refused(identities)
    asked = upstream.asked
    assert (await refused(identities)).detail.startswith("STS is not asked")
    assert upstream.asked == asked


async def test_those_who_name_no_listed_account_cannot_take_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_guard, "STS_AT_ONCE_PER_ACCOUNT", 1)
    monkeypatch.setattr(sts_guard, "STS_QUEUE_OF_OTHERS", 2)
    upstream = Upstream()
    identities = guard(upstream)
    await identities.identify(forwardable(), trail())
    upstream.waits = True
    tasks = await flood(identities, [f"ASIAIEXAMPLEEXAMPLE{letter}" for letter in "ABC"])
    assert (await refused(identities, "ASIAIEXAMPLEEXAMPLED")).reason is Reason.OVERLOADED
    listed = await flood(identities, [KEY] * 5)
    assert not any(task.done() for task in listed)
    await end([*tasks, *listed])
