"""The policies in ``config/iam`` do what ``config/README.md`` says, and no more.

They are asked questions: a small evaluator, written from the rules of the IAM user guide (policy evaluation logic, and
"IAM JSON policy elements: Condition operators"), says what a policy answers to one request. For every statement there
is a request whose answer changes when the statement is taken away.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest

IAM = Path(__file__).parents[2] / "config" / "iam"
KEYS = ("kuma.io/type", "kuma.io/mesh", "kuma.io/service", "kuma.io/workload", "kuma.io/zone")
SERVICE_ROLE = "arn:aws:iam::111122223333:role/kuma-aws-iam"
TAG_ADMIN = "arn:aws:iam::444455556666:role/platform/mesh-identity-admin"
DEPLOYER = "arn:aws:iam::444455556666:role/platform/mesh-deployer"
DEVELOPER = "arn:aws:iam::444455556666:role/developer"
ANY_ROLE = "arn:aws:iam::444455556666:role/demo-app"
WORKLOAD_ROLE = "arn:aws:iam::444455556666:role/mesh/demo-app"
MAX_ORGANISATION_POLICY = 5120
POLICIES = sorted(path.name for path in IAM.glob("*.json"))


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Like ``dict``, but raise an error for a repeated member, since IAM refuses such a policy."""
    assert len({name for name, _ in pairs}) == len(pairs), f"a member stands twice among {[name for name, _ in pairs]}"
    return dict(pairs)


def load(name: str) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads((IAM / name).read_text("utf-8"), object_pairs_hook=unique_members)
    return policy


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Request:
    """The facts that AWS has about a call when it evaluates policies; the names of ``context`` are in lower case."""

    action: str
    resource: str = "*"
    principal: str | None = None
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def glob(pattern: str, value: str) -> bool:
    return fnmatchcase(value, pattern.replace("[", "[[]"))


def arn_glob(pattern: str, value: str) -> bool:
    """Match each of the six parts separately: a ``*`` in one part does not reach into the next one."""
    patterns, values = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(values) == 6 and all(glob(*pair) for pair in zip(patterns, values, strict=True))


TESTS = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringLike": glob,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "ArnLike": arn_glob,
}


def operator_holds(operator: str, key: str, wanted: Sequence[str], request: Request) -> bool:
    values = request.context.get(key.lower())  # the names of condition keys ignore case, their values do not
    if operator == "Null":
        return (values is None) == (wanted == ["true"])
    if operator == "ArnNotLike":
        return values is None or not any(arn_glob(one, value) for one in wanted for value in values)
    prefix, _, name = operator.rpartition(":")
    assert prefix in {"", "ForAnyValue"}, f"the evaluator does not know {operator}"
    assert prefix or values is None or len(values) == 1, f"{key} has several values: say ForAnyValue"
    return any(TESTS[name](one, value) for one in wanted for value in values or ())


def applies(statement: Mapping[str, Any], request: Request) -> bool:
    """Whether a statement applies to the request."""
    if not any(glob(action.lower(), request.action.lower()) for action in as_list(statement["Action"])):
        return False
    if not any(one == "*" or arn_glob(one, request.resource) for one in as_list(statement.get("Resource", "*"))):
        return False
    principal = statement.get("Principal", "*")
    named = principal if principal == "*" else next(iter(principal.values()))
    if request.principal is not None and named != "*" and request.principal not in as_list(named):
        return False
    return all(
        operator_holds(operator, key, as_list(wanted), request)
        for operator, block in statement.get("Condition", {}).items()
        for key, wanted in block.items()
    )


def effects(policy: Mapping[str, Any], request: Request) -> set[str]:
    return {statement["Effect"] for statement in policy["Statement"] if applies(statement, request)}


def without(policy: Mapping[str, Any], sid: str) -> dict[str, Any]:
    return {**policy, "Statement": [one for one in policy["Statement"] if one["Sid"] != sid]}


@cache
def every_action() -> tuple[str, ...]:
    """Return every action of botocore's models of the services in the policies, and one action of another service."""
    session = botocore.session.get_session()
    services = ("iam", "sts", "cloudformation", "ecs", "secretsmanager")
    names = (f"{name}:{op}" for name in services for op in session.get_service_model(name).operation_names)
    return (*names, "sts:TagSession", "iam:PassRole", "s3:GetObject")


