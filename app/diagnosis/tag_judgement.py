"""Judge each of a role's tags by itself, with the rules of `app.core.role_tags`.

A decision stops at the first tag that breaks a rule. An operator wants to see all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.core.errors import AuthorizationError
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyType
from app.core.role_grant import GrantPolicy
from app.core.role_tags import (
    LABEL_TAG_PREFIX,
    MESH_TAG,
    TYPE_TAG,
    ZONE_TAG,
    RoleRecord,
    is_kuma_tag,
    require_valid_value,
)

# In the order in which they are shown.
_KEYS: Final = (TYPE_TAG, MESH_TAG, SERVICE_TAG, WORKLOAD_TAG, ZONE_TAG)
# The tags that are read for each type of resource. The key None means a Dataplane with zone listeners.
APPLICABLE: Final = MappingProxyType(
    {
        ProxyType.DATAPLANE: frozenset({TYPE_TAG, MESH_TAG, SERVICE_TAG, WORKLOAD_TAG}),
        ProxyType.INGRESS: frozenset({TYPE_TAG, ZONE_TAG}),
        ProxyType.EGRESS: frozenset({TYPE_TAG, ZONE_TAG}),
        None: frozenset({TYPE_TAG, MESH_TAG, WORKLOAD_TAG, ZONE_TAG}),
    }
)
_ABSENT: Final = MappingProxyType(
    {
        TYPE_TAG: "required: dataplane, ingress or egress",
        MESH_TAG: "required: the mesh that the proxies may join",
        SERVICE_TAG: "not set: before Kuma 3.0 the proxy may be every service of the mesh",
        WORKLOAD_TAG: "not set: a proxy must not have the label kuma.io/workload",
        ZONE_TAG: "not set: the role does not limit the zone",
    }
)
_TWICE: Final = "the key appears twice"


class Verdict(StrEnum):
    """The result for one tag."""

    OK = "ok"
    ABSENT = "absent"
    MISSING = "missing"
    INVALID = "invalid"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagJudgement:
    """A tag of this service as IAM has it, and what the service makes of it.

    Attributes:
        key: the key as IAM has it, which may differ from a key of this service only in case.
        value: the value; None if the role has no such tag.
        verdict: the result.
        why: the reason for the result; empty for `Verdict.OK`.
    """

    key: str
    value: str | None
    verdict: Verdict
    why: str = ""


def judge_tags(role: RoleRecord, policy: GrantPolicy, *, in_dataplane: bool = False) -> tuple[TagJudgement, ...]:
    """Judge the five tags of a role, those that pin labels, and each key that differs from one of these only in case.

    Args:
        role: the role from IAM's answer.
        policy: what the settings require of a role.
        in_dataplane: whether the proxy is a Dataplane with zone listeners.
    """
    kind = _type_of(role)
    applicable = APPLICABLE[kind if kind is ProxyType.DATAPLANE or not in_dataplane else None]
    judgements = [_judge(role, key, applicable, is_required=_is_required(key, policy)) for key in _KEYS]
    pins = sorted({key.lower() for key, _ in role.tags if key.lower().startswith(LABEL_TAG_PREFIX)})
    judgements += [_judge_pins(role, folded) for folded in pins]
    return tuple(judgement for group in judgements for judgement in group)


def _judge_pins(role: RoleRecord, folded: str) -> Iterator[TagJudgement]:
    """Judge the tags that pin a label, whose keys differ at most in case."""
    keys = [key for key, _ in role.tags]
    for key, value in role.tags:
        if key.lower() != folded:
            continue
        if not key.startswith(LABEL_TAG_PREFIX):
            yield TagJudgement(key=key, value=value, verdict=Verdict.INVALID, why=_fault_of_key(key))
        elif keys.count(key) > 1:
            yield TagJudgement(key=key, value=value, verdict=Verdict.INVALID, why=_TWICE)
        else:
            yield _judge_value(key, value, applies=True)


def _judge(role: RoleRecord, key: str, applicable: frozenset[str], *, is_required: bool) -> Iterator[TagJudgement]:
    values = [value for each, value in role.tags if each == key]
    if not values and key not in applicable:
        yield TagJudgement(key=key, value=None, verdict=Verdict.ABSENT, why="does not apply to this type of proxy")
    elif not values and is_required:
        yield TagJudgement(key=key, value=None, verdict=Verdict.MISSING, why=_why_missing(key))
    elif not values:
        yield TagJudgement(key=key, value=None, verdict=Verdict.ABSENT, why=_ABSENT[key])
    for value in values:
        if len(values) > 1:
            yield TagJudgement(key=key, value=value, verdict=Verdict.INVALID, why=_TWICE)
        else:
            yield _judge_value(key, value, applies=key in applicable)
    for each, value in role.tags:
        if each.lower() == key and each != key:
            yield TagJudgement(key=each, value=value, verdict=Verdict.INVALID, why=_fault_of_key(each))


def _judge_value(key: str, value: str, *, applies: bool) -> TagJudgement:
    if not applies:
        why = "does not apply to this type of proxy"
        return TagJudgement(key=key, value=value, verdict=Verdict.IGNORED, why=why)
    try:
        require_valid_value(key, value)
    except AuthorizationError as error:
        return TagJudgement(key=key, value=value, verdict=Verdict.INVALID, why=error.detail)
    return TagJudgement(key=key, value=value, verdict=Verdict.OK)


def _fault_of_key(key: str) -> str:
    try:
        is_kuma_tag(key)
    except AuthorizationError as error:
        return f"{error.detail}: remove this tag, and find out who set it"
    return ""


def _type_of(role: RoleRecord) -> ProxyType:
    """Return the type that the role names. Without a valid type, judge the tags as those of a data plane."""
    value = dict(role.tags).get(TYPE_TAG, "")
    return ProxyType(value) if value in {each.value for each in ProxyType} else ProxyType.DATAPLANE


def _is_required(key: str, policy: GrantPolicy) -> bool:
    """Return whether a role must have a tag, if the tag applies to its type."""
    required = {
        TYPE_TAG: True,
        MESH_TAG: True,
        SERVICE_TAG: policy.require_service,
        WORKLOAD_TAG: policy.require_workload,
        ZONE_TAG: False,
    }
    return required[key]


def _why_missing(key: str) -> str:
    required_by = {SERVICE_TAG: "KMESH_AWSIAM_REQUIRE_SERVICE_TAG", WORKLOAD_TAG: "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG"}
    return f"{required_by[key]} requires it" if key in required_by else _ABSENT[key]
