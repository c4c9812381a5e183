"""Credentials by their exact text: who signed, until the signature ends, and for nobody else."""

import asyncio
import contextlib
import gc
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters import known_credentials
from app.adapters.bulkhead import Bulkhead, Share
from app.adapters.known_credentials import KnownCredentials
from app.core.known_credential import KnownCredential
from app.core.signed_request import CredentialForm
from app.errors import AuthenticationError, AuthError, OutOfTimeError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from tests.support.exposition import read_samples, value
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW
from tests.support.upstreams import settle

KNOWN = KnownCredential(form=CredentialForm.NATIVE, signed_at=NOW, lifetime=timedelta(seconds=60), principal=PRINCIPAL)


class Time:
    """A clock and a timer that stand still until they are moved."""

    passed = 0.0

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def timer(self) -> float:
        return self.passed


@pytest.fixture
def time() -> Time:
    return Time()


def memory(time: Time) -> KnownCredentials:
    return KnownCredentials(time.clock, time.timer)


def test_a_text_is_known_until_its_signature_ends(time: Time) -> None:
    """I17: counted from the moment of signing, not from that of remembering."""
    texts = memory(time)
    time.passed = 30.0
    texts.remember(texts.key_of("text"), KNOWN)
    assert texts.recall(texts.key_of("text")) == KNOWN
    time.passed = 59.999
    assert texts.recall(texts.key_of("text")) == KNOWN
    time.passed = 60.0
    assert texts.recall(texts.key_of("text")) is None


def test_what_has_ended_is_not_remembered(time: Time) -> None:
    texts = memory(time)
    time.passed = 60.0
    texts.remember(texts.key_of("text"), KNOWN)
    assert len(texts) == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_two_texts_share_an_entry(one: str, other: str) -> None:
    """I16, I19: not a byte may differ."""
    texts = memory(Time())
    texts.remember(texts.key_of(one), KNOWN)
    assert (texts.recall(texts.key_of(other)) == KNOWN) == (one == other)


@pytest.mark.parametrize("other", ["text ", "Text", "tex", "", "text\0", "text\u0301"])
def test_a_near_text_is_another(time: Time, other: str) -> None:
    texts = memory(time)
    texts.remember(texts.key_of("text"), KNOWN)
    assert texts.recall(texts.key_of(other)) is None


def test_two_memories_share_nothing_and_their_keys_give_nothing_away(time: Time) -> None:
    one, other = memory(time), memory(time)
    one.remember(one.key_of("a secret text"), KNOWN)
    other.remember(other.key_of("a secret text"), KNOWN)
    keys = [one.key_of("a secret text"), other.key_of("a secret text")]
    assert len(set(keys)) == 2
    assert one.recall(keys[1]) is None
    assert all(len(key) == 32 and b"secret" not in key for key in keys)


def test_nothing_of_the_text_is_held(time: Time) -> None:
    texts = memory(time)
    texts.remember(texts.key_of("a secret text"), KNOWN)
    assert "secret" not in repr(vars(texts))


def test_what_sessions_of_one_role_have_in_common_is_held_once(time: Time) -> None:
    texts = memory(time)
    for number in range(2):
        principal = replace(PRINCIPAL, role=PRINCIPAL.role.encode().decode(), session=f"task-{number}")
        texts.remember(texts.key_of(f"text {number}"), replace(KNOWN, principal=principal))
    one, other = (texts.recall(texts.key_of(f"text {number}")) for number in range(2))
    assert one is not None
    assert other is not None
    assert one.principal.session != other.principal.session
    assert one.principal.role is other.principal.role


def test_the_number_of_known_texts_is_shown(time: Time) -> None:
    metrics = Metrics()
    texts = KnownCredentials(time.clock, time.timer, metrics)
    texts.remember(texts.key_of("text"), KNOWN)
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="identity") == 1


@pytest.mark.parametrize(("bound", "is_approved"), [("MAX_UNAPPROVED", False), ("MAX_KNOWN", True)])
def test_the_memory_is_bounded(time: Time, monkeypatch: pytest.MonkeyPatch, bound: str, *, is_approved: bool) -> None:
    monkeypatch.setattr(known_credentials, bound, 3)
    texts = memory(time)
    for number in range(10):
        known = texts.remember(texts.key_of(f"text {number}"), replace(KNOWN))
        if is_approved:
            texts.approve(known)
    assert len(texts) == 3
    assert texts.recall(texts.key_of("text 9")) is not None


