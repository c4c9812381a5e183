"""Repeated bodies: their parsed content is cached only if the answer of STS about their credential is cached."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.call_bounds import MAX_VALUES_OF_A_TAG
from app.api.known_calls import KnownCalls
from app.api.schemas import MAX_VALUES, parse_call
from app.core.errors import AuthenticationError, RequestError
from app.core.known_credential import KnownCredential, NewCredential, RefusedCredential
from app.core.proxy import ProxyAssertion
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm
from app.sts.known_credentials import DENIAL_SECONDS, KnownCredentials
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

REFUSED = RefusedCredential(
    kind=AuthenticationError,
    reason=Reason.STS_REJECTED,
    detail="seen",
    form=CredentialForm.NATIVE,
    signed_at=NOW,
    access_key_id=ACCESS_KEY_ID,
    key_account=None,
    endpoint=endpoint_of(HOST),
    key=b"",
)


def body(credential: str = "a credential", **proxy: Any) -> bytes:
    return json.dumps({"credential": credential, "proxy": {"type": "dataplane", "mesh": "default", **proxy}}).encode()


class Memory:
    """Known credentials, the cache of calls above them, and a clock that the test moves."""

    def __init__(self, **bounds: int) -> None:
        self.passed = 0.0
        self.credentials = KnownCredentials(lambda: NOW, lambda: self.passed)
        self.calls = KnownCalls(self.credentials, **bounds)

    def read_as_new(self, text: bytes) -> tuple[str, ProxyAssertion | None]:
        credential, claimed = self.calls.read(text)
        assert isinstance(credential, NewCredential)
        assert credential.key == self.credentials.key_of(credential.text)
        return credential.text, claimed

    def know_the_credential(self) -> None:
        self.credentials.approve(replace(KNOWN, key=self.credentials.key_of("a credential")))

    def refuse(self, text: str) -> RefusedCredential:
        key = self.credentials.key_of(text)
        self.credentials.deny(replace(REFUSED, key=key), owner="111122223333")
        return REFUSED


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_body_is_read_as_ever_until_its_credential_is_known(memory: Memory) -> None:
    for _ in range(3):
        assert memory.read_as_new(body()) == parse_call(body())
    assert len(memory.calls) == 0


def test_the_same_body_gives_what_is_known_and_the_same_claim(memory: Memory) -> None:
    memory.know_the_credential()
    _, claimed = parse_call(body())
    for _ in range(3):
        assert memory.calls.read(body()) == (KNOWN, claimed)
    assert len(memory.calls) == 1


def test_the_same_body_of_a_rejected_credential_is_read_once_while_the_rejection_is_remembered(memory: Memory) -> None:
    refused = memory.refuse("a credential")
    _, claimed = parse_call(body())
    for _ in range(3):
        assert memory.calls.read(body()) == (refused, claimed)
    assert len(memory.calls) == 1
    memory.passed = DENIAL_SECONDS
    assert memory.read_as_new(body()) == parse_call(body())
    assert len(memory.calls) == 0


def test_refused_bodies_are_bounded_and_evict_none_of_an_approved_credential() -> None:
    """Anybody can get refused, so refused bodies have their own bound."""
    memory = Memory(max_calls=1, max_unapproved=3)
    memory.know_the_credential()
    memory.calls.read(body())
    for number in range(10):
        memory.refuse(f"refused-{number}")
        memory.calls.read(body(f"refused-{number}"))
    assert len(memory.calls) == 4
    kept = memory.calls.read(body())[1]
    assert memory.calls.read(body())[1] is kept


def test_a_body_that_was_refused_is_kept_with_the_approved_ones_once_it_is_approved() -> None:
    memory = Memory(max_unapproved=1)
    memory.credentials.remember(replace(KNOWN, key=memory.credentials.key_of("a credential")))
    memory.calls.read(body())
    memory.know_the_credential()
    memory.refuse("another")
    memory.calls.read(body("another"))
    memory.calls.read(body())
    first = memory.calls.read(body())[1]
    memory.calls.read(body("another"))
    assert memory.calls.read(body())[1] is first


def test_proxies_that_assert_the_same_share_it_in_memory(memory: Memory) -> None:
    """20,000 sidecars of 200 services assert 200 different sets of tags."""
    memory.know_the_credential()
    kept = []
    for name in ("a", "b"):
        text = body(name=name, tags={"kuma.io/service": ["web"]}, labels={"kuma.io/workload": "web"})
        memory.calls.read(text)
        kept.append(memory.calls.read(text)[1])
    first, second = kept
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("a", "b")
    assert first.tags is second.tags
    assert first.labels is second.labels


def test_calls_that_share_little_are_read_as_ever() -> None:
    memory = Memory(max_shared=2)
    memory.know_the_credential()
    for number in range(8):
        text = body(tags={"kuma.io/service": [f"web-{number}"]})
        expected = memory.calls.read(text)
        assert memory.calls.read(text) == expected


def test_another_claim_beside_the_same_credential_is_another_call(memory: Memory) -> None:
    """I15: a proxy is compared with what it asserts in this call."""
    memory.know_the_credential()
    memory.calls.read(body(name="a"))
    memory.calls.read(body(name="a"))
    known, claimed = memory.calls.read(body(name="b"))
    assert known == KNOWN
    assert claimed is not None
    assert claimed.name == "b"


def test_a_body_whose_credential_has_ended_is_read_anew(memory: Memory) -> None:
    """I17."""
    memory.know_the_credential()
    memory.calls.read(body())
    memory.passed = 60.0
    assert memory.read_as_new(body()) == parse_call(body())
    assert len(memory.calls) == 0


def test_a_claim_of_many_services_is_held_as_a_few(memory: Memory) -> None:
    """The cache keeps a few of the services: a decision only depends on whether all of them equal the role's service."""
    memory.know_the_credential()
    text = body(tags={"kuma.io/service": [f"service-{number}" for number in range(MAX_VALUES_OF_A_TAG)]})
    for _ in range(2):
        _, claimed = memory.calls.read(text)
        assert claimed is not None
        assert 1 < len(claimed.services) <= MAX_VALUES


