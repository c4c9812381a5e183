"""A verdict equals the decision under that policy, both from the record and from the audit line."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import AuthError, RequestError
from app.core.proxy import ProxyIdentity, ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.decision.record import DecisionRecord
from app.policy.facts import facts_of_line, facts_of_record
from app.policy.log_lines import find_decision
from app.policy.verdict import AccessPolicy, DecisionFacts, Missing, Outcome, Verdict, evaluate_policy
from app.telemetry.audit import decision_fields
from app.telemetry.metrics import outcome_of
from app.tokens.claims import TokenSubject
from tests.support.policy_scenes import (
    OTHER,
    POLICY,
    POLICY_CHANGES,
    PROXY_CHANGES,
    ROLE_CHANGES,
    SCENES,
    ZONE_TYPES,
    Scene,
    changes_of,
    decide,
    decide_token,
    every_single_change,
    make_proxy,
    make_role,
)
from tests.support.principals import PRINCIPAL

bounded = settings(max_examples=100, deadline=None)


def changed(base: Mapping[str, Any], changes: Mapping[str, tuple[Any, ...]]) -> st.SearchStrategy[Any]:
    """The base with up to three changes."""
    return st.lists(st.sampled_from(changes_of(changes)), max_size=3).map(lambda chosen: {**base, **dict(chosen)})


def make_scene(number: int) -> st.SearchStrategy[Scene]:
    role, proxy = SCENES[number]
    proxies = changed(proxy, PROXY_CHANGES).map(make_proxy)
    return st.tuples(changed(role, ROLE_CHANGES).map(make_role), proxies | proxies | proxies | st.none())


scenes = st.integers(0, len(SCENES) - 1).flatmap(make_scene)
policies = changed(POLICY, POLICY_CHANGES).map(lambda given: AccessPolicy(**given))
calls = st.sampled_from(["authenticate", "token", "ext_authz"])


def verdicts(record: DecisionRecord, error: AuthError | None, policy: AccessPolicy) -> tuple[Verdict, Verdict]:
    """Evaluate the policy on the record of a decision, and on its audit line."""
    line = find_decision(orjson.dumps({**decision_fields(record, error, 0.1), "event": "decision"}))
    assert line is not None
    return evaluate_policy(facts_of_record(record, error), policy), evaluate_policy(facts_of_line(line), policy)


def expected(error: AuthError | None) -> Verdict:
    return Verdict(Outcome.ALLOWED) if error is None else Verdict(Outcome.DENIED, error.reason)


@bounded
@given(scenes, policies, calls)
def test_the_enforced_policy_never_differs_from_itself(scene: Scene, policy: AccessPolicy, call: Any) -> None:
    role, asserted = scene
    record = DecisionRecord("request-1", call=call)
    error = decide(role, record, asserted, policy)
    if isinstance(error, RequestError):
        assert {each.missing for each in verdicts(record, error, policy)} <= {Missing.ANSWER, Missing.CALL}
    else:
        assert set(verdicts(record, error, policy)) == {expected(error)}


def compare(scene: Scene, enforced: AccessPolicy, other: AccessPolicy, call: Any) -> None:
    """Check the other policy's verdict on a decision against the decision under that policy."""
    role, asserted = scene
    record = DecisionRecord("request-1", call=call)
    error = decide(role, record, asserted, enforced)
    would_be = decide(role, DecisionRecord("request-2", call=call), asserted, other)
    by_record, by_line = verdicts(record, error, other)
    if by_record.missing is None:
        assert by_record == expected(would_be)
    elif by_record.missing is Missing.ROLE:
        assert error is not None
        assert error.reason is Reason.ACCOUNT_NOT_AUTHORIZED
    else:
        is_malformed = isinstance(error, RequestError) or isinstance(would_be, RequestError)
        assert is_malformed or by_record.missing is Missing.CALL
    # The line has fewer facts about a role that IAM confused with another, or about a faulty answer. Both stay
    # denied.
    assert by_line == by_record or (by_line.outcome is by_record.outcome is Outcome.DENIED)


@bounded
@given(scenes, policies, policies, calls)
def test_a_verdict_is_what_a_service_with_that_policy_decides(
    scene: Scene, enforced: AccessPolicy, other: AccessPolicy, call: Any
) -> None:
    compare(scene, enforced, other, call)


@pytest.mark.parametrize("number", range(len(SCENES)))
def test_no_single_change_of_role_proxy_and_policy_is_judged_differently(number: int) -> None:
    role, proxy = SCENES[number]
    wide = AccessPolicy(**POLICY)
    policies = [AccessPolicy(**given) for given in every_single_change(POLICY, POLICY_CHANGES)]
    given_scenes = [
        *((make_role(given), make_proxy(proxy)) for given in every_single_change(role, ROLE_CHANGES)),
        *((make_role(role), make_proxy(given)) for given in every_single_change(proxy, PROXY_CHANGES)),
        (make_role(role), None),
    ]
    for scene in given_scenes:
        for policy in policies:
            compare(scene, wide, policy, "token")
            compare(scene, policy, wide, "authenticate")


meshes = st.sampled_from(["default", "demo"])
few = st.none() | meshes
zone_types = st.sampled_from(ZONE_TYPES)
identities = (
    st.builds(ProxyIdentity, type=st.just(ProxyType.DATAPLANE), mesh=meshes, service=few, workload=few, zone=st.none())
    | st.builds(ProxyIdentity, type=zone_types, mesh=st.none(), service=st.none(), workload=st.none(), zone=meshes)
    | st.builds(ProxyIdentity, type=zone_types, mesh=meshes, service=st.none(), workload=meshes, zone=few)
)
subjects = st.builds(
    lambda identity, name: TokenSubject(
        identity=identity, principal=PRINCIPAL, name="demo" if identity.is_zone_proxy_in_dataplane else name
    ),
    identity=identities,
    name=few,
)


