"""Parse the call's body into the types of the core."""

import json
from typing import Any

import pytest

from app.api.schemas import AuthenticateCall, parse_call
from app.core.errors import RequestError
from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason

FULL = {
    "type": "dataplane",
    "mesh": "default",
    "name": "demo-app-1",
    "zone": "zone-1",
    "tags": {"kuma.io/service": ["demo-app", "demo-app", "admin"], "version": []},
    "labels": {"kuma.io/workload": "demo"},
    "listeners": ["ZoneEgress", "ZoneEgress"],
}


def parse(**members: Any) -> tuple[str, ProxyAssertion | None]:
    return parse_call(json.dumps({"credential": "x", **members}).encode())


def test_parse_call_reads_every_member_and_keeps_what_decides() -> None:
    """Other tags and labels are dropped, so that a decision that waits takes little memory."""
    assert parse(proxy=FULL) == (
        "x",
        ProxyAssertion(
            type=ProxyType.DATAPLANE,
            mesh="default",
            name="demo-app-1",
            zone="zone-1",
            tags={"kuma.io/service": frozenset({"demo-app", "admin"})},
            labels={"kuma.io/workload": "demo"},
            listeners=frozenset({ZoneListener.EGRESS}),
        ),
    )


@pytest.mark.parametrize("members", [{}, {"proxy": None}], ids=["absent", "null"])
def test_parse_call_takes_no_proxy_for_a_wish_for_the_identity_alone(members: dict[str, Any]) -> None:
    assert parse(**members) == ("x", None)


@pytest.mark.parametrize("kind", ["ingress", "egress"])
def test_parse_call_wants_no_mesh_of_a_zone_proxy(kind: str) -> None:
    _, proxy = parse(proxy={"type": kind})
    assert proxy == ProxyAssertion(type=ProxyType(kind))


@pytest.mark.parametrize("name", ["tags", "labels", "name", "zone", "listeners"])
def test_parse_call_takes_null_for_absent(name: str) -> None:
    without = {key: value for key, value in FULL.items() if key != name}
    assert parse(proxy={**FULL, name: None}) == parse(proxy=without)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"mesh": "m" * 253, "name": "n" * 253, "zone": "z" * 253}, id="names"),
        pytest.param({"tags": {"k" * 317: ["v" * 253]}, "labels": {"k" * 317: "v" * 253}}, id="tags-and-labels"),
        pytest.param({"tags": {"k": [""]}, "labels": {"k": ""}}, id="empty-values"),
    ],
)
def test_parse_call_reads_values_of_kumas_greatest_length(changes: dict[str, Any]) -> None:
    assert parse(proxy={**FULL, **changes})[1] is not None


@pytest.mark.parametrize("name", ["mesh", "name", "zone"])
@pytest.mark.parametrize("value", ["", "n" * 254, 1, True, [], {}])
def test_parse_call_refuses_a_name_that_is_none(name: str, value: object) -> None:
    with pytest.raises(RequestError) as raised:
        parse(proxy={**FULL, name: value})
    assert raised.value.reason is Reason.MALFORMED_REQUEST
    assert raised.value.field == f"proxy.{name}"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"listeners": "ZoneEgress"}, id="no-list"),
        pytest.param({"listeners": ["zoneegress"]}, id="another-case"),
        pytest.param({"listeners": ["ZoneEgress", None]}, id="null"),
        pytest.param({"listeners": ["ZoneEgress", "Inbound"]}, id="another-kind"),
        pytest.param({"listeners": ["ZoneEgress"] * 65}, id="65"),
        pytest.param({"type": "ingress"}, id="an-ingress"),
        pytest.param({"type": "egress"}, id="an-egress"),
    ],
)
def test_parse_call_refuses_listeners_that_are_none_or_not_a_dataplanes(changes: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as raised:
        parse(proxy={**FULL, **changes})
    assert (raised.value.reason, raised.value.field) == (Reason.MALFORMED_REQUEST, "proxy.listeners")


def test_parse_call_reads_as_many_listeners_as_there_may_be() -> None:
    _, proxy = parse(proxy={**FULL, "listeners": ["ZoneEgress", "ZoneIngress"] * 32})
    assert proxy
    assert proxy.listeners == frozenset(ZoneListener)


def test_a_calls_repr_does_not_hold_the_credential() -> None:
    """A debugger, a traceback or a log might print the repr."""
    assert "canary" not in repr(AuthenticateCall(credential="canary"))