# ---- every file -----------------------------------------------------------------------------------------------------


def test_the_policies_that_the_readme_promises_are_there() -> None:
    assert POLICIES == [
        "controller-role-policy.json",
        "guard-session-tags-rcp.json",
        "guard-tags-scp.json",
        "reader-role-policy.json",
        "reader-role-trust.json",
        "service-role-policy-cross-account.json",
        "service-role-policy-path-scoped.json",
        "service-role-policy.json",
        "service-role-trust.json",
        "workload-role-trust.json",
    ]


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_of_the_current_version_and_names_each_statement(name: str) -> None:
    policy = load(name)
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert sids
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_states_what_it_covers_and_never_the_rest(name: str) -> None:
    """``NotAction`` and ``NotResource`` cover what they do not name, so they also cover what AWS adds later."""
    trust = name.endswith("-trust.json")
    for statement in load(name)["Statement"]:
        allowed = {"Sid", "Effect", "Action", "Condition"} | ({"Principal"} if trust else {"Resource"})
        assert set(statement) <= allowed | ({"Principal"} if name.endswith("-rcp.json") else set())
        assert ("Resource" in statement) != trust
        assert statement["Effect"] == ("Deny" if name.startswith("guard-") else "Allow")
        assert all("*" not in action for action in as_list(statement["Action"]))
        assert all(action in every_action() for action in as_list(statement["Action"]))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_names_only_accounts_of_the_documentation(name: str) -> None:
    accounts = set(re.findall(r"\b\d{12}\b", (IAM / name).read_text("utf-8")))
    assert accounts <= {"111122223333", "444455556666", "777788889999"}


# ---- what the service may do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "action", "granted", "refused"),
    [
        pytest.param(
            "service-role-policy.json",
            "iam:GetRole",
            ["arn:aws:iam::111122223333:role/demo-app", "arn:aws:iam::111122223333:role/mesh/demo-app"],
            [ANY_ROLE, "arn:aws:iam::111122223333:user/demo-app"],
            id="own-account",
        ),
        pytest.param(
            "service-role-policy-path-scoped.json",
            "iam:GetRole",
            ["arn:aws:iam::111122223333:role/mesh/demo-app"],
            # The last one is the call that AWS checks if mesh/gone does not exist: AccessDenied instead
            # of NoSuchEntity.
            [
                "arn:aws:iam::111122223333:role/meshes/demo-app",
                "arn:aws:iam::444455556666:role/mesh/demo-app",
                "arn:aws:iam::111122223333:role/gone",
            ],
            id="path-scoped",
        ),
        pytest.param(
            "service-role-policy-cross-account.json",
            "sts:AssumeRole",
            ["arn:aws:iam::444455556666:role/kuma-reader", "arn:aws:iam::777788889999:role/kuma-reader"],
            [
                "arn:aws:iam::123456789012:role/kuma-reader",
                "arn:aws:iam::444455556666:role/admin",
                "arn:aws:iam::444455556666:role/kuma-reader-admin",
                "arn:aws:iam::444455556666:role/x/kuma-reader",
            ],
            id="cross-account",
        ),
        pytest.param(
            "reader-role-policy.json",
            "iam:GetRole",
            [ANY_ROLE, "arn:aws:iam::444455556666:role/mesh/demo-app"],
            ["arn:aws:iam::777788889999:role/demo-app"],
            id="reader",
        ),
    ],
)
def test_a_policy_grants_one_action_on_what_it_names_and_nothing_else(
    name: str, action: str, granted: list[str], refused: list[str]
) -> None:
    policy = load(name)
    for resource in granted:
        assert [one for one in every_action() if effects(policy, Request(one, resource))] == [action]
    for resource in [*refused, "*"]:
        assert [one for one in every_action() if effects(policy, Request(one, resource))] == []


SECRETS = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"
CLUSTER = {"ecs:cluster": ["arn:aws:ecs:eu-west-1:111122223333:cluster/mesh"]}
OTHER_CLUSTER = {"ecs:cluster": ["arn:aws:ecs:eu-west-1:111122223333:cluster/mesh2"]}
PUTS = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]