@bounded
@given(subjects, scenes, policies, policies, calls)
def test_a_verdict_about_a_presented_token_is_what_that_service_decides(
    subject: TokenSubject, scene: Scene, enforced: AccessPolicy, other: AccessPolicy, call: Any
) -> None:
    _, asserted = scene
    record = DecisionRecord("request-1", call=call)
    error = decide_token(subject, record, asserted, enforced)
    assert set(verdicts(record, error, enforced)) == {expected(error)}
    would_be = decide_token(subject, DecisionRecord("request-2", call=call), asserted, other)
    assert set(verdicts(record, error, other)) == {expected(would_be)}


# Facts that are not known.

WIDE = AccessPolicy(**POLICY)
ROLE, PROXY = make_role(SCENES[0][0]), make_proxy(SCENES[0][1])


@pytest.mark.parametrize("reason", [reason for reason in Reason if EXPLANATIONS[reason].status == 401])
def test_a_credential_that_is_refused_is_refused_under_every_policy(reason: Reason) -> None:
    assert evaluate_policy(DecisionFacts(reason=reason), WIDE) == Verdict(Outcome.DENIED, reason)


@pytest.mark.parametrize("reason", [reason for reason in Reason if EXPLANATIONS[reason].status not in (401, 403)])
def test_a_decision_without_an_answer_has_no_verdict(reason: Reason) -> None:
    unknown = Verdict(Outcome.UNKNOWN, missing=Missing.ANSWER)
    assert evaluate_policy(DecisionFacts(reason=reason), WIDE) == unknown
    assert evaluate_policy(DecisionFacts(reason=reason, principal=PRINCIPAL), WIDE) == unknown
    assert (
        evaluate_policy(DecisionFacts(reason=reason, principal=PRINCIPAL, role=ROLE, asserted=PROXY), WIDE) == unknown
    )


def test_an_account_that_a_policy_does_not_list_is_denied_whatever_is_missing() -> None:
    others = AccessPolicy(**{**POLICY, "accounts": frozenset({OTHER})})
    verdict = evaluate_policy(DecisionFacts(reason=Reason.IAM_UNAVAILABLE, principal=PRINCIPAL), others)
    assert verdict == Verdict(Outcome.DENIED, Reason.ACCOUNT_NOT_AUTHORIZED)


def test_a_role_that_was_not_read_is_missing() -> None:
    facts = DecisionFacts(reason=Reason.ACCOUNT_NOT_AUTHORIZED, principal=PRINCIPAL, asserted=PROXY)
    assert evaluate_policy(facts, WIDE) == Verdict(Outcome.UNKNOWN, missing=Missing.ROLE)


@pytest.mark.parametrize("reason", [Reason.ROLE_NOT_FOUND, Reason.ROLE_ID_MISMATCH])
def test_a_role_that_does_not_exist_is_denied_under_every_policy(reason: Reason) -> None:
    facts = DecisionFacts(reason=reason, principal=PRINCIPAL, asserted=PROXY)
    assert evaluate_policy(facts, WIDE) == Verdict(Outcome.DENIED, reason)


def test_a_token_that_the_facts_do_not_describe_is_missing() -> None:
    facts = DecisionFacts(reason=None, principal=PRINCIPAL, is_token=True, asserted=PROXY)
    assert evaluate_policy(facts, WIDE) == Verdict(Outcome.UNKNOWN, missing=Missing.TOKEN)


def test_the_zone_of_a_policy_makes_a_zone_token_possible() -> None:
    [role, proxy] = [make_role({**SCENES[2][0], "kuma.io/zone": None}), make_proxy(SCENES[2][1])]
    facts = DecisionFacts(
        reason=Reason.ROLE_ZONE_MISSING, principal=PRINCIPAL, role=role, asserted=proxy, wants_token=True
    )
    assert evaluate_policy(facts, WIDE) == Verdict(Outcome.DENIED, Reason.ROLE_ZONE_MISSING)
    assert evaluate_policy(facts, AccessPolicy(**POLICY, zone="east")) == Verdict(Outcome.ALLOWED)


def test_a_line_that_does_not_say_whether_a_token_was_wanted_is_unknown_only_where_that_matters() -> None:
    [role, proxy] = [make_role({**SCENES[2][0], "kuma.io/zone": None}), make_proxy(SCENES[2][1])]
    facts = DecisionFacts(reason=None, principal=PRINCIPAL, role=role, asserted=proxy, wants_token=None)
    assert evaluate_policy(facts, WIDE) == Verdict(Outcome.UNKNOWN, missing=Missing.CALL)
    assert evaluate_policy(facts, AccessPolicy(**POLICY, zone="east")) == Verdict(Outcome.ALLOWED)


@pytest.mark.parametrize("change", [{"accounts": frozenset()}, {"enabled_types": frozenset()}])
def test_a_policy_without_an_account_or_a_type_is_a_bug(change: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        AccessPolicy(**{**POLICY, **change})


def test_outcomes_have_the_names_that_metrics_and_audit_lines_use() -> None:
    assert {outcome_of(None), outcome_of(Reason.STS_REJECTED)} == {Outcome.ALLOWED, Outcome.DENIED}
