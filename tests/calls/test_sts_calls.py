"""What STS is asked, what is remembered of its answers, for how long, and for whom."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from app.adapters.accounts import FixedAccounts
from app.adapters.known_credentials import KnownCredentials
from app.adapters.known_keys import KnownKeys
from app.adapters.sts_endpoints import load_sts_endpoints
from app.calls import allowance, sts_calls, sts_upstream
from app.calls.circuits import BREAKER_PAUSE_SECONDS, UNPROVEN_IN_FLIGHT
from app.calls.sts_calls import STS_FAILURES, STS_NEW_IN_FLIGHT
from app.calls.sts_upstream import request_digest
from app.core.caller_identity import CallerIdentity
from app.core.forwarding import ForwardableRequest, ValidatedRequest
from app.core.known_credential import KnownCredential
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.emulator.identities import new_access_key_id
from app.errors import (
    AuthenticationError,
    AuthError,
    CredentialError,
    OutOfTimeError,
    UpstreamDownError,
    UpstreamError,
)
from app.reasons import Reason
from app.sealing import Kind, Opened
from app.trail import Trail
from tests.support.introductions import new_introductions
from tests.support.ports import SharedStore, Sts, Time, new_trail
from tests.support.signing import FORMS, HOST, NOW, Recipe, endpoint_of, judge, make_policy
from tests.support.upstreams import settle
from tests.support.virtual_time import run_in_virtual_time

LIFETIME = 900.0
ACCOUNT, OTHER, STRANGER = "111122223333", "444455556666", "999900001111"
LISTED = FixedAccounts(frozenset({ACCOUNT, OTHER}))
RECIPE = Recipe(form=CredentialForm.NATIVE, access_key_id=new_access_key_id("ASIA", ACCOUNT))
DOWN = UpstreamDownError(Reason.STS_UNAVAILABLE, "seen")


class Caller:
    """Presents credentials to the calls to one STS, and counts from the moment of signing."""

    def __init__(self, sts: Any, time: Time | None = None, accounts: Any = LISTED, **options: Any) -> None:
        self.time = time or Time()
        self.sts = sts
        self.judged = 0
        self.known = KnownCredentials(self.time.clock, self.time.timer)
        self.keys = KnownKeys(accounts, self.time.timer)
        self.calls = new_introductions(
            sts, self.known, accounts, self.time.clock, timer=self.time.timer, keys=self.keys, **options
        )

    async def ask(
        self, recipe: Recipe = RECIPE, trail: Trail | None = None, *, host: str | None = None, text: str | None = None
    ) -> KnownCredential:
        """Find out about a credential, as `app.authenticator` does."""
        text = text or recipe.credential()
        # The endpoint of the signature decides; a test may name another one for the same text.
        key = self.known.key_of(f"{text}{host}")
        found = self.known.recall(key)
        if found is not None:
            return found

        def judged() -> ForwardableRequest:
            self.judged += 1
            request = judge(text)
            return require_fresh(
                request if host is None else replace(request, endpoint=endpoint_of(host)), self.time.clock()
            )

        return await self.calls.introduce(key, text, judged, trail or new_trail())

    async def refused(self, recipe: Recipe = RECIPE, trail: Trail | None = None, **more: Any) -> AuthError:
        with pytest.raises(AuthError) as raised:
            await self.ask(recipe, trail, **more)
        return raised.value


def renewed(number: int, recipe: Recipe = RECIPE) -> Recipe:
    """Return another credential of the same key."""
    return replace(recipe, expires=899 - number)


def new_key(account: str = ACCOUNT) -> Recipe:
    return replace(RECIPE, access_key_id=new_access_key_id("ASIA", account))


@pytest.fixture
def time() -> Time:
    return Time()


# The key of an identity (I16).

BASE = judge(Recipe(form=CredentialForm.PLAIN_ENVELOPE).credential())
HEADERS = BASE.headers
OTHER_PARTS: dict[str, ValidatedRequest] = {
    "form": replace(BASE, form=CredentialForm.ENVELOPE),
    "method": replace(BASE, method="GET"),
    "host": replace(BASE, endpoint=endpoint_of("sts.eu-west-1.amazonaws.com")),
    "target": replace(BASE, target="/?x"),
    "body": replace(BASE, body=BASE.body + b"&"),
    "one-header-less": replace(BASE, headers=HEADERS[:-1]),
    "one-header-more": replace(BASE, headers=(*HEADERS, ("x", "y"))),
    "headers-in-another-order": replace(BASE, headers=HEADERS[::-1]),
    "a-byte-moved-from-name-to-value": replace(
        BASE, headers=(*HEADERS[:-1], (HEADERS[-1][0][:-1], HEADERS[-1][0][-1] + HEADERS[-1][1]))
    ),
    "a-byte-moved-from-target-to-host": replace(
        BASE, target="m/", endpoint=replace(BASE.endpoint, host=BASE.endpoint.host.removesuffix("m"))
    ),
    "a-header-moved-to-the-body": replace(
        BASE, headers=HEADERS[:-1], body=HEADERS[-1][0].encode() + HEADERS[-1][1].encode() + BASE.body
    ),
    **{
        f"value-of-{name.lower()}": replace(
            BASE, headers=tuple((key, text + "x" if key == name else text) for key, text in HEADERS)
        )
        for name, _ in HEADERS
    },
    **{
        f"name-{name.lower()}": replace(
            BASE, headers=tuple((key + "x" if key == name else key, text) for key, text in HEADERS)
        )
        for name, _ in HEADERS
    },
}


@pytest.mark.parametrize("part", OTHER_PARTS)
def test_another_request_has_another_digest(part: str) -> None:
    assert request_digest(OTHER_PARTS[part]) != request_digest(BASE)


def test_no_two_requests_share_a_digest() -> None:
    requests = [BASE, *OTHER_PARTS.values()]
    assert len({request_digest(request) for request in requests}) == len(requests)


def test_the_same_request_has_the_same_digest() -> None:
    again = judge(Recipe(form=CredentialForm.PLAIN_ENVELOPE).credential())
    assert again is not BASE
    assert request_digest(again) == request_digest(BASE)


def test_no_two_forms_share_a_digest() -> None:
    """The same URL in native dress and in a JWT's is two credentials."""
    digests = [request_digest(judge(Recipe(form=form).credential())) for form in FORMS]
    assert len(set(digests)) == len(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_no_two_audiences_share_a_digest(form: CredentialForm) -> None:
    """CVE-2026-19202: a token cache that did not know the audience."""
    recipes = [Recipe(form=form, audience=audience) for audience in ("prod", "test")]
    requests = [judge(recipe.credential(), make_policy(audience=recipe.audience or "")) for recipe in recipes]
    digests = [request_digest(request) for request in requests]
    assert digests[0] != digests[1]


def test_a_presigned_url_that_is_judged_for_two_audiences_has_two_digests() -> None:
    """The URL does not hold its audience; the service's own goes into the request, and so into the key."""
    credential = Recipe(form=CredentialForm.NATIVE).credential()
    requests = [judge(credential, make_policy(audience=audience)) for audience in ("prod", "test")]
    assert request_digest(requests[0]) != request_digest(requests[1])


def test_an_unbound_credential_shares_no_digest_with_a_bound_one() -> None:
    policy = make_policy(allow_unbound=True)
    recipes = [Recipe(form=CredentialForm.NATIVE, audience=audience) for audience in ("kuma-control-plane", None)]
    digests = [request_digest(judge(recipe.credential(), policy)) for recipe in recipes]
    assert digests[0] != digests[1]


# Who signed.


async def test_one_credential_costs_one_call(time: Time) -> None:
    sts = Sts()
    caller = Caller(sts, time)
    trails = [new_trail() for _ in range(5)]
    answers = await asyncio.gather(*(caller.ask(trail=trail) for trail in trails))
    assert all(answer is answers[0] for answer in answers)
    await caller.ask()
    assert sts.asked == 1
    assert [trail.sts.cache for trail in trails] == ["miss"] + ["coalesced"] * 4
    assert {trail.sts.request_id for trail in trails} == {"sts-1"}
    # What the local rules saw of the first one is written down for all (audit line).
    assert {trail.form for trail in trails[1:]} == {CredentialForm.NATIVE}


async def test_each_credential_is_asked_about_by_itself() -> None:
    """I16, I19."""
    sts = Sts()
    caller = Caller(sts)
    recipes = [
        *(Recipe(form=form) for form in FORMS),
        replace(RECIPE, expires=899),
        replace(RECIPE, secret_key="another"),
        replace(RECIPE, token="another"),
        replace(RECIPE, access_key_id="ASIAEXAMPLEEXAMPLE02"),
        replace(RECIPE, now=NOW - timedelta(seconds=1)),
    ]
    answers = await asyncio.gather(*(caller.ask(recipe) for recipe in recipes))
    assert sts.asked == len(recipes)
    assert len({answer.principal.request_id for answer in answers}) == len(recipes)


@pytest.mark.parametrize(
    ("form", "expires", "lifetime"),
    [
        (CredentialForm.NATIVE, 900, LIFETIME),
        (CredentialForm.NATIVE, 60, 60.0),
        (CredentialForm.EKS, 60, LIFETIME),
        (CredentialForm.ENVELOPE, None, LIFETIME),
    ],
)
async def test_an_identity_is_forgotten_when_its_signature_ends(
    time: Time, form: CredentialForm, expires: int | None, lifetime: float
) -> None:
    """I17: counted from the moment of signing, not from that of asking."""
    caller = Caller(Sts(), time)
    recipe = Recipe(form=form, expires=expires)
    time.passed = 30.0
    await caller.ask(recipe)
    time.passed = lifetime - 0.001
    await caller.ask(recipe)
    assert caller.sts.asked == 1
    time.passed = lifetime
    await caller.ask(recipe)
    assert caller.sts.asked == 2


ERRORS = [UpstreamError(reason, "seen") for reason in (Reason.STS_THROTTLED, Reason.STS_UNAVAILABLE)]
ERRORS.append(UpstreamError(Reason.STS_ACCESS_DENIED, "seen"))


@pytest.mark.parametrize("error", ERRORS, ids=[error.reason for error in ERRORS])
async def test_an_error_of_sts_is_never_remembered(error: AuthError) -> None:
    """I18."""
    caller = Caller(Sts(error=error))
    for _ in range(2):
        assert (await caller.refused()).reason is error.reason
    assert caller.sts.asked == 2
    caller.sts.error = None
    assert (await caller.ask()).principal.request_id == "sts-3"


DENIALS = [AuthenticationError(Reason.STS_REJECTED, "seen"), AuthenticationError(Reason.SESSION_EXPIRED, "seen")]


@pytest.mark.parametrize("denial", DENIALS, ids=[denial.reason for denial in DENIALS])
async def test_a_denial_of_sts_is_remembered_for_ten_seconds(time: Time, denial: AuthenticationError) -> None:
    """I18: definite, and brief: a key that was just issued may not be known everywhere yet."""
    caller = Caller(Sts(error=denial), time)
    for seconds, asked, cache in ((0.0, 1, "miss"), (9.9, 1, "hit"), (10.0, 2, "miss")):
        time.passed, trail = seconds, new_trail()
        assert (await caller.refused(trail=trail)).reason is denial.reason
        assert (caller.sts.asked, trail.sts.cache) == (asked, cache)
        # The first time the local rules see it, and later what is remembered of them.
        assert trail.form is (CredentialForm.NATIVE if cache == "hit" else None)


async def test_a_denial_is_that_of_one_exact_credential() -> None:
    """I18: nobody can create a denial for another."""
    caller = Caller(Sts(error=DENIALS[0]))
    await caller.refused()
    caller.sts.error = None
    assert (await caller.ask(renewed(0))).principal.request_id == "sts-2"


async def test_denials_are_bounded_and_evict_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_upstream, "MAX_DENIALS", 3)
    caller = Caller(Sts())
    await caller.ask()
    caller.sts.error = DENIALS[0]
    for number in range(10):
        await caller.refused(renewed(number))
    await caller.ask()
    await caller.refused(renewed(0))
    assert caller.sts.asked == 12, "the first denial was forgotten for later ones"