def test_a_large_claim_is_read_anew_each_time(memory: Memory) -> None:
    """I20: one proxy can invent as many as the cache has entries, each 30 times as large as a usual one."""
    memory.know_the_credential()
    for number in range(3):
        text = body(tags={"kuma.io/service": [f"{number}{value}".ljust(253, "x") for value in range(MAX_VALUES)]})
        assert memory.calls.read(text) == (KNOWN, parse_call(text)[1])
    assert len(memory.calls) == 0


def test_a_service_that_stands_many_times_is_one(memory: Memory) -> None:
    _, claimed = memory.calls.read(body(tags={"kuma.io/service": ["a"] * MAX_VALUES_OF_A_TAG}))
    assert claimed is not None
    assert claimed.services == {"a"}


def test_nothing_of_the_credential_is_held(memory: Memory) -> None:
    memory.know_the_credential()
    memory.calls.read(body())
    assert "a credential" not in repr(vars(memory.calls))


@pytest.mark.parametrize("text", [b"", b"{}", b'{"credential":1}', b'{"credential":"a","credential":"a"}'])
def test_a_malformed_body_is_refused_each_time(memory: Memory, text: bytes) -> None:
    for _ in range(2):
        with pytest.raises(RequestError):
            memory.calls.read(text)


def test_the_calls_are_bounded_and_the_least_recently_used_goes() -> None:
    memory = Memory(max_calls=3)
    memory.know_the_credential()
    for number in range(10):
        memory.calls.read(body(name="used"))
        memory.calls.read(body(name=f"other-{number}"))
    assert len(memory.calls) == 3


@given(st.binary(max_size=200))
def test_a_body_that_was_never_read_gives_nothing_known(data: bytes) -> None:
    memory = Memory()
    memory.know_the_credential()
    memory.calls.read(body())
    try:
        credential, _ = memory.calls.read(data)
    except RequestError:
        return
    assert isinstance(credential, NewCredential)