@pytest.mark.parametrize(
    ("resource", "context", "granted"),
    [
        (f"{SECRETS}kong-mesh-ecs/web-AbCdEf", {}, PUTS),
        (f"{SECRETS}kong-mesh-ecs-other/web-AbCdEf", {}, []),
        (f"{SECRETS}database-AbCdEf", {}, []),
        ("arn:aws:secretsmanager:eu-west-1:444455556666:secret:kong-mesh-ecs/web-AbCdEf", {}, []),
        ("arn:aws:ecs:eu-west-1:111122223333:task/mesh/1", CLUSTER, ["ecs:DescribeTasks", "ecs:ListTasks"]),
        ("arn:aws:ecs:eu-west-1:111122223333:task/mesh2/1", OTHER_CLUSTER, []),
        ("arn:aws:iam::111122223333:role/mesh/demo-app", {}, ["iam:GetRole"]),
        ("arn:aws:iam::111122223333:role/admin", {}, []),
    ],
)
def test_the_controller_may_do_what_it_needs_on_what_is_its_own(
    resource: str, context: Mapping[str, Sequence[str]], granted: list[str]
) -> None:
    policy = without(load("controller-role-policy.json"), "ReadTaskDefinitions")
    # AWS lets nobody restrict this action to a resource or a cluster.
    assert [one["Action"] for one in load("controller-role-policy.json")["Statement"]][
        -1
    ] == "ecs:DescribeTaskDefinition"
    context = context or {"ecs:cluster": [""]}
    allowed = [one for one in every_action() if effects(policy, Request(one, resource, context=context))]
    assert sorted(allowed) == sorted(granted)


# Who may assume which role.

READER_CALL = Request(
    "sts:AssumeRole",
    principal=SERVICE_ROLE,
    context={"sts:externalid": ["mesh-production"], "aws:principalorgid": ["o-exampleorgid"]},
)


def test_the_reader_role_trusts_the_service() -> None:
    assert effects(load("reader-role-trust.json"), READER_CALL) == {"Allow"}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(replace(READER_CALL, principal=DEVELOPER), id="another-role"),
        pytest.param(replace(READER_CALL, action="sts:TagSession"), id="session-tags"),
        pytest.param(
            replace(READER_CALL, context={"aws:principalorgid": ["o-exampleorgid"]}), id="without-external-id"
        ),
        pytest.param(
            replace(READER_CALL, context={**READER_CALL.context, "sts:externalid": ["Mesh-Production"]}),
            id="external-id-in-another-case",
        ),
        pytest.param(replace(READER_CALL, context={"sts:externalid": ["mesh-production"]}), id="from-no-organisation"),
        pytest.param(
            replace(READER_CALL, context={**READER_CALL.context, "aws:principalorgid": ["o-otherorgan"]}),
            id="from-another-organisation",
        ),
    ],
)
def test_the_reader_role_trusts_nobody_else(request_: Request) -> None:
    assert effects(load("reader-role-trust.json"), request_) == set()


def ecs_call(account: str, **changes: Any) -> Request:
    context = {
        "aws:sourceaccount": [account],
        "aws:sourcearn": [f"arn:aws:ecs:eu-west-1:{account}:task/demo/0123456789abcdef"],
    }
    context |= changes.pop("context", {})
    return replace(Request("sts:AssumeRole", principal="ecs-tasks.amazonaws.com", context=context), **changes)


@pytest.mark.parametrize(
    ("name", "account"), [("service-role-trust.json", "111122223333"), ("workload-role-trust.json", "444455556666")]
)
def test_a_task_role_trusts_the_tasks_of_its_account_and_nobody_else(name: str, account: str) -> None:
    """Aws-facts section 4: the session name proves a task only if nobody but ECS can assume the role."""
    policy = load(name)
    assert effects(policy, ecs_call(account)) == {"Allow"}
    for stranger in (
        ecs_call(account, principal="ec2.amazonaws.com"),
        ecs_call(account, principal=f"arn:aws:iam::{account}:root"),
        ecs_call(account, action="sts:TagSession"),
        ecs_call(account, context={"aws:sourceaccount": ["123456789012"]}),
        ecs_call(account, context={"aws:sourcearn": ["arn:aws:ecs:eu-west-1:123456789012:task/demo/0123"]}),
        ecs_call(account, context={"aws:sourcearn": [f"arn:aws:ecs:us-east-1:{account}:task/demo/0123"]}),
        ecs_call(account, context={"aws:sourcearn": [f"arn:aws:ec2:eu-west-1:{account}:instance/i-0"]}),
        replace(ecs_call(account), context={}),
    ):
        assert effects(policy, stranger) == set()