async def test_the_denials_of_one_account_evict_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_upstream, "MAX_DENIALS", 4)
    caller = Caller(Sts(error=DENIALS[0]))
    forged = new_key(OTHER)
    await caller.refused(forged)
    for _ in range(10):
        await caller.refused(new_key())
    trail = new_trail()
    await caller.refused(forged, trail)
    assert trail.sts.cache == "hit"


@pytest.mark.parametrize("account", [STRANGER, ACCOUNT])
async def test_strangers_are_remembered_apart_and_evict_nobody(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """STS vouches for the roles of every AWS account: those of unlisted accounts must evict no admitted caller."""
    monkeypatch.setattr(sts_upstream, "MAX_STRANGERS", 3)
    caller = Caller(Sts(account=account))
    for number in range(10):
        await caller.ask(renewed(number))
    assert len(caller.known) == (10 if account == ACCOUNT else 0)
    assert (await caller.ask(renewed(9))).principal.request_id == "sts-10"
    assert caller.sts.asked == 10
    await caller.ask(renewed(0))
    assert caller.sts.asked == (10 if account == ACCOUNT else 11)


async def test_a_stranger_whose_account_is_listed_since_is_known() -> None:
    """I12: the list is looked at on every decision."""

    class Changing:
        accounts = frozenset({OTHER})

        def current(self) -> frozenset[str]:
            return self.accounts

    accounts = Changing()
    caller = Caller(Sts(), accounts=accounts)
    await caller.ask()
    assert len(caller.known) == 0
    accounts.accounts = frozenset({ACCOUNT})
    await caller.ask()
    assert (len(caller.known), caller.sts.asked) == (1, 1)


# When its turn comes.


def test_a_credential_that_expires_in_the_queue_is_not_forwarded() -> None:
    """I7."""

    async def scene() -> None:
        time = Time()
        caller = Caller(Sts(), time, rate=1.0)
        await caller.ask()
        asked = asyncio.create_task(caller.refused(renewed(0)))
        await settle()
        time.passed = 901.0
        error = await asked
        assert isinstance(error, CredentialError)
        assert (error.reason, caller.sts.asked) == (Reason.CREDENTIAL_EXPIRED, 1)

    run_in_virtual_time(scene())


def test_forged_keys_of_an_account_leave_every_second_turn_to_known_ones() -> None:
    async def scene() -> None:
        caller = Caller(Sts(), rate=100.0)
        await caller.ask()
        caller.sts.error = DENIALS[0]
        flood = [asyncio.create_task(caller.refused(new_key())) for _ in range(500)]
        await settle()
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.gather(*(caller.refused(renewed(number)) for number in range(10)))
        assert clock() - began < 0.25
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        await caller.calls.close()

    run_in_virtual_time(scene())


@pytest.mark.parametrize(
    "key_id", ["ASIAIEXAMPLEEXAMPLE3", new_access_key_id("ASIA", STRANGER)], ids=["old", "stranger"]
)
def test_key_ids_that_name_no_listed_account_share_one_budget(key_id: str) -> None:
    async def scene() -> None:
        caller = Caller(Sts(account=STRANGER), rate=1.0)
        await caller.ask(replace(RECIPE, access_key_id="ASIAIEXAMPLEEXAMPLE2"))
        error = await caller.refused(replace(RECIPE, access_key_id=key_id), new_trail(0.5))
        assert isinstance(error, UpstreamError)
        assert (error.reason, error.retry_after) == (Reason.OVERLOADED, 2)
        caller.sts.account = ACCOUNT
        await caller.ask(new_key(), new_trail(0.5))
        await caller.calls.close()

    run_in_virtual_time(scene())


def test_a_full_queue_refuses_before_the_credential_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood must be as cheap as possible once its account's places are taken."""
    monkeypatch.setattr(sts_calls, "STS_NEW_QUEUED", 5)

    async def scene() -> None:
        caller = Caller(Sts(released=asyncio.Event()), rate=1.0)
        flood = [asyncio.create_task(caller.refused(new_key(), new_trail(3.0))) for _ in range(8)]
        await settle()
        judged = caller.judged
        assert (await caller.refused(new_key())).reason is Reason.OVERLOADED
        assert caller.judged == judged
        assert (await caller.refused(new_key(OTHER), new_trail(0.5))).reason is Reason.OVERLOADED
        assert caller.judged == judged + 1
        await asyncio.gather(*flood)
        await caller.calls.close()

    run_in_virtual_time(scene())


def test_an_account_whose_new_keys_are_rejected_keeps_a_short_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real new task of that account waits behind few invented keys, and what finds no place is not even judged."""
    monkeypatch.setattr(allowance, "MIN_ALLOWED", 20)

    async def scene() -> None:
        sts = Sts(error=AuthenticationError(Reason.STS_REJECTED, "seen"))
        caller = Caller(sts, rate=1000.0)
        for _ in range(10):
            await asyncio.gather(*(caller.refused(new_key()) for _ in range(100)))
        sts.released = asyncio.Event()
        flood = [asyncio.create_task(caller.refused(new_key(), new_trail(1.0))) for _ in range(200)]
        await settle()
        judged = caller.judged
        assert (await caller.refused(new_key())).reason is Reason.OVERLOADED
        assert caller.judged == judged
        await asyncio.gather(*flood)
        sts.released.set()
        await settle()
        sts.error = None
        for _ in range(10):
            await asyncio.sleep(0.1)
            await asyncio.gather(*(caller.ask(new_key()) for _ in range(15)))
        sts.released = asyncio.Event()
        storm = [asyncio.create_task(caller.refused(new_key(), new_trail(1.0))) for _ in range(500)]
        await settle()
        assert caller.judged >= judged + 150 + 500
        await asyncio.gather(*storm)
        await caller.calls.close()

    run_in_virtual_time(scene())


def test_a_renewal_of_a_known_key_says_nothing_about_new_keys() -> None:
    """Else a busy account would never count as attacked, and one with expired sessions always."""

    async def scene() -> None:
        sts = Sts()
        caller = Caller(sts, rate=1000.0)

        async def judged_of_flood() -> int:
            """How many of a hundred new keys at once are not refused before they are judged."""
            before = caller.judged
            await asyncio.gather(*(caller.refused(new_key()) for _ in range(100)))
            await asyncio.sleep(10.0)
            return caller.judged - before

        await caller.ask()
        sts.error = AuthenticationError(Reason.STS_REJECTED, "seen")
        for number in range(200):
            await caller.refused(renewed(number))
        assert await judged_of_flood() == 100
        sts.error = None
        for number in range(200, 300):
            await caller.ask(renewed(number))
        sts.error = AuthenticationError(Reason.STS_REJECTED, "seen")
        assert await judged_of_flood() < 75
        await caller.calls.close()

    run_in_virtual_time(scene())


def test_all_accounts_whose_new_keys_are_rejected_share_half_of_the_pace_of_one() -> None:
    """A flood can name every listed account; each of them has a budget of its own towards STS."""

    async def scene() -> None:
        sts = Sts(error=AuthenticationError(Reason.STS_REJECTED, "seen"))
        caller = Caller(sts, rate=100.0)
        for _ in range(2):
            await asyncio.gather(
                *(caller.refused(new_key(account)) for _ in range(100) for account in (ACCOUNT, OTHER))
            )
        await asyncio.sleep(10.0)
        before = sts.asked
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 10.0:
            await asyncio.gather(*(caller.refused(new_key(account)) for account in (ACCOUNT, OTHER)))
            await asyncio.sleep(0.005)
        assert 450 <= sts.asked - before <= 550
        await caller.calls.close()

    run_in_virtual_time(scene())


# Hosts of STS that hang, or fail.


@dataclass
class SomeHang(Sts):
    """An STS some of whose hosts never answer."""

    hanging: set[str] = field(default_factory=set)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
        host = request.request.endpoint.host
        self.at_once[host] += 1
        self.most_at_once[host] = max(self.most_at_once[host], self.at_once[host])
        try:
            if host in self.hanging:
                await asyncio.sleep(trail.deadline - asyncio.get_running_loop().time())
                raise UpstreamDownError(Reason.STS_UNAVAILABLE, "no answer")
            return await super().identify(request, trail)
        finally:
            self.at_once[host] -= 1


def every_host_but(host: str) -> set[str]:
    return {endpoint.host for endpoint in load_sts_endpoints() if endpoint.partition == "aws"} - {host}


@pytest.mark.parametrize("kind", ["known", "new", "another account"])
def test_hosts_that_hang_slow_no_host_that_answers(kind: str) -> None:
    """The credential names the host, so anybody can name all that cannot be reached from here."""

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
    """A region that dies while many accounts call it has answered before."""

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
    """Honestly: that host does not answer. It holds nobody up until the end of each decision."""

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
    """A storm after a restart finds no host that has answered yet."""
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
        # The calls of those who were refused went out: first one as a probe, then the others.
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
    """Else anybody could open the circuit to STS for everybody with forged signatures."""
    caller = Caller(Sts(error=error))
    for number in range(STS_FAILURES * 3):
        assert (await caller.refused(renewed(number))).reason is error.reason
    assert caller.sts.asked == STS_FAILURES * 3


async def test_a_call_without_its_time_tells_nothing_about_sts_and_is_overload() -> None:
    """Neither that it lives nor that it is dead: our own late event loop must not open or close a circuit."""
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
        async def identify(self, request: ForwardableRequest, trail: Trail) -> CallerIdentity:
            if self.asked == 0:
                self.asked += 1
                raise ZeroDivisionError
            return await super().identify(request, trail)

    caller = Caller(Broken())
    assert (await caller.refused()).reason is Reason.INTERNAL_ERROR
    await caller.ask()


# What replicas share.


async def test_what_one_replica_was_answered_another_knows(time: Time) -> None:
    store, first, second = SharedStore(time), Sts(), Sts()
    identity = await Caller(first, time, store=store).ask()
    trail, other = new_trail(), Caller(second, time, store=store)
    assert await other.ask(trail=trail) == identity
    assert (trail.sts.cache, trail.sts.request_id) == ("shared", "sts-1")
    await other.ask()
    assert (first.asked, second.asked) == (1, 0)
    # Its next credential must not wait among those of key ids that are made up (I20).
    assert other.keys.account_of(RECIPE.access_key_id) == ACCOUNT


async def test_what_came_out_of_the_store_ends_with_the_signature_and_is_not_put_there_again(time: Time) -> None:
    """I17: else it would live anew each time a replica starts."""
    store = SharedStore(time)
    await Caller(Sts(), time, store=store).ask()
    [written] = store.records.values()
    time.passed = 100.0
    other = Caller(Sts(), time, store=store)
    await other.ask()
    assert list(store.records.values()) == [written]
    time.passed = LIFETIME
    await other.ask()
    assert other.sts.asked == 1


async def test_no_denial_and_no_stranger_is_shared(time: Time) -> None:
    store = SharedStore(time)
    await Caller(Sts(error=DENIALS[0]), time, store=store).refused()
    await Caller(Sts(account=STRANGER), time, store=store).ask()
    assert store.records == {}


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"account":"999999999999"}', b"\xff", b"null"],
    ids=["empty", "object", "part", "bytes", "null"],
)
async def test_a_record_that_is_none_is_asked_about(time: Time, payload: bytes) -> None:
    store, trail = SharedStore(time), new_trail()
    store.put("identity", request_digest(judge(RECIPE.credential())), payload, 900)
    caller = Caller(Sts(), time, store=store)
    await caller.ask(trail=trail)
    assert (caller.sts.asked, trail.sts.cache) == (1, "miss")


async def test_another_credential_takes_nothing_out_of_the_store(time: Time) -> None:
    """I16, I19."""
    store = SharedStore(time)
    await Caller(Sts(), time, store=store).ask()
    other = Caller(Sts(), time, store=store)
    await other.ask(renewed(0))
    assert other.sts.asked == 1


async def test_one_credential_at_two_replicas_at_the_same_time_is_one_call(time: Time) -> None:
    store = SharedStore(time)
    sides = [Sts(released=asyncio.Event()), Sts(released=asyncio.Event())]
    trails = [new_trail(), new_trail()]
    tasks = [
        asyncio.create_task(Caller(sts, time, store=store).ask(trail=trail))
        for sts, trail in zip(sides, trails, strict=True)
    ]
    await settle()
    for sts in sides:
        assert sts.released is not None
        sts.released.set()
    one, other = await asyncio.gather(*tasks)
    assert one == other
    assert sorted(sts.asked for sts in sides) == [0, 1]
    assert sorted(trail.sts.cache for trail in trails) == ["miss", "shared"]


@pytest.mark.parametrize("error", [DENIALS[0], ERRORS[1]], ids=["denial", "outage"])
async def test_a_failure_is_each_replicas_own_and_keeps_no_claim(time: Time, error: AuthError) -> None:
    """I18."""
    store, first, second = SharedStore(time), Sts(error=error), Sts()
    await Caller(first, time, store=store).refused()
    assert (store.claims, store.records) == (set(), {})
    await Caller(second, time, store=store).ask()
    assert (first.asked, second.asked) == (1, 1)


@dataclass
class Intruded(SharedStore):
    """A store whose every answer takes a moment, in which each call is claimed and each budget is spent."""

    seconds: float = 0.03
    wait: float = 0.0
    is_claimed: bool = True

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        await asyncio.sleep(self.seconds)
        return await super().get(kind, key)

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - the port's parameters
        await asyncio.sleep(self.seconds)
        return not self.is_claimed

    async def take(self, budget: str, rate: float, burst: float) -> float:  # noqa: ARG002 - likewise
        await asyncio.sleep(self.seconds)
        return self.wait


@pytest.mark.parametrize(
    ("wait", "is_claimed"), [(0.0, True), (2.0, False), (1.9, True)], ids=["claims", "budgets", "both"]
)
def test_whoever_writes_to_the_store_delays_a_call_by_its_patience_and_no_more(
    wait: float, *, is_claimed: bool
) -> None:
    """ADR 12: all of them at the same time, and without a place."""

    async def scene() -> None:
        time = Time()
        caller = Caller(Sts(), time, store=Intruded(time, wait=wait, is_claimed=is_claimed), rate=1000.0)
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.gather(*(caller.ask(renewed(number)) for number in range(300)))
        assert clock() - began < 0.5 + 1.0
        assert caller.sts.asked == 300

    run_in_virtual_time(scene())
