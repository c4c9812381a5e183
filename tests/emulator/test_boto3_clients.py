"""Unchanged AWS clients use the emulator as if it were AWS."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import ContainerProvider
from botocore.exceptions import ClientError

from app.emulator import Emulator, SessionCredentials, World
from tests.emulator.conftest import ACCOUNT, OTHER_ACCOUNT, ClientFactory, MovableClock
from tests.support.patience import PATIENCE

READER = f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader"


def _assume(client: ClientFactory, credentials: SessionCredentials, **options: Any) -> Any:
    arguments = {"RoleArn": READER, "RoleSessionName": "kuma-aws-iam", "ExternalId": "kuma-control-plane"} | options
    return client("sts", credentials).assume_role(**{name: value for name, value in arguments.items() if value})


def _refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_get_caller_identity(client: ClientFactory, credentials: SessionCredentials, world: World) -> None:
    identity = client("sts", credentials).get_caller_identity()

    role = world.find_role(ACCOUNT, "demo-app")
    assert role is not None
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/task-1"
    assert identity["Account"] == ACCOUNT
    assert identity["UserId"] == f"{role.role_id}:task-1"


def test_assumed_role_of_another_account_calls_in_its_own_name(
    client: ClientFactory, credentials: SessionCredentials, emulator: Emulator, world: World
) -> None:
    answer = _assume(client, credentials)

    given = answer["Credentials"]
    assert given["Expiration"] - datetime.now(UTC) <= timedelta(hours=1)
    assumed = world.find_key(given["AccessKeyId"])
    assert assumed is not None
    assert answer["AssumedRoleUser"] == {
        "AssumedRoleId": assumed.principal.user_id,
        "Arn": f"arn:aws:sts::{OTHER_ACCOUNT}:assumed-role/reader/kuma-aws-iam",
    }
    session = SessionCredentials(
        access_key_id=given["AccessKeyId"],
        secret_access_key=given["SecretAccessKey"],
        session_token=given["SessionToken"],
        expiration=given["Expiration"],
        principal=assumed.principal,
    )
    assert client("sts", session).get_caller_identity()["Account"] == OTHER_ACCOUNT
    assert emulator.calls.count("sts", "AssumeRole", account=ACCOUNT) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"ExternalId": "another"},
        {"ExternalId": None},
        {"RoleArn": f"arn:aws:iam::{OTHER_ACCOUNT}:role/missing"},
        {"RoleArn": f"arn:aws:iam::{OTHER_ACCOUNT}:role/other/path/reader"},
        {"RoleArn": "arn:aws:iam::000000000000:role/reader"},
        {"RoleArn": "arn:aws-cn:iam::777788889999:role/demo-app"},
    ],
    ids=["external-id-differs", "external-id-missing", "no-role", "other-path", "no-account", "other-partition"],
)
def test_role_that_may_not_be_assumed_looks_like_one_that_is_missing(
    client: ClientFactory, credentials: SessionCredentials, options: dict[str, str | None]
) -> None:
    with pytest.raises(ClientError) as error:
        _assume(client, credentials, **options)

    assert _refused(error) == (403, "AccessDenied")


def test_role_trusts_only_whom_it_names(client: ClientFactory, emulator: Emulator, world: World) -> None:
    world.add_role(OTHER_ACCOUNT, "picky", trusted=(f"arn:aws:iam::{ACCOUNT}:role/kuma-*",))
    arn = f"arn:aws:iam::{OTHER_ACCOUNT}:role/picky"

    _assume(client, emulator.issue(ACCOUNT, "kuma-aws-iam"), RoleArn=arn)
    with pytest.raises(ClientError) as error:
        _assume(client, emulator.issue(ACCOUNT, "demo-app"), RoleArn=arn)

    assert _refused(error) == (403, "AccessDenied")


def test_root_assumes_no_role(client: ClientFactory, world: World) -> None:
    root = world.add_user(OTHER_ACCOUNT, "root")

    with pytest.raises(ClientError) as error:
        client("sts", root).assume_role(RoleArn=READER, RoleSessionName="x1", ExternalId="kuma-control-plane")

    assert _refused(error) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "options",
    [
        {"DurationSeconds": 899},
        {"DurationSeconds": 3601},
        {"RoleSessionName": "not a name"},
        {"RoleSessionName": "x"},
        {"RoleArn": "arn:aws:iam::1:role/too-short"},
    ],
    ids=["too-short", "longer-than-a-chained-hour", "blank", "one-letter", "no-arn"],
)
def test_assume_role_validates_its_parameters(
    client: ClientFactory, credentials: SessionCredentials, options: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as error:
        client("sts", credentials, parameter_validation=False).assume_role(
            **{"RoleArn": READER, "RoleSessionName": "x1", "ExternalId": "kuma-control-plane"} | options
        )

    assert _refused(error) == (400, "ValidationError")


def test_user_may_have_longer_sessions_up_to_the_roles_limit(client: ClientFactory, world: World) -> None:
    world.add_role(OTHER_ACCOUNT, "long", max_session_duration=7200)
    sts = client("sts", world.add_user(ACCOUNT, "carol"))
    arn = f"arn:aws:iam::{OTHER_ACCOUNT}:role/long"

    given = sts.assume_role(RoleArn=arn, RoleSessionName="x1", DurationSeconds=7200)["Credentials"]
    with pytest.raises(ClientError) as error:
        sts.assume_role(RoleArn=arn, RoleSessionName="x1", DurationSeconds=7201)

    assert given["Expiration"] - datetime.now(UTC) > timedelta(hours=1)
    assert _refused(error) == (400, "ValidationError")


def test_missing_parameters_are_named(client: ClientFactory, credentials: SessionCredentials) -> None:
    sts = client("sts", credentials, parameter_validation=False)

    with pytest.raises(ClientError, match="roleArn"):
        sts.assume_role(RoleSessionName="x1")
    with pytest.raises(ClientError, match="roleSessionName"):
        sts.assume_role(RoleArn=READER)


def test_clock_of_the_emulator_decides_when_a_session_ends(
    client: ClientFactory, credentials: SessionCredentials, clock: MovableClock
) -> None:
    clock.fixed = credentials.expiration

    with pytest.raises(ClientError) as error:
        client("sts", credentials).get_caller_identity()

    assert _refused(error) == (403, "ExpiredToken")


def test_botocore_takes_a_role_as_a_task_does(emulator: Emulator) -> None:
    uri = emulator.credentials_uri(ACCOUNT, "demo-app")

    loaded = ContainerProvider(environ={"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}).load()

    assert loaded is not None
    frozen = loaded.get_frozen_credentials()
    assert (frozen.access_key, frozen.token) == (
        emulator.issue(ACCOUNT, "demo-app").access_key_id,
        emulator.issue(ACCOUNT, "demo-app").session_token,
    )


def test_aws_command_line_takes_a_role_as_a_task_does(emulator: Emulator) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    environment |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    environment |= emulator.environment(ACCOUNT, "demo-app")
    command = [sys.executable, "-m", "awscli", "sts", "get-caller-identity", "--output", "json"]

    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=PATIENCE)  # noqa: S603

    arn = json.loads(done.stdout)["Arn"]
    assert arn == emulator.issue(ACCOUNT, "demo-app").principal.arn
