"""The names of a proxy's service: the tag of Kuma 2.x and the label of Kuma 3.0 (contract, section 4; I27)."""

import itertools
from dataclasses import replace

import pytest

from app.core.errors import AuthorizationError
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant, match
from tests.support.policies import POLICY

OWN = "web"
OTHER = "payments"
# What a Dataplane can have as its tag and as its label.
PLACES = [*itertools.product((None, OWN, OTHER), repeat=2)]


def dataplane(
    tag: str | None, label: str | None, *listeners: ZoneListener, workload: str | None = None
) -> ProxyAssertion:
    labels = {SERVICE_TAG: label, WORKLOAD_TAG: workload}
    return ProxyAssertion(
        type=ProxyType.DATAPLANE,
        mesh="default",
        tags={} if tag is None else {SERVICE_TAG: {tag}},
        labels={key: value for key, value in labels.items() if value is not None},
        listeners=frozenset(listeners),
    )


def reason(grant: RoleGrant, proxy: ProxyAssertion, *, allow_unbound: bool = False) -> Reason | None:
    try:
        match(grant, proxy, replace(POLICY, allow_unbound_workloads=allow_unbound))
    except AuthorizationError as error:
        return error.reason
    return None


@pytest.mark.parametrize(("tag", "label"), PLACES)
def test_every_name_of_the_service_is_the_roles_and_there_is_one(tag: str | None, label: str | None) -> None:
    """The 2.x form has the tag, the 3.0 form the label, and a Dataplane that migrates has both."""
    names = {tag, label} - {None}
    expected = None if names == {OWN} else Reason.PROXY_SERVICE_MISMATCH
    assert reason(RoleGrant(type=ProxyType.DATAPLANE, mesh="default", service=OWN), dataplane(tag, label)) is expected


@pytest.mark.parametrize(("tag", "label"), PLACES)
def test_a_role_without_a_service_binds_no_name(tag: str | None, label: str | None) -> None:
    assert reason(RoleGrant(type=ProxyType.DATAPLANE, mesh="default"), dataplane(tag, label)) is None


@pytest.mark.parametrize("kind", list(ZoneListener))
@pytest.mark.parametrize(("tag", "label"), PLACES)
def test_a_zone_proxy_in_a_dataplane_has_no_service(kind: ZoneListener, tag: str | None, label: str | None) -> None:
    proxy_type = ProxyType.INGRESS if kind is ZoneListener.INGRESS else ProxyType.EGRESS
    expected = None if tag is label is None else Reason.PROXY_SERVICE_MISMATCH
    assert reason(RoleGrant(type=proxy_type, mesh="default"), dataplane(tag, label, kind)) is expected


@pytest.mark.parametrize(
    ("tag", "label", "expected"),
    [
        (OWN, None, None),
        (OWN, OWN, None),
        (None, OWN, Reason.PROXY_WORKLOAD_MISMATCH),
    ],
    ids=["tag", "both", "label-alone"],
)
def test_an_unbound_workload_is_no_substitute_for_the_tag(
    tag: str | None, label: str | None, expected: Reason | None
) -> None:
    """Without an inbound tag, Kuma 2.14.2 takes the mTLS service from the label kuma.io/workload (identity_tags.go)."""
    grant = RoleGrant(type=ProxyType.DATAPLANE, mesh="default", service=OWN)
    assert reason(grant, dataplane(tag, label, workload=OTHER), allow_unbound=True) is expected
    assert reason(grant, dataplane(tag, label, workload=OTHER)) is Reason.PROXY_WORKLOAD_MISMATCH


def test_an_unbound_workload_needs_the_setting_if_the_role_names_no_service() -> None:
    grant = RoleGrant(type=ProxyType.DATAPLANE, mesh="default")
    assert reason(grant, dataplane(None, None, workload=OTHER), allow_unbound=True) is None
    assert reason(grant, dataplane(None, None, workload=OTHER)) is Reason.PROXY_WORKLOAD_MISMATCH