# ---- the guard ------------------------------------------------------------------------------------------------------


def tagging(action: str, *keys: str, by: str = DEVELOPER, on: str = ANY_ROLE, tagged: bool = False) -> Request:
    context: dict[str, Sequence[str]] = {"aws:principalarn": [by]}
    if keys:
        context["aws:tagkeys"] = keys
    if tagged:
        context["aws:resourcetag/kuma.io/type"] = ["dataplane"]
    return Request(action, on, context=context)


def passing(role: str, by: str = DEVELOPER) -> Request:
    return Request("iam:PassRole", role, context={"aws:principalarn": [by]})


def stack(operation: str, role: str | None, by: str = DEVELOPER) -> Request:
    """Return a stack operation that gives CloudFormation a role.

    Without a role in the request, the context key is absent.
    """
    named = {} if role is None else {"cloudformation:rolearn": [role]}
    on = "arn:aws:cloudformation:eu-west-1:444455556666:stack/demo-app/0123"
    return Request(f"cloudformation:{operation}", on, context={"aws:principalarn": [by], **named})


# The operations whose requests can name a role (service authorization reference of CloudFormation).
STACK_OPERATIONS = (
    "CreateStack",
    "UpdateStack",
    "DeleteStack",
    "CreateChangeSet",
    "ContinueUpdateRollback",
    "RollbackStack",
)


def spellings(key: str) -> Iterator[str]:
    yield from (key, key.upper(), key.title(), key.replace("kuma", "Kuma"), key[:-1] + key[-1].upper())


