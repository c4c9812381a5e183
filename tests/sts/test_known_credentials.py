"""Credentials by their exact text: who signed them, until the signature ends, and for no other text."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.known_credential import KnownCredential
from app.core.signed_request import CredentialForm
from app.sts.known_credentials import KnownCredentials, share_texts
from app.telemetry.metrics import Metrics
from tests.support.exposition import read_samples, value
from tests.support.principals import PRINCIPAL
from tests.support.signing import ACCESS_KEY_ID, HOST, NOW, endpoint_of

KNOWN = KnownCredential(
    form=CredentialForm.NATIVE,
    signed_at=NOW,
    lifetime=timedelta(seconds=60),
    principal=PRINCIPAL,
    access_key_id=ACCESS_KEY_ID,
    key_account=PRINCIPAL.account,
    endpoint=endpoint_of(HOST),
    key=b"",
)


class Time:
    """A clock and a timer that only the test moves."""

    passed = 0.0

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def timer(self) -> float:
        return self.passed


@pytest.fixture
def time() -> Time:
    return Time()


def memory(time: Time, **bounds: Any) -> KnownCredentials:
    return KnownCredentials(time.clock, time.timer, **bounds)


def remember(texts: KnownCredentials, text: str, known: KnownCredential = KNOWN) -> KnownCredential:
    kept = replace(known, key=texts.key_of(text))
    texts.remember(kept)
    return kept


def test_a_text_is_known_until_its_signature_ends(time: Time) -> None:
    """I17: the life counts from the signature, not from the time of caching."""
    texts = memory(time)
    time.passed = 30.0
    remember(texts, "text")
    assert texts.recall(texts.key_of("text")) == KNOWN
    time.passed = 59.999
    assert texts.recall(texts.key_of("text")) == KNOWN
    time.passed = 60.0
    assert texts.recall(texts.key_of("text")) is None


def test_what_has_ended_is_not_remembered(time: Time) -> None:
    texts = memory(time)
    time.passed = 60.0
    remember(texts, "text")
    assert len(texts) == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_two_texts_share_an_entry(one: str, other: str) -> None:
    """I16, I19: every byte counts."""
    texts = memory(Time())
    remember(texts, one)
    assert (texts.recall(texts.key_of(other)) == KNOWN) == (one == other)


@pytest.mark.parametrize("other", ["text ", "Text", "tex", "", "text\0", "text\u0301"])
def test_a_near_text_is_another(time: Time, other: str) -> None:
    texts = memory(time)
    remember(texts, "text")
    assert texts.recall(texts.key_of(other)) is None


def test_two_memories_share_nothing_and_their_keys_give_nothing_away(time: Time) -> None:
    one, other = memory(time), memory(time)
    remember(one, "a secret text")
    remember(other, "a secret text")
    keys = [one.key_of("a secret text"), other.key_of("a secret text")]
    assert len(set(keys)) == 2
    assert one.recall(keys[1]) is None
    assert all(len(key) == 32 and b"secret" not in key for key in keys)


def test_nothing_of_the_text_is_held(time: Time) -> None:
    texts = memory(time)
    remember(texts, "a secret text")
    assert "secret" not in repr(vars(texts))


def test_what_sessions_of_one_role_have_in_common_is_held_once() -> None:
    one, other = (
        share_texts(replace(PRINCIPAL, role=PRINCIPAL.role.encode().decode(), session=f"task-{number}"))
        for number in range(2)
    )
    assert one == replace(PRINCIPAL, session="task-0")
    assert one.session != other.session
    assert one.role is other.role


def test_the_number_of_known_texts_is_shown(time: Time) -> None:
    metrics = Metrics()
    texts = KnownCredentials(time.clock, time.timer, metrics)
    remember(texts, "text")
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="identity") == 1


@pytest.mark.parametrize(("bound", "is_approved"), [("max_unapproved", False), ("max_known", True)])
def test_the_memory_is_bounded(time: Time, bound: str, *, is_approved: bool) -> None:
    texts = memory(time, **{bound: 3})
    for number in range(10):
        known = remember(texts, f"text {number}")
        if is_approved:
            texts.approve(known)
    assert len(texts) == 3
    assert texts.recall(texts.key_of("text 9")) is not None


def of_account(account: str) -> KnownCredential:
    return replace(KNOWN, principal=replace(PRINCIPAL, account=account))


def test_what_was_not_approved_evicts_nothing_that_was(time: Time) -> None:
    """STS confirms every role of a listed account, and the owner of one can sign as often as they like."""
    texts = memory(time, max_unapproved=3)
    for name in ("a", "b"):
        texts.approve(remember(texts, name))
    for number in range(10):
        remember(texts, f"text {number}")
    assert [texts.recall(texts.key_of(name)) for name in ("a", "b")] == [KNOWN, KNOWN]
    assert len(texts) == 2 + 3


def test_what_was_not_approved_is_bounded_for_each_account(time: Time) -> None:
    texts = memory(time, max_unapproved_of_account=3)
    remember(texts, "other", of_account("444455556666"))
    for number in range(10):
        remember(texts, f"text {number}")
    assert len(texts) == 1 + 3
    assert texts.recall(texts.key_of("other")) is not None


def test_the_approved_ones_of_one_account_evict_none_of_another(time: Time) -> None:
    texts = memory(time, max_known=4)
    for name in ("other a", "other b"):
        texts.approve(remember(texts, name, of_account("444455556666")))
    for number in range(10):
        texts.approve(remember(texts, f"text {number}"))
    assert all(texts.recall(texts.key_of(name)) is not None for name in ("other a", "other b"))
    assert len(texts) == 4


def test_what_is_approved_lives_no_longer_for_it(time: Time) -> None:
    """I17: an approval does not extend the life of an entry."""
    texts = memory(time)
    known = remember(texts, "text")
    time.passed = 30.0
    texts.approve(known)
    time.passed = 60.0
    assert texts.recall(texts.key_of("text")) is None
