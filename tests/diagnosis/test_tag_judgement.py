"""Each tag by itself, by the rules of the core: the judgement must agree with a decision."""

from dataclasses import replace

import pytest

from app.core.errors import AuthorizationError
from app.core.proxy import ProxyType
from app.core.role_tags import TAG_KEYS, RoleRecord
from app.diagnosis.tag_judgement import APPLICABLE, TagJudgement, Verdict, judge_tags
from tests.support.policies import POLICY

ROLE = RoleRecord(arn="arn:aws:iam::111122223333:role/x", role_id="AROA", name="x", tags=(), request_id="")
GOOD = {"type": "dataplane", "mesh": "default", "service": "demo-app", "workload": "demo-app", "zone": "zone-1"}


def role(*more: tuple[str, str], **tags: str) -> RoleRecord:
    return replace(ROLE, tags=(*((f"kuma.io/{name}", value) for name, value in tags.items()), *more))


def verdicts(judgements: tuple[TagJudgement, ...]) -> dict[str, str]:
    return {judgement.key.removeprefix("kuma.io/"): judgement.verdict.value for judgement in judgements}


def test_every_tag_of_a_data_plane_is_judged() -> None:
    judged = judge_tags(role(("team", "x"), **GOOD), POLICY)
    assert verdicts(judged) == {"type": "ok", "mesh": "ok", "service": "ok", "workload": "ok", "zone": "ignored"}


def test_tags_that_are_not_there_are_named_with_their_effect() -> None:
    judged = judge_tags(ROLE, POLICY)
    assert verdicts(judged) == {
        "type": "missing",
        "mesh": "missing",
        "service": "absent",
        "workload": "absent",
        "zone": "absent",
    }
    assert all(judgement.why for judgement in judged)


def test_settings_make_tags_required() -> None:
    policy = replace(POLICY, require_service=True, require_workload=True)
    judged = {each.key: each for each in judge_tags(role(type="dataplane", mesh="default"), policy)}
    for name in ("service", "workload"):
        assert judged[f"kuma.io/{name}"].verdict is Verdict.MISSING
        assert f"KMESH_AWSIAM_REQUIRE_{name.upper()}_TAG" in judged[f"kuma.io/{name}"].why


@pytest.mark.parametrize("in_dataplane", [False, True])
@pytest.mark.parametrize("kind", ProxyType)
def test_the_type_is_judged_for_every_type(kind: ProxyType, in_dataplane: bool) -> None:  # noqa: FBT001
    judged = judge_tags(role(**{**GOOD, "type": kind.value}), POLICY, in_dataplane=in_dataplane)
    assert verdicts(judged)["type"] == "ok"


def test_a_role_of_a_data_plane_is_judged_as_one_whatever_the_listeners() -> None:
    assert judge_tags(role(**GOOD), POLICY, in_dataplane=True) == judge_tags(role(**GOOD), POLICY)


@pytest.mark.parametrize("in_dataplane", [False, True])
def test_no_setting_requires_a_tag_that_does_not_apply(in_dataplane: bool) -> None:  # noqa: FBT001
    policy = replace(POLICY, require_service=True, require_workload=True)
    judged = verdicts(judge_tags(role(type="egress"), policy, in_dataplane=in_dataplane))
    assert (judged["service"], judged["workload"]) == ("absent", "missing" if in_dataplane else "absent")


def test_a_zone_proxy_needs_no_mesh_unless_it_is_in_a_dataplane() -> None:
    assert verdicts(judge_tags(role(type="ingress"), POLICY))["mesh"] == "absent"
    assert verdicts(judge_tags(role(type="ingress"), POLICY, in_dataplane=True))["mesh"] == "missing"


def test_a_key_that_differs_only_in_case_is_named_beside_the_right_one() -> None:
    judged = judge_tags(role(("KUMA.IO/Mesh", "payments"), **GOOD), POLICY)
    [twin] = [each for each in judged if each.key == "KUMA.IO/Mesh"]
    assert (twin.verdict, twin.value) == (Verdict.INVALID, "payments")
    assert "only in case" in twin.why


def test_a_key_that_appears_twice_is_shown_with_both_values() -> None:
    judged = judge_tags(role(("kuma.io/mesh", "payments"), **GOOD), POLICY)
    assert [each.value for each in judged if each.verdict is Verdict.INVALID] == ["default", "payments"]


@pytest.mark.parametrize("kind", APPLICABLE)
@pytest.mark.parametrize("key", sorted(TAG_KEYS - {"kuma.io/type"}))
def test_a_value_is_invalid_here_exactly_if_it_denies_there(kind: ProxyType | None, key: str) -> None:
    """The table of tags that apply agrees with the tags that the core reads."""
    in_dataplane = kind is None
    broken = role(**{**GOOD, "type": (kind or ProxyType.EGRESS).value, key.removeprefix("kuma.io/"): "not valid!"})
    try:
        _ = broken.grant_in_dataplane if in_dataplane else broken.grant
    except AuthorizationError:
        expected = Verdict.INVALID
    else:
        expected = Verdict.IGNORED
    [judged] = [each for each in judge_tags(broken, POLICY, in_dataplane=in_dataplane) if each.key == key]
    assert judged.verdict is expected
    assert (key in APPLICABLE[kind]) is (expected is Verdict.INVALID)


def test_an_unknown_type_is_invalid() -> None:
    assert verdicts(judge_tags(role(**{**GOOD, "type": "gateway"}), POLICY))["type"] == "invalid"
