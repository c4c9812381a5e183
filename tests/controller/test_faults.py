"""Each call fails in each way: no working secret is lost, nothing secret is logged, and a later pass does the work."""

import itertools
from typing import Any

import pytest

from app.controller.control_plane import ControlPlaneApi
from app.controller.held_token import read_facts
from app.controller.reasons import Api, Failure, Leave, PutReason
from app.controller.tasks import TaskIdentity
from demos.controller.ecs_stand_in import PREFIX, AwsError
from tests.controller.conftest import HANGS, LIMITS, Stage

KINDS = {
    "throttle": Failure.THROTTLED,
    "error": Failure.UNAVAILABLE,
    "denied": Failure.ACCESS_DENIED,
    "expired": Failure.NO_CREDENTIALS,
    "garbage": Failure.ANSWER_INVALID,
    "hang": Failure.TIMEOUT,
    "lost-answer": Failure.UNAVAILABLE,
}
CALLS = ["ListTasks", "DescribeTasks", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_to_aws_that_fails_loses_nothing(stage: Stage, call: str, kind: str) -> None:
    stage.ecs.add_secret("web", '{"password": "p"}')
    stage.ecs.add_task(service="web", status="PENDING")
    stage.ecs.faults[call].append(kind)
    async with stage.controller(limits=HANGS if kind == "hang" else LIMITS) as controller:
        result = await controller.run()
        held = stage.ecs.value("web")
        assert held["password"] == "p"
        if (call, kind) == ("UpdateSecretVersionStage", "denied"):  # the policy of Kong's controller
            assert result.is_full
        elif kind != "lost-answer" or not call.startswith(("Put", "Update")):
            assert not result.is_full
            assert held == {"password": "p"}
        assert stage.sample("failures_total", call=call, code=KINDS[kind].value) == 1
        # After a pause the work is done with one token: the value that was put before is used.
        await controller.run(after=70)
        result = await controller.run(after=700)
        assert result.is_full
        assert stage.ecs.value("web") == {"password": "p", "token": stage.api.tokens[-1]}
    stage.require_no_secret_logged()


@pytest.mark.parametrize("kind", ["throttle", "error", "hang", "lost-answer"])
async def test_a_put_whose_stage_did_not_move_is_finished_without_another_put(stage: Stage, kind: str) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web", status="PENDING")
    stage.ecs.faults["UpdateSecretVersionStage"].append(kind)
    async with stage.controller(limits=HANGS if kind == "hang" else LIMITS) as controller:
        assert await controller.done() == {"web": None}
        expected = Leave.USABLE if kind == "lost-answer" else PutReason.TOKEN_MISSING
        assert await controller.done(after=5) == {"web": expected}
    assert stage.ecs.put_order == [f"{PREFIX}web"]
    assert stage.ecs.value("web") == {"token": stage.api.tokens[0]}
    assert len(stage.api.tokens) == 1
    # The token has its audit line, and nobody is told to revoke it.
    assert [line["reason"] for line in stage.events("token put")] == ["token_missing"]
    assert stage.sample("tokens_put_total", reason="token_missing") == 1
    assert stage.events("token not used") == []


async def test_a_put_whose_stage_did_not_move_is_not_finished_for_another_identity(stage: Stage) -> None:
    """The tasks of the secret were replaced in the meantime, and the token is bound to the identity of the old ones."""
    stage.ecs.add_secret("web")
    old = stage.ecs.add_task(service="web", status="PENDING")
    stage.ecs.faults["UpdateSecretVersionStage"].append("throttle")
    async with stage.controller() as controller:
        assert await controller.done() == {"web": None}
        del stage.ecs.tasks[old]
        stage.ecs.add_task(service="web", workload="job", status="PENDING")
        assert await controller.done(after=5) == {"web": PutReason.TOKEN_MISSING}
    assert len(stage.api.tokens) == 2
    assert stage.ecs.value("web") == {"token": stage.api.tokens[1]}
    # The log names the other one, so that it can be revoked.
    assert len(stage.events("token not used")) == 1


@pytest.mark.parametrize("code", ["InvalidParameterException", "MalformedPolicyDocumentException"])
async def test_a_move_that_is_refused_again_and_again_causes_one_put_in_ten_minutes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web", status="PENDING")

    def refuse(_asked: Any) -> Any:
        raise AwsError(code)

    monkeypatch.setattr(stage.ecs, "_UpdateSecretVersionStage", refuse)
    async with stage.controller() as controller:
        for _ in range(30):
            await controller.run(after=39)
    assert len(stage.ecs.put_order) == len(stage.api.tokens) == 2
    assert len(stage.events("token not used")) == 1


async def test_a_move_that_fails_for_longer_than_the_pause_of_puts_causes_no_other_put(stage: Stage) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web", status="PENDING")
    stage.ecs.lasting["UpdateSecretVersionStage"] = "error"
    async with stage.controller() as controller:
        for _ in range(12):
            assert not (await controller.run(after=70)).is_full
        stage.ecs.lasting.clear()
        assert await controller.done(after=70) == {"web": PutReason.TOKEN_MISSING}
    assert len(stage.ecs.put_order) == len(stage.api.tokens) == 1


async def test_a_move_that_is_not_permitted_any_more_does_not_hold_up_a_task(stage: Stage) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web", status="PENDING")
    stage.ecs.faults["UpdateSecretVersionStage"].append("throttle")
    async with stage.controller() as controller:
        assert await controller.done() == {"web": None}
        stage.ecs.lasting["UpdateSecretVersionStage"] = "denied"
        assert await controller.done(after=5) == {"web": PutReason.TOKEN_MISSING}
    assert stage.ecs.value("web") == {"token": stage.api.tokens[-1]}
    assert len(stage.events("token not used")) == 1


async def test_a_plain_put_whose_answer_was_lost_has_its_audit_line(stage: Stage) -> None:
    """With the policy of Kong's controller, which may not move a stage."""
    stage.ecs.lasting["UpdateSecretVersionStage"] = "denied"
    stage.ecs.add_secret("api")
    stage.ecs.add_task(service="api")
    async with stage.controller() as controller:
        await controller.run()
        stage.ecs.add_secret("web")
        stage.ecs.add_task(service="web")
        stage.ecs.faults["PutSecretValue"].append("lost-answer")
        await controller.run(after=5)
        assert await controller.done(after=5) == {"web": Leave.USABLE}
    assert [line["secret"] for line in stage.events("token put")] == [f"{PREFIX}api", f"{PREFIX}web"]
    assert stage.events("token not used") == []


async def test_a_secret_that_others_change_all_the_time_is_put_ever_more_seldom(stage: Stage) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web", status="PENDING")
    async with stage.controller() as controller:
        for _ in range(24):
            stage.ecs.before["PutSecretValue"] = lambda: stage.ecs.add_secret("web")
            await controller.run(after=5)
    assert len(stage.ecs.put_order) <= 8


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["throttle", "error", "denied"])
async def test_an_outage_leaves_a_working_secret_alone(stage: Stage, call: str, kind: str) -> None:
    """The token is due for renewal during the whole outage."""
    stage.ecs.add_secret("web", '{"password": "p"}')
    stage.ecs.add_task(service="web")
    async with stage.controller() as controller:
        await controller.run()
        before = stage.ecs.value("web")
        stage.ecs.lasting[call] = kind
        stage.time.passed += 500 * 3600
        for _ in range(4):
            await controller.run(after=70)
        if call.endswith("Tasks") or (call, kind) == ("UpdateSecretVersionStage", "denied"):
            # The tasks of the last pass are used, so their tokens are renewed while ECS fails.
            assert stage.ecs.value("web") == {"password": "p", "token": stage.api.tokens[1]}
        else:
            assert stage.ecs.value("web") == before
        stage.ecs.lasting.clear()
        await controller.run(after=70)
        assert stage.ecs.value("web") == {"password": "p", "token": stage.api.tokens[-1]}
        assert (await controller.run(after=700)).is_full
    stage.require_no_secret_logged()


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (401, Failure.ACCESS_DENIED),
        (403, Failure.ACCESS_DENIED),
        (404, Failure.NOT_FOUND),
        (400, Failure.REJECTED),
        (429, Failure.THROTTLED),
        (500, Failure.UNAVAILABLE),
        (503, Failure.UNAVAILABLE),
        ("garbage", Failure.ANSWER_INVALID),
        ("close", Failure.UNAVAILABLE),
        ("hang", Failure.TIMEOUT),
    ],
)
async def test_an_outage_of_the_control_plane_leaves_secrets_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, fault: int | str, failure: Failure
) -> None:
    stage.ecs.add_secret("web", '{"password": "p"}')
    stage.ecs.add_task(service="web")
    stage.ecs.add_task(service="new", status="PENDING")
    async with stage.controller() as controller:
        await controller.run()
        before = stage.ecs.value("web")
        stage.api.lasting = fault
        stage.ecs.add_secret("new")
        stage.time.passed += 500 * 3600
        with monkeypatch.context() as shortly:
            if fault == "hang":
                shortly.setattr("app.controller.control_plane.API_CALL_SECONDS", 1.5)
            for _ in range(3):
                assert not (await controller.run(after=70)).is_full
        assert stage.ecs.value("web") == before
        assert stage.ecs.value("new") == {}
        assert stage.sample("failures_total", call="IssueToken", code=failure.value) >= 3
        stage.api.lasting = None
        await controller.run(after=70)
        assert (
            stage.ecs.value("web") == {"password": "p", "token": stage.api.tokens[-2]}
            or stage.ecs.value("web")["token"] == stage.api.tokens[-1]
        )
        assert stage.ecs.value("new").keys() == {"token"}
    stage.require_no_secret_logged()