ONE_OF_EACH_STATEMENT = {
    "a-key-to-come": tagging("iam:TagRole", "kuma.io/region"),
    "a-key-in-another-case": tagging("iam:TagRole", "KUMA.IO/MESH"),
    "a-template": tagging("iam:AcquireRole"),
    "a-session-tag": tagging("sts:TagSession", "kuma.io/mesh"),
    "trust-of-a-tagged-role": tagging("iam:UpdateAssumeRolePolicy", tagged=True),
    "make-the-exempt-role": tagging("iam:CreateRole", on=TAG_ADMIN),
    "make-the-deployer": tagging("iam:CreateRole", on=DEPLOYER),
    "pass-a-workload-role": passing(WORKLOAD_ROLE),
    "pass-the-exempt-role": passing(TAG_ADMIN),
    "a-stack-that-runs-as-the-exempt-role": stack("CreateStack", TAG_ADMIN),
}
ALMOST_THE_EXEMPT_ROLE = {
    "root": "arn:aws:iam::444455556666:root",
    "its-name-without-its-path": "arn:aws:iam::444455556666:role/mesh-identity-admin",
    "its-name-under-another-path": "arn:aws:iam::444455556666:role/team/mesh-identity-admin",
    "its-name-in-another-case": "arn:aws:iam::444455556666:role/platform/Mesh-Identity-Admin",
    "its-name-and-more": "arn:aws:iam::444455556666:role/platform/mesh-identity-admin-2",
    "a-user-of-its-name": "arn:aws:iam::444455556666:user/platform/mesh-identity-admin",
    "a-deployer-almost": "arn:aws:iam::444455556666:role/platform/mesh-deployer-2",
}
GUARDED = {
    **ONE_OF_EACH_STATEMENT,
    **{
        f"{action}-{spelling}": tagging(f"iam:{action}", spelling)
        for action in ("TagRole", "UntagRole", "CreateRole")
        for key in KEYS
        for spelling in spellings(key)
    },
    # ForAllValues would allow these, since one of the keys is not a tag of this service.
    "an-innocent-key-first": tagging("iam:TagRole", "team", "kuma.io/mesh"),
    "an-innocent-key-last": tagging("iam:CreateRole", "KUMA.IO/service", "team"),
    **{f"{action}-a-key-to-come": tagging(f"iam:{action}", "kuma.io/region") for action in ("UntagRole", "CreateRole")},
    **{
        f"session-{spelling}": tagging("sts:TagSession", spelling, by=by)
        for key in KEYS
        for spelling in spellings(key)
        for by in (DEVELOPER, TAG_ADMIN)
    },
    "another-tag-on-a-tagged-role": tagging("iam:TagRole", "team", tagged=True),
    "untag-a-tagged-role": tagging("iam:UntagRole", "team", tagged=True),
    "delete-a-tagged-role": tagging("iam:DeleteRole", tagged=True),
    # Whoever can assume the exempt role is exempt.
    "trust-of-the-exempt-role": tagging("iam:UpdateAssumeRolePolicy", on=TAG_ADMIN),
    "policy-of-the-exempt-role": tagging("iam:PutRolePolicy", on=TAG_ADMIN),
    "managed-policy-of-the-exempt-role": tagging("iam:AttachRolePolicy", on=TAG_ADMIN),
    "delete-the-exempt-role": tagging("iam:DeleteRole", on=TAG_ADMIN),
    **{
        f"{operation}-as-{role.rpartition('/')[2]}-by-{by.rpartition('/')[2]}": stack(operation, role, by)
        for operation in STACK_OPERATIONS
        for role in (TAG_ADMIN, DEPLOYER)
        for by in (DEVELOPER, DEPLOYER, TAG_ADMIN)
    },
    # CloudFormation uses a stack's earlier role for everybody who may update the stack. So not even the exempt
    # roles may pass themselves.
    **{
        f"{by.rpartition('/')[2]}-passes-{role.rpartition('/')[2]}": passing(role, by)
        for role in (TAG_ADMIN, DEPLOYER)
        for by in (DEVELOPER, DEPLOYER, TAG_ADMIN)
    },
    "pass-a-workload-role-of-a-deeper-path": passing(WORKLOAD_ROLE.replace("/mesh/", "/mesh/team/")),
    "trust-of-the-deployer": tagging("iam:UpdateAssumeRolePolicy", on=DEPLOYER),
    "the-deployer-changes-itself": tagging("iam:PutRolePolicy", on=DEPLOYER, by=DEPLOYER),
    "the-deployer-tags": tagging("iam:TagRole", "kuma.io/mesh", by=DEPLOYER),
    "the-deployer-makes": tagging("iam:CreateRole", "kuma.io/mesh", by=DEPLOYER),
    **{
        f"{name}-by-{by}": replace(request, context={**request.context, "aws:principalarn": [arn]})
        for by, arn in ALMOST_THE_EXEMPT_ROLE.items()
        for name, request in ONE_OF_EACH_STATEMENT.items()
    },
}
UNTOUCHED = {
    "the-exempt-role-tags": tagging("iam:TagRole", *KEYS, by=TAG_ADMIN),
    "the-exempt-role-makes": tagging("iam:CreateRole", *KEYS, by=TAG_ADMIN),
    "the-exempt-role-mends": tagging("iam:UpdateAssumeRolePolicy", by=TAG_ADMIN, tagged=True),
    "the-exempt-role-takes-a-template": tagging("iam:AcquireRole", by=TAG_ADMIN),
    "the-exempt-role-of-another-account": tagging("iam:TagRole", KEYS[0], by=TAG_ADMIN.replace("4444", "7777")),
    "another-tag": tagging("iam:TagRole", "team"),
    "a-key-that-looks-alike": tagging("iam:TagRole", "kumaXio/mesh", "not-kuma.io/mesh"),
    "an-untagged-role": tagging("iam:CreateRole"),
    "trust-of-an-untagged-role": tagging("iam:UpdateAssumeRolePolicy"),
    "delete-an-untagged-role": tagging("iam:DeleteRole"),
    "another-session-tag": tagging("sts:TagSession", "team"),
    "reading-a-tagged-role": tagging("iam:GetRole", tagged=True),
    "assuming-a-tagged-role": tagging("sts:AssumeRole", tagged=True),
    "the-deployer-passes-a-workload-role": passing(WORKLOAD_ROLE, DEPLOYER),
    "the-exempt-role-passes-a-workload-role": passing(WORKLOAD_ROLE, TAG_ADMIN),
    "passing-another-role": passing(ANY_ROLE),
    "passing-a-role-whose-path-looks-alike": passing(ANY_ROLE.replace("/demo-app", "/meshes/demo-app")),
    **{f"{operation}-as-another-role": stack(operation, ANY_ROLE) for operation in STACK_OPERATIONS},
    # The remaining gap that the page names: if the stack already has a role, the request contains none.
    **{f"{operation}-without-a-role": stack(operation, None) for operation in STACK_OPERATIONS},
    "the-exempt-role-makes-a-stack-itself": stack("CreateStack", None, TAG_ADMIN),
}


