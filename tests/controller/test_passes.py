"""Passes over a small ECS on loopback: which tokens are put, which secrets stay, and the calls that this costs."""

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest

from app.controller.parts import PassOptions
from app.controller.reasons import Leave, PutReason
from app.controller.secret import MAX_SECRET_BYTES
from demos.controller.ecs_stand_in import PREFIX
from tests.controller.conftest import Stage

HOUR = 3600.0


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_pending_task_gets_its_token_and_other_keys_stay(stage: Stage) -> None:
    stage.ecs.add_task(status="PENDING", service="web")
    stage.ecs.add_secret("web", '{"user": "a", "nested": {"b": [1]}}', age=1)
    async with stage.controller() as controller:
        assert await controller.done() == {"web": PutReason.TOKEN_MISSING}
    held = stage.ecs.value("web")
    assert held == {"user": "a", "nested": {"b": [1]}, "token": stage.api.tokens[0]}
    [asked] = stage.api.asked
    assert asked == {
        "mesh": "default",
        "type": "dataplane",
        "tags": {"kuma.io/service": ["web"]},
        "validFor": "2592000s",
    }
    [line] = stage.events("token put")
    claims = claims_of(held["token"])
    assert line["token"]["jti"] == claims["jti"]
    assert (line["secret"], line["reason"], line["mesh"], line["service"], line["workload"]) == (
        f"{PREFIX}web",
        "token_missing",
        "default",
        "web",
        None,
    )
    assert (line["tasks"], line["pending"]) == (1, 1)
    stage.require_no_secret_logged()


async def test_mesh_and_workload_of_the_tags_are_bound(stage: Stage) -> None:
    stage.ecs.add_task(service="web", mesh="payments", workload="job")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        assert await controller.done(after=400) == {"web": Leave.USABLE}
    claims = claims_of(stage.ecs.value("web")["token"])
    assert (claims["Mesh"], claims["Workload"]) == ("payments", "job")


async def test_a_quiet_pass_lists_the_tasks_and_nothing_else(stage: Stage) -> None:
    for _ in range(250):
        stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        assert stage.ecs.counts() == {
            "ListTasks": 3,
            "DescribeTasks": 3,
            "GetSecretValue": 1,
            "PutSecretValue": 1,
            "UpdateSecretVersionStage": 1,
        }
        assert await controller.done(after=5) == {}
        assert stage.ecs.counts() == {"ListTasks": 3}
        # After a minute the tags are read again, and after five the secret.
        await controller.run(after=60)
        assert stage.ecs.counts() == {"ListTasks": 3, "DescribeTasks": 3}
        await controller.run(after=300)
        assert stage.ecs.counts() == {"ListTasks": 3, "DescribeTasks": 3, "GetSecretValue": 1}
    assert len(stage.api.asked) == 1


async def test_a_new_task_has_its_secret_looked_at_in_the_next_pass(stage: Stage) -> None:
    """Somebody may have created the secret again, and the task cannot start without its token."""
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        assert await controller.done(after=660) == {"web": Leave.USABLE}
        stage.ecs.add_secret("web")
        stage.ecs.add_task(status="PENDING", service="web")
        assert await controller.done(after=5) == {"web": PutReason.TOKEN_MISSING}


async def test_pending_tasks_are_served_before_all_others(stage: Stage) -> None:
    for number in range(20):
        stage.ecs.add_task(service=f"running-{number}")
        stage.ecs.add_secret(f"running-{number}")
    stage.ecs.add_task(service="waits", status="PENDING")
    stage.ecs.add_secret("waits")
    async with stage.controller() as controller:
        await controller.run()
    assert f"{PREFIX}waits" in stage.ecs.put_order[:4]  # four secrets are handled at the same time
    assert len(stage.ecs.put_order) == 21


async def test_a_waiting_task_does_not_wait_for_the_descriptions_of_running_tasks(stage: Stage) -> None:
    """ECS takes some seconds to describe 2,000 tasks, which is due once a minute."""
    for service in ("web", "new"):
        stage.ecs.add_secret(service)
    for _ in range(250):
        stage.ecs.add_task(service="web")
    async with stage.controller() as controller:
        await controller.run()
        stage.ecs.add_task(service="new", status="PENDING", age=1)
        stage.ecs.counts()
        assert await controller.done(after=61) == {"new": PutReason.TOKEN_MISSING}
        put = ["GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"]
        assert stage.ecs.calls == ["ListTasks"] * 3 + ["DescribeTasks", *put] + ["DescribeTasks"] * 3