async def test_while_a_party_throttles_it_is_left_in_peace_for_longer_and_longer(stage: Stage) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    stage.ecs.lasting["ListTasks"] = "throttle"
    calls: list[float] = []
    async with stage.controller() as controller:
        for _ in range(100):
            await controller.run(after=5)
            if stage.ecs.counts()["ListTasks"]:
                calls.append(stage.time.passed)
    pauses = [later - earlier for earlier, later in itertools.pairwise(calls)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 45
    assert len(stage.events("calls paused")) == len(calls)
    assert {line["failure"] for line in stage.events("calls paused")} == {"throttled"}


async def test_while_the_control_plane_fails_no_other_secret_has_a_token_asked_for(stage: Stage) -> None:
    stage.api.lasting = 503
    async with stage.controller() as controller:
        for service in ("web", "api"):
            stage.ecs.add_secret(service)
            stage.ecs.add_task(service=service, status="PENDING")
            assert not (await controller.run()).is_full
        assert stage.sample("failures_total", call="IssueToken", code="unavailable") == 1
        stage.api.lasting = None
        assert await controller.done(after=5) == dict.fromkeys(("web", "api"), PutReason.TOKEN_MISSING)


async def test_while_secrets_manager_throttles_no_other_secret_is_read(stage: Stage) -> None:
    stage.ecs.lasting["GetSecretValue"] = "throttle"
    async with stage.controller() as controller:
        for service in ("web", "api"):
            stage.ecs.add_secret(service)
            stage.ecs.add_task(service=service, status="PENDING")
            assert not (await controller.run()).is_full
        assert stage.sample("failures_total", call="GetSecretValue", code="throttled") == 1
        stage.ecs.lasting.clear()
        assert await controller.done(after=5) == dict.fromkeys(("web", "api"), PutReason.TOKEN_MISSING)


async def test_a_secret_that_is_denied_does_not_stop_the_others(stage: Stage) -> None:
    """For example because of its key in KMS."""
    for service in ("web", "api"):
        stage.ecs.add_secret(service)
        stage.ecs.add_task(service=service)
    stage.ecs.faults["GetSecretValue"].append("denied")
    async with stage.controller() as controller:
        done = await controller.done()
    assert sorted(done.values(), key=str) == [None, PutReason.TOKEN_MISSING]
    [line] = stage.events("call failed")
    assert line["failure"] == "access_denied"
    assert "policy" in line["remedy"]


async def test_a_secret_that_was_denied_once_is_not_read_in_every_pass_from_then_on(stage: Stage) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    async with stage.controller() as controller:
        await controller.run()
        stage.ecs.faults["GetSecretValue"].append("denied")
        assert await controller.done(after=660) == {"web": None}
        assert await controller.done(after=70) == {"web": Leave.USABLE}
        stage.ecs.counts()
        assert await controller.done(after=5) == {}
        assert "GetSecretValue" not in stage.ecs.counts()


async def test_one_cluster_that_fails_does_not_stop_another(stage: Stage) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    stage.ecs.faults["ListTasks"].append("denied")
    async with stage.controller(clusters=("not-mine", "mesh")) as controller:
        result = await controller.run()
    assert not result.is_full
    assert [each.done for each in result.handled] == [PutReason.TOKEN_MISSING]


async def test_a_call_that_hangs_for_one_secret_lets_no_other_task_wait(stage: Stage) -> None:
    stage.ecs.add_secret("slow")
    stage.ecs.add_task(service="slow", status="PENDING")
    stage.ecs.faults["GetSecretValue"].append("hang")
    async with stage.controller() as controller:
        assert not (await controller.run(patience=0.1)).is_full
        stage.ecs.add_secret("new")
        stage.ecs.add_task(service="new", status="PENDING")
        result = await controller.run(after=5)
        assert [each.done for each in result.handled if each.wanted.name == f"{PREFIX}new"] == [PutReason.TOKEN_MISSING]
        assert not result.is_full
        stage.ecs.released.set()
        while (await controller.done(after=70)) != {"slow": PutReason.TOKEN_MISSING}:
            pass  # the call that hung has not failed yet
        assert (await controller.run(after=5)).is_full


async def test_a_token_whose_put_is_cut_off_at_the_end_is_named(stage: Stage) -> None:
    """So that somebody can revoke it: the put may still take effect."""
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    stage.ecs.faults["PutSecretValue"].append("hang")
    async with stage.controller() as controller:
        while "PutSecretValue" not in stage.ecs.calls:
            await controller.run(patience=0.01)
    [line] = stage.events("token not used")
    assert line["token"]["jti"]


async def test_a_token_that_ends_too_soon_replaces_no_working_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    async with stage.controller() as controller:
        await controller.run()
        before = stage.ecs.value("web")
        issue = stage.api.issue
        monkeypatch.setattr(stage.api, "issue", lambda asked: issue({**asked, "validFor": "300s"}))
        assert await controller.done(after=400 * 3600) == {"web": None}
    assert stage.ecs.value("web") == before
    [unused] = stage.events("token not used")
    assert unused["token"]["jti"] == read_facts(stage.api.tokens[-1]).jti
    assert stage.sample("failures_total", call="IssueToken", code="answer_invalid") == 1
    [line] = stage.events("call failed")
    assert (line["call"], line["failure"]) == ("IssueToken", "answer_invalid")


async def test_each_cluster_that_fails_is_named_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    causes = {"gone": "ClusterNotFoundException", "away": "ClusterNotFoundException", "denied": "AccessDeniedException"}

    def refuse(asked: Any) -> Any:
        raise AwsError(causes[asked["cluster"]])

    monkeypatch.setattr(stage.ecs, "_ListTasks", refuse)
    async with stage.controller(clusters=tuple(causes)) as controller:
        for _ in range(3):
            await controller.run(after=5)
    lines = stage.events("call failed")
    assert {line["about"]: line["failure"] for line in lines} == {
        "gone": "not_found",
        "away": "not_found",
        "denied": "access_denied",
    }
    assert len(lines) == 3
    assert all("--cluster" in line["remedy"] for line in lines[:2])


@pytest.mark.parametrize(("fault", "words"), [(403, "user token"), (404, "make the mesh")])
async def test_a_failure_of_the_control_plane_has_its_own_remedy(stage: Stage, fault: int, words: str) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    stage.api.lasting = fault
    async with stage.controller() as controller:
        await controller.run()
    [line] = stage.events("call failed")
    assert words in line["remedy"]


async def test_pages_of_tasks_that_repeat_come_to_an_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.ecs.add_secret("web")
    stage.ecs.add_task(service="web")
    list_tasks = stage.ecs._ListTasks

    def repeat(asked: Any) -> Any:
        return {**list_tasks({**asked, "nextToken": "0"}), "nextToken": "1"}

    async with stage.controller() as controller:
        await controller.run()
        monkeypatch.setattr(stage.ecs, "_ListTasks", repeat)
        assert not (await controller.run(after=5)).is_full
    assert stage.sample("failures_total", call="ListTasks", code="answer_invalid") == 1
    assert stage.sample("tasks", state="running") == 1  # as before


async def test_a_bug_in_one_secret_does_not_stop_the_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("web", "api"):
        stage.ecs.add_secret(service)
        stage.ecs.add_task(service=service)

    issue = ControlPlaneApi.issue

    async def issue_and_fail(api: ControlPlaneApi, identity: TaskIdentity) -> str:
        raise ZeroDivisionError(await issue(api, identity))

    monkeypatch.setattr(ControlPlaneApi, "issue", issue_and_fail)
    async with stage.controller() as controller:
        result = await controller.run()
    assert [each.done for each in result.handled] == [None, None]
    assert {line["error"] for line in stage.events("controller error")} == {"ZeroDivisionError"}
    stage.require_no_secret_logged()


def test_every_party_has_a_pause() -> None:
    assert {api.value for api in Api} == {"ecs", "iam", "secretsmanager", "issuer"}