def of_account(account: str) -> KnownCredential:
    return replace(KNOWN, principal=replace(PRINCIPAL, account=account))


def test_what_was_not_approved_evicts_nothing_that_was(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS vouches for every role of a listed account, and whoever has one can sign as often as they like."""
    monkeypatch.setattr(known_credentials, "MAX_UNAPPROVED", 3)
    texts = memory(time)
    for name in ("a", "b"):
        texts.approve(texts.remember(texts.key_of(name), KNOWN))
    for number in range(10):
        texts.remember(texts.key_of(f"text {number}"), KNOWN)
    assert [texts.recall(texts.key_of(name)) for name in ("a", "b")] == [KNOWN, KNOWN]
    assert len(texts) == 2 + 3


def test_what_was_not_approved_is_bounded_for_each_account(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_credentials, "MAX_UNAPPROVED_OF_ACCOUNT", 3)
    texts = memory(time)
    texts.remember(texts.key_of("other"), of_account("444455556666"))
    for number in range(10):
        texts.remember(texts.key_of(f"text {number}"), KNOWN)
    assert len(texts) == 1 + 3
    assert texts.recall(texts.key_of("other")) is not None


def test_the_approved_ones_of_one_account_evict_none_of_another(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_credentials, "MAX_KNOWN", 4)
    texts = memory(time)
    for name in ("other a", "other b"):
        texts.approve(texts.remember(texts.key_of(name), of_account("444455556666")))
    for number in range(10):
        texts.approve(texts.remember(texts.key_of(f"text {number}"), KNOWN))
    assert all(texts.recall(texts.key_of(name)) is not None for name in ("other a", "other b"))
    assert len(texts) == 4


def test_what_is_approved_lives_no_longer_for_it(time: Time) -> None:
    """I17."""
    texts = memory(time)
    known = texts.remember(texts.key_of("text"), KNOWN)
    time.passed = 30.0
    texts.approve(known)
    time.passed = 60.0
    assert texts.recall(texts.key_of("text")) is None


async def test_who_waits_for_somebody_elses_answer_takes_a_place_of_the_same_account(time: Time) -> None:
    """Else one text, presented again and again while STS is asked about it, would fill all places."""
    places = Bulkhead("x", 3)
    share = Share(places, "account")

    async def find_out() -> KnownCredential:
        with share:
            return await finding.find_out()

    texts, finding = memory(time), Finding()
    key = texts.key_of("text")
    tasks = [asyncio.create_task(texts.introduce(key, find_out, soon(), lambda: share)) for _ in range(3)]
    await settle()
    refused = [task for task in tasks if task.done()]
    assert len(refused) == 1
    error = refused[0].exception()
    assert isinstance(error, UpstreamError)
    assert error.reason is Reason.OVERLOADED
    finding.released.set()
    assert len({id(await task) for task in tasks if task not in refused}) == 1
    with share, share:  # all of them are free again
        pass


# Equal texts at the same time (I19).


def soon(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


class Finding:
    """Finds out about texts, once it is released."""

    def __init__(self, error: AuthError | None = None) -> None:
        self.asked = 0
        self.error = error
        self.released = asyncio.Event()

    async def find_out(self) -> KnownCredential:
        self.asked += 1
        number = self.asked
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return replace(KNOWN, principal=replace(PRINCIPAL, request_id=f"sts-{number}"))


def presented(texts: KnownCredentials, finding: Finding, *credentials: str) -> list[asyncio.Task[KnownCredential]]:
    return [
        asyncio.create_task(texts.introduce(texts.key_of(credential), finding.find_out, soon()))
        for credential in credentials
    ]


async def test_equal_texts_at_the_same_time_are_found_out_about_once(time: Time) -> None:
    texts, finding = memory(time), Finding()
    tasks = presented(texts, finding, *["text"] * 10)
    await settle()
    assert texts.is_introduced(texts.key_of("text"))
    finding.released.set()
    answers = await asyncio.gather(*tasks)
    assert finding.asked == 1
    assert all(answer is answers[0] for answer in answers)
    assert not texts.is_introduced(texts.key_of("text"))


async def test_different_texts_at_the_same_time_never_meet(time: Time) -> None:
    texts, finding = memory(time), Finding()
    tasks = presented(texts, finding, "one", "other", "one", "other")
    await settle()
    finding.released.set()
    answers = await asyncio.gather(*tasks)
    assert finding.asked == 2
    assert answers[0] is answers[2] is not answers[1]
    assert answers[1] is answers[3]


async def test_a_waiter_that_is_cancelled_harms_no_other(time: Time) -> None:
    texts, finding = memory(time), Finding()
    staying, leaving, joining = presented(texts, finding, "text", "text", "text")
    await settle()
    leaving.cancel()
    await settle()
    finding.released.set()
    assert (await staying) is (await joining)
    assert leaving.cancelled()
    assert finding.asked == 1


async def test_when_the_first_is_cancelled_the_others_find_out_once_for_themselves(time: Time) -> None:
    texts, finding = memory(time), Finding()
    leaving, *staying = presented(texts, finding, "text", "text", "text")
    await settle()
    leaving.cancel()
    await settle()
    finding.released.set()
    answers = await asyncio.gather(*staying)
    assert answers[0] is answers[1]
    assert leaving.cancelled()
    assert finding.asked == 2


@pytest.mark.parametrize(
    "error", [UpstreamError(Reason.STS_THROTTLED, "seen"), AuthenticationError(Reason.STS_REJECTED, "seen")]
)
async def test_a_failure_is_shared_by_those_who_waited_and_by_nobody_else(time: Time, error: AuthError) -> None:
    texts, finding = memory(time), Finding(error)
    tasks = presented(texts, finding, *["text"] * 3)
    await settle()
    finding.released.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
    assert finding.asked == 1
    finding.error = None
    assert (await texts.introduce(texts.key_of("text"), finding.find_out, soon())).principal.request_id == "sts-2"


async def test_somebody_elses_deadline_ends_nobody_who_has_time_left(time: Time) -> None:
    texts = memory(time)
    hurried, patient = Finding(OutOfTimeError(Reason.OVERLOADED, "no turn before its deadline")), Finding()
    [first] = presented(texts, hurried, "text")
    await settle()
    others = presented(texts, patient, "text", "text")
    await settle()
    hurried.released.set()
    await settle()
    patient.released.set()
    with pytest.raises(OutOfTimeError):
        await first
    answers = await asyncio.gather(*others)
    assert answers[0] is answers[1]
    assert (hurried.asked, patient.asked) == (1, 1)


async def test_a_waiter_waits_no_longer_than_its_own_time(time: Time) -> None:
    """Whoever comes later may have become the one who finds out, and has more time."""
    texts, finding = memory(time), Finding()
    [first] = presented(texts, finding, "text")
    await settle()
    with pytest.raises(OutOfTimeError) as raised:
        await texts.introduce(texts.key_of("text"), finding.find_out, soon(-1.0))
    assert raised.value.reason is Reason.STS_UNAVAILABLE
    finding.released.set()
    assert (await first).principal.request_id == "sts-1"
    assert finding.asked == 1


@pytest.mark.parametrize("waiters", [0, 2])
async def test_a_failure_leaves_nothing_for_the_collector(time: Time, waiters: int) -> None:
    """A flood of forged credentials would else hold up everybody, for tens of milliseconds a second."""
    texts = memory(time)
    asked = asyncio.Event()

    async def deny() -> KnownCredential:
        await asked.wait()
        raise AuthenticationError(Reason.STS_REJECTED, "of the collector's test")

    async def present(number: int) -> None:
        with contextlib.suppress(AuthenticationError):
            await texts.introduce(texts.key_of(f"text {number}"), deny, soon())

    gc.collect()
    gc.disable()
    try:
        tasks = [asyncio.create_task(present(number)) for number in range(20) for _ in range(1 + waiters)]
        await settle()
        asked.set()
        await asyncio.gather(*tasks)
        del tasks
        await settle()
        failures = [found for found in gc.get_objects() if isinstance(found, AuthenticationError)]
        assert [failure for failure in failures if failure.detail == "of the collector's test"] == []
    finally:
        gc.enable()