async def test_a_waiting_task_gets_its_token_while_ecs_describes_no_other_task(stage: Stage) -> None:
    for service in ("web", "new"):
        stage.ecs.add_secret(service)
    stage.ecs.add_task(service="web")
    async with stage.controller() as controller:
        await controller.run()
        stage.ecs.add_task(service="new", status="PENDING", age=1)
        stage.ecs.before["PutSecretValue"] = lambda: stage.ecs.faults["DescribeTasks"].append("throttle")
        result = await controller.run(after=61)
    assert [each.done for each in result.handled] == [PutReason.TOKEN_MISSING]
    assert not result.is_full


async def test_a_token_is_renewed_at_half_of_its_life(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        first = stage.ecs.value("web")["token"]
        assert await controller.done(after=359 * HOUR) == {"web": Leave.USABLE}
        assert await controller.done(after=2 * HOUR) == {"web": PutReason.HALF_LIFE_OVER}
    assert stage.ecs.value("web")["token"] != first
    assert stage.sample("tokens_put_total", reason="half_life_over") == 1


async def test_a_changed_task_gets_a_new_token_but_not_within_ten_minutes(stage: Stage) -> None:
    old = stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        del stage.ecs.tasks[old]
        stage.ecs.add_task(service="web", workload="job", status="PENDING")
        assert await controller.done(after=5) == {"web": Leave.PUT_RECENTLY}
        assert await controller.done(after=300) == {}
        assert await controller.done(after=300) == {"web": PutReason.CLAIMS_DIFFER}
    assert claims_of(stage.ecs.value("web")["token"])["Workload"] == "job"


async def test_two_puts_of_a_secret_are_ten_minutes_apart_whatever_somebody_else_does(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    puts: list[float] = []
    async with stage.controller() as controller:
        for _ in range(14):
            stage.ecs.put_order.clear()
            await controller.run(after=120)
            if stage.ecs.put_order:
                puts.append(stage.time.passed)
            stage.ecs.add_secret("web")  # somebody resets it again and again
            stage.ecs.add_task(service="web", status="PENDING")
    assert len(puts) == 3
    assert all(later - earlier >= 600 for earlier, later in itertools.pairwise(puts))


async def test_a_clock_that_was_set_back_delays_a_secret_by_ten_minutes_at_most(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    held = stage.api.issue({"mesh": "payments", "tags": {"kuma.io/service": ["web"]}, "validFor": "2592000s"})[1]
    stage.ecs.add_secret("web", json.dumps({"token": held.decode()}), age=-30 * 24 * HOUR)
    async with stage.controller() as controller:
        assert await controller.done() == {"web": Leave.PUT_RECENTLY}
        # The clock is right again. The timer does not jump.
        stage.ecs.add_secret("web", json.dumps({"token": held.decode()}))
        assert await controller.done(after=601) == {"web": PutReason.CLAIMS_DIFFER}


async def test_a_put_is_remembered_while_no_task_reads_the_secret(stage: Stage) -> None:
    task = stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        del stage.ecs.tasks[task]
        await controller.run(after=5)
        stage.ecs.add_secret("web")  # somebody resets it, and a task starts
        stage.ecs.add_task(service="web", status="PENDING")
        assert await controller.done(after=5) == {"web": Leave.PUT_RECENTLY}
        assert await controller.done(after=600) == {"web": PutReason.TOKEN_MISSING}


async def test_a_controller_that_restarts_puts_nothing_again(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
    async with stage.controller() as controller:
        assert await controller.done() == {"web": Leave.USABLE}
    assert len(stage.api.tokens) == 1


async def test_two_replicas_at_the_same_time_leave_one_token_and_lose_nothing(stage: Stage) -> None:
    """Both can read `{}` and put a token. Only one of them can move the stage AWSCURRENT."""
    for number in range(10):
        stage.ecs.add_task(service=f"web-{number}", status="PENDING")
        stage.ecs.add_secret(f"web-{number}", '{"other": 1}')
    async with stage.controller() as first, stage.controller() as second:
        for after in (0, 5, 5):
            await asyncio.gather(first.run(after), second.run(after))
    for number in range(10):
        held = stage.ecs.value(f"web-{number}")
        assert held["other"] == 1
        assert held["token"] in stage.api.tokens
    assert stage.sample("tokens_put_total", reason="token_missing") == 10  # both replicas count here
    # The log names each token that was not used, so that it can be revoked.
    assert len(stage.events("token not used")) == len(stage.api.tokens) - 10
    stage.require_no_secret_logged()


async def test_a_change_by_somebody_else_is_not_overwritten(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web", '{"password": "old"}')
    async with stage.controller() as controller:
        stage.api.before = lambda: stage.ecs.add_secret("web", '{"password": "new"}')
        assert await controller.done() == {"web": None}
        assert stage.ecs.value("web") == {"password": "new"}
        stage.api.before = None
        assert await controller.done(after=5) == {"web": PutReason.TOKEN_MISSING}
    assert stage.ecs.value("web")["password"] == "new"
    assert stage.sample("failures_total", call="UpdateSecretVersionStage", code="rejected") == 1


async def test_with_the_policy_of_kongs_controller_secrets_are_put_plainly_with_one_warning(stage: Stage) -> None:
    for service in ("web", "api"):
        stage.ecs.add_task(service=service)
        stage.ecs.add_secret(service, '{"password": "old"}')
    stage.ecs.lasting["UpdateSecretVersionStage"] = "denied"
    async with stage.controller() as controller:
        assert await controller.done() == {"web": PutReason.TOKEN_MISSING, "api": PutReason.TOKEN_MISSING}
        stage.ecs.add_secret("late", '{"password": "old"}')
        stage.ecs.add_task(service="late")
        stage.ecs.counts()
        await controller.run(after=5)
        counts = stage.ecs.counts()
        assert (counts["PutSecretValue"], counts["UpdateSecretVersionStage"], counts["GetSecretValue"]) == (1, 0, 2)
    for service in ("web", "api", "late"):
        assert stage.ecs.value(service).keys() == {"password", "token"}
    [warning] = stage.events("secrets are put plainly")
    assert warning["mending_policy"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "secretsmanager:UpdateSecretVersionStage",
            "Resource": f"arn:aws:secretsmanager:eu-west-1:111122223333:secret:{PREFIX}*",
        }
    ]


async def test_without_that_permission_a_change_is_still_looked_for(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web", '{"password": "old"}')
    stage.ecs.lasting["UpdateSecretVersionStage"] = "denied"
    async with stage.controller() as controller:
        stage.api.before = lambda: stage.ecs.add_secret("web", '{"password": "new"}')
        assert await controller.done() == {"web": None}
    assert stage.ecs.value("web") == {"password": "new"}


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"a": 1, "a": 2}', '{"a": 0.12345678901234567}', "binary"])
async def test_a_malformed_secret_stays_as_it_is_and_is_reported_once(stage: Stage, text: str) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web", text)
    async with stage.controller() as controller:
        assert await controller.done() == {"web": Leave.SECRET_MALFORMED}
        assert await controller.done(after=100) == {"web": Leave.SECRET_MALFORMED}
        assert not stage.ecs.put_order
        assert not stage.api.asked
        [line] = stage.events("secret is malformed")
        assert line["secret"] == f"{PREFIX}web"
        assert stage.sample("secrets", state="secret_malformed") == 1
        stage.ecs.add_secret("web")
        assert await controller.done(after=100) == {"web": PutReason.TOKEN_MISSING}


async def test_no_token_is_issued_for_a_secret_without_room_for_it(stage: Stage) -> None:
    """Each one would be valid, and nobody would know its id."""
    text = json.dumps({"key": "x" * (MAX_SECRET_BYTES - 100)})
    stage.ecs.add_secret("web", text)
    stage.ecs.add_task(service="web")
    async with stage.controller() as controller:
        assert await controller.done() == {"web": Leave.SECRET_MALFORMED}
    assert stage.api.tokens == []
    assert stage.ecs.value("web") == json.loads(text)


async def test_tasks_of_one_definition_with_different_faults_are_reported_once(stage: Stage) -> None:
    stage.ecs.add_task(service="a/b")
    stage.ecs.add_task(service="web", mesh="UPPER")
    async with stage.controller() as controller:
        for _ in range(3):
            await controller.run(after=5)
    assert len(stage.events("task skipped")) == 2


async def test_a_secret_that_does_not_exist_is_never_made(stage: Stage) -> None:
    stage.ecs.add_task(service="web", status="PENDING")
    async with stage.controller() as controller:
        assert await controller.done() == {"web": Leave.SECRET_MISSING}
        assert await controller.done(after=60) == {"web": Leave.SECRET_MISSING}
        assert stage.ecs.secrets == {}
        [line] = stage.events("call failed")
        assert (line["call"], line["failure"]) == ("GetSecretValue", "not_found")
        stage.ecs.add_secret("web")
        stage.ecs.add_task(service="web", status="PENDING")  # ECS starts another task
        assert await controller.done(after=1) == {"web": PutReason.TOKEN_MISSING}


async def test_tasks_without_a_usable_tag_get_nothing(stage: Stage) -> None:
    stage.ecs.add_task()
    stage.ecs.add_task(service="../other")
    stage.ecs.add_task(service="a b", status="PENDING")
    async with stage.controller() as controller:
        result = await controller.run()
        await controller.run(after=5)
    assert (result.tasks, result.handled, result.is_full) == (3, [], True)
    assert stage.ecs.counts().keys() <= {"ListTasks", "DescribeTasks"}
    assert stage.sample("tasks_skipped", why="tag_invalid") == 2
    assert stage.sample("tasks_skipped", why="not_in_mesh") == 1
    assert len(stage.events("task skipped")) == 1  # one for each task definition


async def test_tasks_of_one_secret_that_differ_are_reported(stage: Stage) -> None:
    stage.ecs.add_task(service="web", age=900)
    stage.ecs.add_task(service="web", mesh="payments", age=10)
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        await controller.run(after=5)
    assert claims_of(stage.ecs.value("web")["token"])["Mesh"] == "payments"
    [line] = stage.events("tasks of a secret differ")
    assert line["others"] == [{"mesh": "default", "service": "web", "workload": None}]


async def test_a_control_plane_that_ignores_the_workload_issues_nothing_that_is_put(stage: Stage) -> None:
    """Kuma before 2.13. Its token would be valid for every workload."""
    stage.api.binds_workloads = False
    stage.ecs.add_task(service="web", workload="job")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        assert await controller.done() == {"web": None}
    assert stage.ecs.value("web") == {}
    [line] = stage.events("call failed")
    assert "2.13" in line["detail"]


async def test_tokens_of_kongs_controller_are_replaced_by_ones_that_end(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    ten_years = stage.api.issue(
        {"mesh": "default", "tags": {"kuma.io/service": ["web"]}, "validFor": f"{87_600 * 3600}s"}
    )[1].decode()
    stage.ecs.add_secret("web", json.dumps({"token": ten_years}))
    async with stage.controller() as controller:
        assert await controller.done() == {"web": PutReason.ENDS_TOO_LATE}
        assert await controller.done(after=400) == {"web": Leave.USABLE}


async def test_a_token_of_the_right_life_of_another_issuer_stays(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    token = stage.api.issue({"mesh": "default", "tags": {"kuma.io/service": ["web"]}, "validFor": "2592000s"})[1]
    stage.ecs.add_secret("web", json.dumps({"token": token.decode()}))
    async with stage.controller() as controller:
        assert await controller.done() == {"web": Leave.USABLE}


async def test_a_dry_run_puts_and_issues_nothing(stage: Stage) -> None:
    stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    options = PassOptions(prefix=PREFIX, valid_for=timedelta(hours=720), dry_run=True)
    async with stage.controller(passes=options) as controller:
        assert await controller.done() == {"web": PutReason.TOKEN_MISSING}
    assert (stage.ecs.value("web"), stage.api.asked) == ({}, [])


async def test_metrics_say_what_a_pass_found(stage: Stage) -> None:
    stage.ecs.add_task(service="web", age=800 * HOUR)
    stage.ecs.add_task(service="web", status="PENDING")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        assert (await controller.run()).is_full
        await controller.run(after=100)
    assert stage.sample("tasks", state="running") == 1
    assert stage.sample("tasks", state="pending") == 1
    assert stage.sample("tasks_older_than_tokens") == 1
    assert stage.sample("secrets", state="usable") == 1
    assert 95 <= stage.sample("oldest_token_age_seconds") <= 120
    assert stage.sample("calls_total", call="IssueToken") == 1
    assert stage.sample("last_full_pass_timestamp_seconds") == pytest.approx(stage.time.clock().timestamp(), abs=30)


async def test_a_service_that_has_ended_is_forgotten(stage: Stage) -> None:
    arn = stage.ecs.add_task(service="web")
    stage.ecs.add_secret("web")
    async with stage.controller() as controller:
        await controller.run()
        del stage.ecs.tasks[arn]
        await controller.run(after=700)
        assert stage.sample("secrets", state="usable") == 0
        assert stage.sample("oldest_token_age_seconds") == 0