@pytest.mark.parametrize("request_", [pytest.param(request, id=name) for name, request in GUARDED.items()])
def test_the_guard_denies(request_: Request) -> None:
    assert effects(load("guard-tags-scp.json"), request_) == {"Deny"}


@pytest.mark.parametrize("request_", [pytest.param(request, id=name) for name, request in UNTOUCHED.items()])
def test_the_guard_leaves_alone(request_: Request) -> None:
    assert effects(load("guard-tags-scp.json"), request_) == set()


@pytest.mark.parametrize("sid", [statement["Sid"] for statement in load("guard-tags-scp.json")["Statement"]])
def test_no_statement_of_the_guard_can_be_left_out(sid: str) -> None:
    weaker = without(load("guard-tags-scp.json"), sid)
    assert [name for name, request in GUARDED.items() if not effects(weaker, request)]


def test_the_guard_denies_session_tags_to_callers_from_outside() -> None:
    """A service control policy does not apply to these callers, so the resource control policy repeats the rule."""
    policy = load("guard-session-tags-rcp.json")
    assert all(statement["Principal"] == "*" for statement in policy["Statement"])
    for key in KEYS:
        for spelling in spellings(key):
            assert effects(policy, tagging("sts:TagSession", "team", spelling, by="anybody")) == {"Deny"}
    assert effects(policy, tagging("sts:TagSession", "team", by="anybody")) == set()
    assert effects(policy, tagging("sts:AssumeRole", by="anybody")) == set()


def test_the_guard_knows_every_operation_that_can_give_a_stack_a_role() -> None:
    """By botocore's model: the operations on one stack that have a ``RoleARN``.

    Stack sets name their roles in other members.
    """
    model = botocore.session.get_session().get_service_model("cloudformation")
    having = {
        name
        for name in model.operation_names
        if (shape := model.operation_model(name).input_shape) is not None and "RoleARN" in shape.members
    }
    assert having == set(STACK_OPERATIONS)


@pytest.mark.parametrize("name", ["guard-tags-scp.json", "guard-session-tags-rcp.json"])
def test_an_organisation_policy_is_within_the_size_that_aws_takes_as_it_stands(name: str) -> None:
    assert len((IAM / name).read_text("utf-8")) <= MAX_ORGANISATION_POLICY


# ---- the evaluator itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"ForAnyValue:StringLike": {"aws:TagKeys": ["kuma.io/*"]}}, {"aws:tagkeys": ["KUMA.IO/mesh"]}, False),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": ["kuma.io/*"]}}, {}, False),
        ({"StringEquals": {"aws:SourceAccount": "1"}}, {}, False),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:*:1:*"}}, {"aws:sourcearn": ["arn:aws:ecs:x:2:1:y"]}, False),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::1:role/a"}}, {}, True),
        ({"Null": {"aws:ResourceTag/a": "false"}}, {"aws:resourcetag/a": [""]}, True),
        ({"Null": {"aws:ResourceTag/a": "false"}}, {}, False),
    ],
    ids=["like-minds-case", "any-of-none", "equals-none", "arn-by-part", "not-like-none", "not-null", "null"],
)
def test_the_evaluator_follows_the_rules_of_aws(
    condition: dict[str, Any], context: dict[str, list[str]], *, holds: bool
) -> None:
    statement = {"Effect": "Deny", "Action": "a:B", "Resource": "*", "Condition": condition}
    assert applies(statement, Request("a:B", context=context)) is holds
