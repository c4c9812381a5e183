"""Labels that a role pins by tags ``kuma.io/label/KEY`` (contract, section 4; I27)."""

import pytest

from app.core.errors import AuthorizationError
from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant, match
from app.core.role_tags import RoleRecord
from tests.support.policies import POLICY

DATAPLANE = (("kuma.io/type", "dataplane"), ("kuma.io/mesh", "default"))
PINS = (("app", "payments"), ("example.com/team", "a.b_c-d"))


def role(*tags: tuple[str, str], base: tuple[tuple[str, str], ...] = DATAPLANE) -> RoleRecord:
    return RoleRecord(
        arn="arn:aws:iam::111122223333:role/web",
        role_id="AROAEXAMPLEEXAMPLE001",
        name="web",
        tags=(*base, *tags),
        request_id="",
    )


def denial(*tags: tuple[str, str]) -> Reason:
    with pytest.raises(AuthorizationError) as raised:
        _ = role(*tags).grant
    return raised.value.reason


def test_the_grant_has_each_pinned_label_in_the_order_of_the_keys() -> None:
    tags = [(f"kuma.io/label/{key}", value) for key, value in reversed(PINS)]
    assert role(*tags).grant.labels == PINS


@pytest.mark.parametrize("kind", ["ingress", "egress"])
def test_a_zone_role_pins_labels_for_both_of_its_resources(kind: str) -> None:
    record = role(("kuma.io/label/app", "payments"), base=(("kuma.io/type", kind), ("kuma.io/mesh", "default")))
    assert record.grant.labels == record.grant_in_dataplane.labels == (("app", "payments"),)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-app",
        "app-",
        "a p",
        "app/",
        "/app",
        "a/b/c",
        "Example.com/app",
        "example..com/app",
        "-example.com/app",
        "a" * 64,
        f"{'a' * 254}/app",
        "kuma.io/workload",
        "kuma.io/service",
        "kuma.io/anything",
        "k8s.kuma.io/namespace",
        "app\n",
        "äpp",
    ],
)
def test_a_key_that_is_no_label_or_is_kumas_own_denies(key: str) -> None:
    assert denial((f"kuma.io/label/{key}", "payments")) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize("key", ["a", "A1._-z", "a" * 63, f"{'a' * 253}/app", "mykuma.io/app", "kuma.io.example/app"])
def test_a_key_may_be_each_label_of_kubernetes(key: str) -> None:
    assert role((f"kuma.io/label/{key}", "x")).grant.labels == ((key, "x"),)


@pytest.mark.parametrize("value", ["", " ", "-a", "a-", "a b", "a,b", "*", "a" * 64, "a\n", "ä", "a/b", "a:b"])
def test_a_value_that_no_label_can_have_denies(value: str) -> None:
    assert denial(("kuma.io/label/app", value)) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize("key", ["KUMA.IO/label/app", "kuma.io/Label/app", "Kuma.io/LABEL/"])
def test_a_prefix_in_another_case_denies(key: str) -> None:
    """IAM compares tag keys without case, so such a key evades a policy that protects ``kuma.io/*`` by StringLike."""
    assert denial((key, "payments")) is Reason.ROLE_TAG_INVALID


def test_a_label_that_is_pinned_twice_denies() -> None:
    tag = ("kuma.io/label/app", "payments")
    assert denial(tag, tag) is Reason.ROLE_TAG_INVALID


def test_keys_of_labels_differ_by_case() -> None:
    grant = role(("kuma.io/label/app", "a"), ("kuma.io/label/App", "b")).grant
    assert grant.labels == (("App", "b"), ("app", "a"))


@pytest.mark.parametrize("key", ["kuma.io/label", "kuma.io/labels/app", "x-kuma.io/label/app"])
def test_other_tags_pin_nothing(key: str) -> None:
    assert role((key, "payments")).grant.labels == ()


SHAPES = [
    pytest.param(
        RoleGrant(type=ProxyType.DATAPLANE, mesh="default", labels=PINS),
        {"type": ProxyType.DATAPLANE, "mesh": "default"},
        id="dataplane",
    ),
    pytest.param(
        RoleGrant(type=ProxyType.EGRESS, mesh="default", labels=PINS),
        {"type": ProxyType.DATAPLANE, "mesh": "default", "listeners": frozenset({ZoneListener.EGRESS})},
        id="zone-listener",
    ),
    pytest.param(RoleGrant(type=ProxyType.INGRESS, labels=PINS), {"type": ProxyType.INGRESS}, id="zone-ingress"),
]


@pytest.mark.parametrize(("grant", "resource"), SHAPES)
@pytest.mark.parametrize(
    ("labels", "is_granted"),
    [
        ({}, False),
        ({"app": "payments"}, False),
        ({"app": "web", "example.com/team": "a.b_c-d"}, False),
        ({"APP": "payments", "example.com/team": "a.b_c-d"}, False),
        ({"app": "payments ", "example.com/team": "a.b_c-d"}, False),
        (dict(PINS), True),
        ({**dict(PINS), "version": "v2"}, True),
    ],
)
def test_a_proxy_has_every_pinned_label(
    grant: RoleGrant,
    resource: dict[str, object],
    labels: dict[str, str],
    is_granted: bool,  # noqa: FBT001 - a table's column
) -> None:
    proxy = ProxyAssertion(**resource, labels=labels)  # type: ignore[arg-type]
    if is_granted:
        assert match(grant, proxy, POLICY).labels == PINS
        return
    with pytest.raises(AuthorizationError) as raised:
        match(grant, proxy, POLICY)
    assert raised.value.reason is Reason.PROXY_LABEL_MISMATCH
    assert "payments" in raised.value.detail or "team" in raised.value.detail
