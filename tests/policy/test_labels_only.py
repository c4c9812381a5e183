"""What a preview says of a proxy that comes to Kuma 3.0 with the role and the resource that it has on 2.14."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.policy.labels_only import evaluate_for_labels_only
from app.policy.verdict import AccessPolicy, DecisionFacts, Missing, Outcome, Verdict, evaluate_policy
from tests.support.policy_scenes import POLICY, ROLE, make_role
from tests.support.principals import PRINCIPAL

SERVICE, WORKLOAD = "kuma.io/service", "kuma.io/workload"
TAGS = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", SERVICE: "web", WORKLOAD: "web"}
WIDE = AccessPolicy(**POLICY)
PROXY = ProxyAssertion(
    type=ProxyType.DATAPLANE,
    mesh="default",
    tags={SERVICE: frozenset({"web"})},
    labels={SERVICE: "web", WORKLOAD: "web"},
)


def facts(proxy: ProxyAssertion | None = PROXY, **tags: Any) -> DecisionFacts:
    return DecisionFacts(
        reason=None,
        principal=PRINCIPAL,
        role=make_role({**ROLE, **TAGS, **tags}),
        asserted=proxy,
    )


def test_a_proxy_with_tags_and_labels_is_let_in_by_both() -> None:
    assert evaluate_policy(facts(), WIDE).outcome is evaluate_for_labels_only(facts(), WIDE).outcome is Outcome.ALLOWED


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(facts(replace(PROXY, labels={WORKLOAD: "web"})), Reason.PROXY_SERVICE_MISMATCH, id="no-label"),
        pytest.param(facts(**{WORKLOAD: None}), Reason.ROLE_WORKLOAD_MISSING, id="no-workload-tag"),
        pytest.param(
            facts(ProxyAssertion(type=ProxyType.INGRESS), **{"kuma.io/type": "ingress"}),
            Reason.PROXY_TYPE_MISMATCH,
            id="zone-ingress",
        ),
        pytest.param(facts(None, **{"kuma.io/type": "egress"}), Reason.ROLE_MESH_MISSING, id="role-of-a-zone-egress"),
    ],
)
def test_what_only_2_x_lets_in_is_denied_by_name(given: DecisionFacts, reason: Reason) -> None:
    wide = replace(WIDE, allow_unbound_workloads=True)
    assert evaluate_policy(given, wide).outcome is Outcome.ALLOWED
    assert evaluate_for_labels_only(given, wide) == Verdict(Outcome.DENIED, reason)


def test_a_zone_proxy_in_a_dataplane_needs_no_more_than_its_workload() -> None:
    listener = frozenset({ZoneListener.EGRESS})
    proxy = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", labels={WORKLOAD: "web"}, listeners=listener)
    given = facts(proxy, **{"kuma.io/type": "egress", SERVICE: None})
    assert evaluate_for_labels_only(given, WIDE).outcome is Outcome.ALLOWED


def test_a_call_without_a_proxy_says_nothing_about_its_labels() -> None:
    assert evaluate_for_labels_only(facts(None), WIDE) == Verdict(Outcome.UNKNOWN, missing=Missing.PROXY)


def test_what_was_denied_before_stays_denied() -> None:
    given = facts(replace(PROXY, mesh="other"))
    assert evaluate_for_labels_only(given, WIDE) == evaluate_policy(given, WIDE)
