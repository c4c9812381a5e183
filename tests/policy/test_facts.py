"""The facts of an audit line and of a record: one valid line, one change, one effect."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm
from app.decision.record import AUTHENTICATE_CALL, TOKEN_FORM, DecisionRecord, TokenNote
from app.policy.facts import LineError, facts_of_line, facts_of_record, role_record
from app.tokens.claims import TokenSubject
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW

TAGS = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": "backend"}
ROLE = {"id": "x", "path": "/mesh/", "role_id": PRINCIPAL.role_id, "tags": TAGS}
CLAIMED = {
    "type": "dataplane",
    "mesh": "default",
    "name": "backend-1",
    "zone": None,
    "services": ["backend"],
    "service_label": None,
    "workload": "backend",
    "listeners": [],
}
IDENTITY = {"type": "dataplane", "mesh": "default", "service": "backend", "workload": None, "zone": None}
GRANTED = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="backend", workload=None, zone=None)
NOTE = TokenNote(jti="j", kid="k", expires_at=NOW, origin="presented", identity=GRANTED, name="backend-1")
LINE: Mapping[str, Any] = {
    "outcome": "allowed",
    "reason": None,
    "form": "native",
    "call": AUTHENTICATE_CALL,
    "principal": {name: getattr(PRINCIPAL, name) for name in ("partition", "account", "role", "role_id", "session")},
    "role": ROLE,
    "token": None,
    "claimed": CLAIMED,
}
TOKEN_LINE = {**LINE, "form": TOKEN_FORM, "token": {"identity": IDENTITY, "name": "backend-1"}}


def test_a_line_has_the_facts_of_its_decision() -> None:
    facts = facts_of_line(LINE)
    assert (facts.reason, facts.is_token, facts.token, facts.wants_token) == (None, False, None, False)
    assert facts.principal is not None
    assert {name: getattr(facts.principal, name) for name in LINE["principal"]} == LINE["principal"]
    assert facts.role == role_record(facts.principal, "/mesh/", tuple(TAGS.items()))
    assert facts.asserted == ProxyAssertion(
        type=ProxyType.DATAPLANE,
        mesh="default",
        name="backend-1",
        zone=None,
        tags={"kuma.io/service": frozenset({"backend"})},
        labels={"kuma.io/workload": "backend"},
        listeners=frozenset(),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "denied"},
        {"reason": "role_not_found"},
        {"outcome": "denied", "reason": "of_another_version"},
        {"principal": "a-role"},
        {"principal": {**LINE["principal"], "account": 111122223333}},
        {"principal": dict.fromkeys(("partition", "account", "role", "role_id"), "x")},
        {"role": "a-role"},
        {"role": {**ROLE, "path": 1}},
        {"role": {**ROLE, "tags": list(TAGS)}},
        {"role": {**ROLE, "tags": {**TAGS, "kuma.io/zone": None}}},
        {"role": {**ROLE, "role_id": None}},
        {"claimed": ["dataplane"]},
        {"claimed": {**CLAIMED, "type": "gateway"}},
        {"claimed": {**CLAIMED, "mesh": 1}},
        {"claimed": {**CLAIMED, "services": [1]}},
        {"claimed": {**CLAIMED, "services": None}},
        {"claimed": {**CLAIMED, "workload": 1}},
        {"claimed": {**CLAIMED, "listeners": ["side-door"]}},
        {"form": TOKEN_FORM},
        {"form": TOKEN_FORM, "token": {"identity": "backend"}},
        {"form": TOKEN_FORM, "token": {"identity": {**IDENTITY, "type": "gateway"}, "name": None}},
        {"form": TOKEN_FORM, "token": {"identity": {**IDENTITY, "mesh": 1}, "name": None}},
    ],
    ids=str,
)
def test_a_line_that_is_not_as_the_service_writes_it_is_an_error(change: Mapping[str, Any]) -> None:
    with pytest.raises(LineError):
        facts_of_line({**LINE, **change})


@pytest.mark.parametrize("name", ["outcome", "reason", "form", "principal", "claimed"])
def test_a_line_without_a_member_is_an_error(name: str) -> None:
    with pytest.raises(LineError):
        facts_of_line({member: value for member, value in LINE.items() if member != name})


@pytest.mark.parametrize(
    ("call", "wants_token"), [(AUTHENTICATE_CALL, False), ("/v1/token", True), ("/v1/token/renew", True), (None, None)]
)
def test_the_call_says_whether_a_token_was_wanted(*, call: str | None, wants_token: bool | None) -> None:
    """A line of an older version does not have the call."""
    assert facts_of_line({**LINE, "call": call}).wants_token is wants_token


@pytest.mark.parametrize(
    "change", [{"role": None}, {"role": {**ROLE, "path": None, "tags": None}}, {"principal": None}]
)
def test_a_role_that_was_not_read_is_no_fact(change: Mapping[str, Any]) -> None:
    assert facts_of_line({**LINE, **change}).role is None


def test_the_tags_of_a_line_of_an_older_version_are_no_fact() -> None:
    line = {**LINE, "outcome": "denied", "reason": Reason.ROLE_TAG_INVALID.value}
    assert facts_of_line({name: value for name, value in line.items() if name != "role"}).role is None


def test_a_role_has_the_id_that_iam_returned() -> None:
    role = facts_of_line({**LINE, "role": {**ROLE, "role_id": "AROAANOTHERANOTHER001"}}).role
    assert role is not None
    assert role.role_id == "AROAANOTHERANOTHER001"


def test_a_proxy_that_names_no_service_has_no_tag() -> None:
    asserted = facts_of_line({**LINE, "claimed": {**CLAIMED, "services": []}}).asserted
    assert asserted is not None
    assert asserted.tags == {}


def test_a_role_that_iam_returned_instead_is_no_fact() -> None:
    """The line has neither its name nor its account."""
    assert facts_of_line({**LINE, "outcome": "denied", "reason": Reason.ROLE_ID_MISMATCH.value}).role is None


@pytest.mark.parametrize(
    ("tags", "listeners", "is_fact"),
    [
        ({**TAGS, "kuma.io/mesh": "Not Valid"}, [], True),
        # The fault of the decision is not in these tags: a key stood twice in IAM's answer, and a line has it once.
        (TAGS, [], False),
        # An egress has no mesh, unless it is a part of a Dataplane.
        ({"kuma.io/type": "egress", "kuma.io/mesh": "Not Valid"}, [], False),
        ({"kuma.io/type": "egress", "kuma.io/mesh": "Not Valid"}, [ZoneListener.EGRESS.value], True),
    ],
)
def test_invalid_tags_are_a_fact_if_the_line_has_their_fault(
    *, tags: Mapping[str, str], listeners: list[str], is_fact: bool
) -> None:
    line = {
        **LINE,
        "outcome": "denied",
        "reason": Reason.ROLE_TAG_INVALID.value,
        "role": {**ROLE, "tags": tags},
        "claimed": {**CLAIMED, "listeners": listeners},
    }
    assert (facts_of_line(line).role is not None) is is_fact


def test_a_line_of_a_presented_token_has_what_the_token_says() -> None:
    facts = facts_of_line(TOKEN_LINE)
    assert facts.principal is not None
    assert facts.token == TokenSubject(identity=GRANTED, principal=facts.principal, name="backend-1")


@pytest.mark.parametrize("change", [{"token": {"identity": None, "name": None}}, {"token": {}}, {"principal": None}])
def test_a_token_that_was_not_read_is_no_fact(change: Mapping[str, Any]) -> None:
    facts = facts_of_line({**TOKEN_LINE, **change})
    assert (facts.is_token, facts.token) == (True, None)


@pytest.mark.parametrize(
    ("change", "is_fact"),
    [
        ({}, True),
        ({"form": CredentialForm.NATIVE}, False),
        ({"principal": None}, False),
        ({"token": None}, False),
        ({"token": replace(NOTE, identity=None)}, False),
    ],
    ids=str,
)
def test_a_record_has_the_token_that_was_presented_and_no_other(*, change: Mapping[str, Any], is_fact: bool) -> None:
    record = DecisionRecord(request_id="1", form=TOKEN_FORM, principal=PRINCIPAL, token=NOTE)
    facts = facts_of_record(replace(record, **change), None)
    expected = TokenSubject(identity=GRANTED, principal=PRINCIPAL, name="backend-1")
    assert facts.token == (expected if is_fact else None)
