"""`--identity role`: the tags of the task's role decide, by the rules of the service, on an emulated IAM."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.controller.reasons import Leave, PutReason
from app.controller.role_identities import MAX_ROLE_CALLS_OF_A_PASS
from app.emulator.fault_kinds import FaultKind
from app.settings.loading import load_role_settings
from tests.controller.conftest import Stage
from tests.support.passing_time import let_pass
from tests.support.service import until
from tests.support.world import ACCOUNT, DATAPLANE, INGRESS, OTHER_ACCOUNT, STRANGERS_ACCOUNT, Aws

DEFINITION = "arn:aws:ecs:eu-west-1:111122223333:task-definition/demo:1"
ByRole = Callable[..., dict[str, Any]]


@pytest.fixture
def by_role(stage: Stage, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> ByRole:
    """Return the options of a controller that reads roles, with further settings of the service."""

    def options(**settings: str) -> dict[str, Any]:
        environment = {**aws.service_environment(), **settings}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, text in environment.items():
            # The types of proxies are a setting of the service, which no controller needs.
            if not name.startswith("KUMA_"):
                monkeypatch.setenv(name, text)
        for name in ("ECS", "SECRETS_MANAGER"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", stage.ecs.url)
        return {"identity": "role", "roles": load_role_settings()}

    return options


def role_arn(name: str, account: str = ACCOUNT, path: str = "/") -> str:
    return f"arn:aws:iam::{account}:role{path}{name}"


async def test_the_role_decides_and_the_tags_of_the_task_do_not(stage: Stage, by_role: ByRole) -> None:
    stage.ecs.roles["demo:1"] = role_arn("demo-app", path="/workloads/")
    stage.ecs.add_task(definition="demo:1", status="PENDING", service="admin", mesh="payments", workload="root")
    for service in ("demo-app", "admin"):
        stage.ecs.add_secret(service)
    async with stage.controller(**by_role()) as controller:
        assert await controller.done() == {"demo-app": PutReason.TOKEN_MISSING}
    [asked] = stage.api.asked
    assert (asked["mesh"], asked["tags"]) == ("default", {"kuma.io/service": ["demo-app"]})
    assert "workload" not in asked
    assert stage.ecs.value("admin") == {}


async def test_the_workload_of_the_role_is_bound(stage: Stage, by_role: ByRole, aws: Aws) -> None:
    role = aws.add_role({**DATAPLANE, "kuma.io/workload": "job"})
    stage.ecs.roles["demo:1"] = role_arn(role.name)
    stage.ecs.add_task(definition="demo:1")
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role()) as controller:
        await controller.run()
    assert stage.api.asked[0]["workload"] == "job"


async def test_a_role_of_kuma_3_0_needs_no_service_and_its_workload_names_the_secret(
    stage: Stage, by_role: ByRole, aws: Aws
) -> None:
    role = aws.add_role({"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/workload": "job"})
    stage.ecs.roles["demo:1"] = role_arn(role.name)
    stage.ecs.add_task(definition="demo:1")
    stage.ecs.add_secret("job")
    async with stage.controller(**by_role()) as controller:
        assert await controller.done() == {"job": PutReason.TOKEN_MISSING}
        assert await controller.done(after=700) == {"job": Leave.USABLE}
    [asked] = stage.api.asked
    assert (asked["workload"], asked["tags"]) == ("job", {})


async def test_the_labels_that_a_role_pins_are_in_the_token(stage: Stage, by_role: ByRole, aws: Aws) -> None:
    role = aws.add_role({**DATAPLANE, "kuma.io/label/app": "payments"})
    stage.ecs.roles["demo:1"] = role_arn(role.name)
    stage.ecs.add_task(definition="demo:1")
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role()) as controller:
        await controller.run()
        assert await controller.done(after=700) == {"demo-app": Leave.USABLE}
    assert stage.api.asked[0]["tags"] == {"kuma.io/service": ["demo-app"], "app": ["payments"]}


async def test_the_override_of_a_task_counts_before_its_definition(stage: Stage, by_role: ByRole, aws: Aws) -> None:
    role = aws.add_role({**DATAPLANE, "kuma.io/service": "other"})
    stage.ecs.roles["demo:1"] = role_arn("demo-app", path="/workloads/")
    stage.ecs.add_task(definition="demo:1", role=role_arn(role.name))
    stage.ecs.add_secret("other")
    async with stage.controller(**by_role()) as controller:
        assert await controller.done() == {"other": PutReason.TOKEN_MISSING}


async def test_a_role_of_another_account_is_read_through_the_reader_role(stage: Stage, by_role: ByRole) -> None:
    stage.ecs.add_task(role=role_arn("backend", OTHER_ACCOUNT))
    stage.ecs.add_secret("backend")
    async with stage.controller(**by_role()) as controller:
        assert await controller.done() == {"backend": PutReason.TOKEN_MISSING}


@pytest.mark.parametrize(
    ("tags", "skip", "reason"),
    [
        pytest.param({}, "not_in_mesh", None, id="no-tags"),
        pytest.param(INGRESS, "not_a_dataplane", None, id="ingress"),
        pytest.param(
            {"kuma.io/type": "dataplane", "kuma.io/mesh": "default"},
            "role_denied",
            "role_service_missing",
            id="service",
        ),
        pytest.param(
            {"kuma.io/type": "dataplane", "kuma.io/service": "a"}, "role_denied", "role_mesh_missing", id="mesh"
        ),
        pytest.param({**DATAPLANE, "kuma.io/mesh": "*"}, "role_denied", "role_tag_invalid", id="invalid"),
        pytest.param({**DATAPLANE, "kuma.io/service": "a:b"}, "tag_invalid", "kuma.io/service", id="no-secret-name"),
        pytest.param((*DATAPLANE.items(), ("KUMA.IO/service", "a")), "role_denied", "role_tag_invalid", id="case"),
    ],
)
async def test_a_role_that_the_service_would_deny_gets_no_token(
    stage: Stage, by_role: ByRole, aws: Aws, tags: Any, skip: str, reason: str | None
) -> None:
    role = aws.add_role(tags)
    stage.ecs.add_task(role=role_arn(role.name), service="demo-app")
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role()) as controller:
        result = await controller.run()
        await controller.run(after=5)
    assert (result.handled, result.is_full) == ([], True)
    assert stage.sample("calls_total", call="GetRole") == 1  # the denial is kept for the time to live
    assert stage.sample("tasks_skipped", why=skip) == 1
    lines = stage.events("task skipped")
    assert len(lines) == (reason is not None)
    assert all(str(reason) in line["detail"] for line in lines)


@pytest.mark.parametrize(
    ("settings", "role", "reason"),
    [
        ({}, role_arn("demo-app", STRANGERS_ACCOUNT), "account_not_authorized"),
        ({}, role_arn("demo-app").replace("arn:aws:", "arn:aws-cn:"), "account_not_authorized"),
        ({}, role_arn("demo-app", path="/elsewhere/"), "role_id_mismatch"),
        ({}, role_arn("nobody"), "role_not_found"),
        ({}, "arn:aws:iam::111122223333:user/demo-app", "not a role"),
        ({}, "arn:aws:sts::111122223333:role/demo-app", "not a role"),
        ({}, "arn:aws:iam:eu-west-1:111122223333:role/demo-app", "not a role"),
        ({}, "demo-app", "not an ARN"),
        (
            {"KMESH_AWSIAM_ROLE_PATH_PREFIX": "/mesh/"},
            role_arn("demo-app", path="/workloads/"),
            "role_path_not_allowed",
        ),
        (
            {"KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "true"},
            role_arn("demo-app", path="/workloads/"),
            "role_workload_missing",
        ),
        (
            {"KMESH_AWSIAM_ACCOUNT_MESHES": f"{ACCOUNT}=payments,{OTHER_ACCOUNT}=*"},
            role_arn("demo-app", path="/workloads/"),
            "account_mesh_not_allowed",
        ),
    ],
)
async def test_the_settings_of_the_service_hold_here_too(
    stage: Stage, by_role: ByRole, settings: dict[str, str], role: str, reason: str
) -> None:
    stage.ecs.add_task(role=role)
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role(**settings)) as controller:
        assert await controller.done() == {}
    [line] = stage.events("task skipped")
    assert reason in line["detail"]


async def test_a_task_without_a_role_gets_no_token(stage: Stage, by_role: ByRole) -> None:
    stage.ecs.roles["web:1"] = None
    stage.ecs.add_task(service="demo-app")
    async with stage.controller(**by_role()) as controller:
        assert await controller.done() == {}
        await controller.run(after=5)
    assert stage.sample("tasks_skipped", why="no_task_role") == 1
    assert stage.ecs.counts()["DescribeTaskDefinition"] == 1


async def test_roles_cost_one_call_each_in_their_time_to_live(stage: Stage, by_role: ByRole) -> None:
    for number in range(3):
        stage.ecs.roles[f"demo:{number}"] = role_arn("demo-app", path="/workloads/")
        for _ in range(4):
            stage.ecs.add_task(definition=f"demo:{number}")
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role()) as controller:
        await controller.run()
        assert stage.ecs.counts()["DescribeTaskDefinition"] == 3
        await controller.run(after=200)
        assert stage.sample("calls_total", call="GetRole") == 1
        await controller.run(after=200)
        assert stage.sample("calls_total", call="GetRole") == 2
        assert stage.ecs.counts()["DescribeTaskDefinition"] == 0


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FaultKind.THROTTLE, "throttled"),
        (FaultKind.ACCESS_DENIED, "access_denied"),
        (FaultKind.INTERNAL_FAILURE, "unavailable"),
        (FaultKind.CUT_OFF, "unavailable"),
        (FaultKind.HANG, "unavailable"),
    ],
)
async def test_an_outage_of_iam_leaves_secrets_alone(
    stage: Stage, by_role: ByRole, aws: Aws, kind: FaultKind, code: str
) -> None:
    stage.ecs.add_task(role=role_arn("demo-app", path="/workloads/"))
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role(KMESH_AWSIAM_DECISION_TIMEOUT="60")) as controller:
        await controller.run()
        before = stage.ecs.value("demo-app")
        aws.emulator.faults.iam.inject(kind)
        stage.time.passed += 500 * 3600
        aws.emulator.calls.clear()
        running = asyncio.create_task(controller.run(after=70))
        if kind is FaultKind.HANG:
            await until(lambda: len(aws.iam_calls()) > 0)
            let_pass(60.0)
        assert not (await running).is_full
        assert stage.ecs.value("demo-app") == before
        assert stage.sample("failures_total", call="GetRole", code=code) == 1
        assert stage.sample("tasks_skipped", why="role_undecided") == 1
        aws.emulator.faults.iam.clear()
        assert await controller.done(after=70) == {"demo-app": PutReason.HALF_LIFE_OVER}
    stage.require_no_secret_logged()


async def test_while_iam_throttles_no_other_role_is_read(stage: Stage, by_role: ByRole, aws: Aws) -> None:
    for name in ("demo-app", "nobody"):
        stage.ecs.add_task(role=role_arn(name, path="/workloads/"))
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**by_role()) as controller:
        aws.emulator.faults.iam.inject(FaultKind.THROTTLE)
        assert not (await controller.run()).is_full
        assert stage.sample("failures_total", call="GetRole", code="throttled") == 1
        assert stage.sample("tasks_skipped", why="role_undecided") == 2
        aws.emulator.faults.iam.clear()
        assert await controller.done(after=70) == {"demo-app": PutReason.TOKEN_MISSING}


async def test_a_definition_that_cannot_be_read_decides_nothing(stage: Stage, by_role: ByRole) -> None:
    stage.ecs.roles["demo:1"] = role_arn("demo-app", path="/workloads/")
    stage.ecs.add_task(definition="demo:1")
    stage.ecs.add_secret("demo-app")
    stage.ecs.faults["DescribeTaskDefinition"].append("denied")
    async with stage.controller(**by_role()) as controller:
        assert not (await controller.run()).is_full
        assert await controller.done(after=70) == {"demo-app": PutReason.TOKEN_MISSING}
    [line] = stage.events("call failed")
    assert (line["call"], line["failure"]) == ("DescribeTaskDefinition", "access_denied")


@pytest.mark.parametrize("kind", ["denied", "unreadable"])
async def test_tasks_of_a_role_that_cannot_be_read_take_no_calls_of_others(
    stage: Stage, by_role: ByRole, aws: Aws, kind: str
) -> None:
    """For example a large service of the same cluster that is no part of the mesh."""
    stage.ecs.roles["demo:1"] = role_arn("backend", OTHER_ACCOUNT)
    for _ in range(MAX_ROLE_CALLS_OF_A_PASS + 1):
        stage.ecs.add_task(definition="demo:1", age=9000)
    stage.ecs.add_task(role=role_arn("demo-app", path="/workloads/"))
    stage.ecs.add_secret("demo-app")
    if kind == "denied":
        aws.emulator.faults.iam.inject(FaultKind.ACCESS_DENIED, account=OTHER_ACCOUNT)
    else:
        stage.ecs.lasting["DescribeTaskDefinition"] = "denied"
    async with stage.controller(**by_role()) as controller:
        assert await controller.done() == {"demo-app": PutReason.TOKEN_MISSING}
        for _ in range(60):
            await controller.run(after=5)
    call = "GetRole" if kind == "denied" else "DescribeTaskDefinition"
    # It is asked about less and less often, at last each minute.
    assert 5 <= stage.sample("failures_total", call=call, code="access_denied") <= 15
    [line] = stage.events("call failed")
    assert line["about"] == (role_arn("backend", OTHER_ACCOUNT) if kind == "denied" else DEFINITION)


async def test_a_role_of_another_path_is_not_read(stage: Stage, by_role: ByRole) -> None:
    """The policy of the controller allows GetRole on the path only. Its own role, in the same cluster, is not under it."""
    for name in ("controller", "control-plane"):
        stage.ecs.add_task(role=role_arn(name))
    async with stage.controller(**by_role(KMESH_AWSIAM_ROLE_PATH_PREFIX="/mesh/")) as controller:
        assert (await controller.run()).is_full
    assert stage.sample("tasks_skipped", why="role_path_not_allowed") == 2
    assert stage.sample("calls_total", call="GetRole") == 0
    assert {line["log_level"] for line in stage.events("task skipped")} == {"info"}


async def test_a_waiting_task_does_not_wait_for_the_roles_of_running_tasks(
    stage: Stage, by_role: ByRole, aws: Aws
) -> None:
    """IAM answers some calls a second, and all roles are read again when their time to live is over."""
    for service in ("demo-app", "web"):
        stage.ecs.add_secret(service)
    stage.ecs.add_task(role=role_arn(aws.add_role({**DATAPLANE, "kuma.io/service": "web"}).name), age=9000)
    for number in range(10):
        stage.ecs.add_task(role=role_arn(f"nobody-{number}"), age=8000)
    stage.ecs.add_task(role=role_arn("demo-app", path="/workloads/"), status="PENDING", age=1)
    read: list[float] = []
    stage.api.before = lambda: read.append(stage.sample("calls_total", call="GetRole"))
    async with stage.controller(**by_role(KMESH_AWSIAM_IAM_RATE="1000")) as controller:
        assert await controller.done() == {"demo-app": PutReason.TOKEN_MISSING, "web": PutReason.TOKEN_MISSING}
    assert read == [1, 2]


async def test_an_older_task_takes_no_token_from_a_newer_one_whose_role_is_not_read_yet(
    stage: Stage, by_role: ByRole, aws: Aws
) -> None:
    """After a restart the roles are read in several passes."""
    older, newer = (aws.add_role({**DATAPLANE, "kuma.io/mesh": mesh}) for mesh in ("default", "payments"))
    held = stage.api.issue({"mesh": "payments", "tags": {"kuma.io/service": ["demo-app"]}, "validFor": "2592000s"})[1]
    stage.ecs.add_secret("demo-app", json.dumps({"token": held.decode()}))
    stage.ecs.add_task(role=role_arn(older.name), age=9000)
    for number in range(MAX_ROLE_CALLS_OF_A_PASS):
        stage.ecs.add_task(role=role_arn(f"nobody-{number}"), age=8000)
    stage.ecs.add_task(role=role_arn(newer.name), age=7000)
    async with stage.controller(**by_role(KMESH_AWSIAM_IAM_RATE="1000")) as controller:
        assert not (await controller.run()).is_full
        result = await controller.run(after=70)
        assert result.is_full
        assert [each.done for each in result.handled] == [Leave.USABLE]
        # A task that waits for its token does not wait for roles that cannot be read.
        stage.ecs.add_task(role=role_arn(older.name), status="PENDING", age=1)
        aws.emulator.faults.iam.inject(FaultKind.THROTTLE, times=100)
        stage.ecs.add_task(role=role_arn("unread"), age=10)
        assert await controller.done(after=5) == {"demo-app": PutReason.CLAIMS_DIFFER}


@pytest.mark.parametrize(("once", "read"), [(False, 20), (True, 25)])
async def test_a_pass_reads_some_roles_and_the_one_pass_of_once_all(
    stage: Stage,
    by_role: ByRole,
    once: bool,  # noqa: FBT001
    read: int,
) -> None:
    """Two calls each: the definition and the role. A pending task is first, at any place in the list."""
    stage.ecs.roles = {f"demo:{number}": role_arn(f"nobody-{number}") for number in range(25)}
    for number in range(24):
        stage.ecs.add_task(definition=f"demo:{number}")
    stage.ecs.add_task(definition="demo:24", status="PENDING")
    async with stage.controller(**by_role(KMESH_AWSIAM_IAM_RATE="1000"), once=once) as controller:
        assert (await controller.run()).is_full is once
        assert stage.sample("tasks_skipped", why="role_denied") == read
        assert any("nobody-24" in line["detail"] for line in stage.events("task skipped"))
        assert (await controller.run(after=5)).is_full
