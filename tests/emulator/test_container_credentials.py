"""The ECS agent's endpoint."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.emulator import Emulator, World
from app.emulator.container_credentials import ContainerCredentials
from tests.emulator.conftest import ACCOUNT, MovableClock
from tests.emulator.signing import Message, Response, presign


def _get(emulator: Emulator, path: str) -> Response:
    return Message(host="127.0.0.1", target=path).send(emulator.url)


def _take(emulator: Emulator, role: str = "demo-app", task: str = "") -> Any:
    return _get(emulator, emulator.credentials_uri(ACCOUNT, role, task or None).removeprefix(emulator.url)).json


def test_answer_has_the_members_of_the_ecs_agents(emulator: Emulator) -> None:
    answer = _take(emulator)

    key = emulator.world.find_key(answer["AccessKeyId"])
    assert key is not None
    assert answer.keys() == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration", "RoleArn"}
    assert (answer["SecretAccessKey"], answer["Token"]) == (key.secret_access_key, key.session_token)
    assert answer["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/workloads/demo-app"
    assert datetime.fromisoformat(answer["Expiration"]) == key.expiration


def test_session_is_named_after_a_task_of_ecs(emulator: Emulator) -> None:
    session = emulator.issue(ACCOUNT, "demo-app")

    assert re.fullmatch(r"[0-9a-f]{32}", session.principal.user_id.partition(":")[2])
    assert presign(session).send(emulator.url).element("Arn") == session.principal.arn


def test_keys_stay_until_their_end_is_near(world: World, emulator: Emulator, clock: MovableClock) -> None:
    world.add_role(ACCOUNT, "steady")
    first = _take(emulator, "steady")

    clock.advance(timedelta(hours=5, minutes=29))
    later = _take(emulator, "steady")
    clock.advance(timedelta(minutes=2))
    renewed = _take(emulator, "steady")

    assert later == first
    assert renewed["AccessKeyId"] != first["AccessKeyId"]


def test_recreated_role_gets_new_keys(world: World, emulator: Emulator) -> None:
    world.add_role(ACCOUNT, "recreated")
    first = _take(emulator, "recreated")

    world.delete_role(ACCOUNT, "recreated")
    gone = _get(emulator, f"/ecs/{ACCOUNT}/recreated")
    world.add_role(ACCOUNT, "recreated")

    assert (gone.status, gone.json["code"]) == (404, "CredentialsNotFound")
    assert _take(emulator, "recreated")["AccessKeyId"] != first["AccessKeyId"]


def test_tasks_of_one_role_have_sessions_of_their_own(emulator: Emulator) -> None:
    one, other = (_take(emulator, task=name * 32) for name in "ab")

    keys = [emulator.world.find_key(answer["AccessKeyId"]) for answer in (one, other)]
    assert [key.principal.user_id.partition(":")[2] for key in keys if key] == ["a" * 32, "b" * 32]


@pytest.mark.parametrize("path", ["", "111122223333", "111122223333/", "000000000000/demo-app", "x/demo-app"])
def test_unknown_role_is_not_found(emulator: Emulator, path: str) -> None:
    assert _get(emulator, f"/ecs/{path}").status == 404


def test_task_id_must_be_a_session_name(emulator: Emulator) -> None:
    answer = _get(emulator, f"/ecs/{ACCOUNT}/demo-app/not%20a%20name")

    assert (answer.status, answer.json["code"]) == (400, "InvalidTaskId")


def test_role_name_may_need_escapes(world: World, emulator: Emulator) -> None:
    world.add_role(ACCOUNT, "a+b=c,d@e")

    assert _take(emulator, "a+b=c,d@e")["RoleArn"].endswith(":role/a+b=c,d@e")


def test_only_get_gives_credentials(emulator: Emulator) -> None:
    message = Message(host="127.0.0.1", target=f"/ecs/{ACCOUNT}/demo-app")

    assert replace(message, method="POST").send(emulator.url).status == 404


def test_tasks_are_forgotten_beyond_a_bound(world: World, clock: MovableClock) -> None:
    credentials = ContainerCredentials(world, clock, max_tasks=1)
    first = credentials.issue(ACCOUNT, "demo-app", "first")

    credentials.issue(ACCOUNT, "demo-app", "second")

    assert credentials.issue(ACCOUNT, "demo-app", "first") != first
