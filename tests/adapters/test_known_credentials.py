"""Credentials by their exact text: who signed, until the signature ends, and for nobody else."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters import known_credentials
from app.adapters.known_credentials import KnownCredentials
from app.core.known_credential import KnownCredential
from app.core.signed_request import CredentialForm
from app.metrics import Metrics
from tests.support.exposition import read_samples, value
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW

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
    texts.remember("text", KNOWN)
    assert texts.recall("text") == KNOWN
    time.passed = 59.999
    assert texts.recall("text") == KNOWN
    time.passed = 60.0
    assert texts.recall("text") is None


def test_what_has_ended_is_not_remembered(time: Time) -> None:
    texts = memory(time)
    time.passed = 60.0
    texts.remember("text", KNOWN)
    assert len(texts) == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_two_texts_share_an_entry(one: str, other: str) -> None:
    """I16, I19: not a byte may differ."""
    texts = memory(Time())
    texts.remember(one, KNOWN)
    assert (texts.recall(other) == KNOWN) == (one == other)


@pytest.mark.parametrize("other", ["text ", "Text", "tex", "", "text\0", "text\u0301"])
def test_a_near_text_is_another(time: Time, other: str) -> None:
    texts = memory(time)
    texts.remember("text", KNOWN)
    assert texts.recall(other) is None


def test_two_memories_share_nothing_and_their_keys_give_nothing_away(time: Time) -> None:
    one, other = memory(time), memory(time)
    one.remember("a secret text", KNOWN)
    other.remember("a secret text", KNOWN)
    keys = [*one._known, *other._known]
    assert len(set(keys)) == 2
    assert all(isinstance(key, bytes) and len(key) == 32 and b"secret" not in key for key in keys)


def test_nothing_of_the_text_is_held(time: Time) -> None:
    texts = memory(time)
    texts.remember("a secret text", KNOWN)
    assert "secret" not in repr(vars(texts))


def test_what_sessions_of_one_role_have_in_common_is_held_once(time: Time) -> None:
    texts = memory(time)
    for number in range(2):
        principal = replace(PRINCIPAL, role=PRINCIPAL.role.encode().decode(), session=f"task-{number}")
        texts.remember(f"text {number}", replace(KNOWN, principal=principal))
    one, other = (texts.recall(f"text {number}") for number in range(2))
    assert one is not None
    assert other is not None
    assert one.principal.role is other.principal.role


def test_the_number_of_known_texts_is_shown(time: Time) -> None:
    metrics = Metrics()
    texts = KnownCredentials(time.clock, time.timer, metrics)
    texts.remember("text", KNOWN)
    assert value(read_samples(metrics.expose().decode()), "kuma_aws_iam_cache_entries", cache="identity") == 1


def test_the_memory_is_bounded(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_credentials, "MAX_KNOWN", 3)
    texts = memory(time)
    for number in range(10):
        texts.remember(f"text {number}", replace(KNOWN))
    assert len(texts) == 3
    assert texts.recall("text 9") is not None
