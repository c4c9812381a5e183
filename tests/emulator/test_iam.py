"""Reading roles as the service's own client does."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from app.emulator import Emulator, SessionCredentials, World
from tests.emulator.conftest import ACCOUNT, TAGS, ClientFactory
from tests.emulator.signing import sign

Client = Any


@pytest.fixture
def iam(client: ClientFactory, emulator: Emulator) -> Client:
    return client("iam", emulator.issue(ACCOUNT, "kuma-aws-iam"), region="us-east-1")


def _refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_get_role_answers_everything_of_it(iam: Client, world: World) -> None:
    answer = iam.get_role(RoleName="demo-app")["Role"]

    role = world.find_role(ACCOUNT, "demo-app")
    assert role is not None
    assert answer["Path"] == "/workloads/"
    assert answer["RoleName"] == "demo-app"
    assert answer["RoleId"] == role.role_id
    assert answer["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/workloads/demo-app"
    assert answer["MaxSessionDuration"] == 3600
    assert answer["CreateDate"] == role.created_at
    assert answer["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole"
    assert answer["Tags"] == [{"Key": key, "Value": value} for key, value in TAGS]


def test_role_without_tags_has_no_such_member(iam: Client) -> None:
    assert "Tags" not in iam.get_role(RoleName="kuma-aws-iam")["Role"]


def test_external_id_shows_in_the_trust_policy(client: ClientFactory, world: World) -> None:
    reader = world.issue_session("444455556666", "reader", "task-1")

    policy = client("iam", reader).get_role(RoleName="reader")["Role"]["AssumeRolePolicyDocument"]

    assert policy["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": "kuma-control-plane"}}


def test_changed_tags_show_at_once_and_in_their_order(iam: Client, world: World) -> None:
    world.add_role(ACCOUNT, "changing", tags={"a": "1"})

    world.set_role_tags(ACCOUNT, "changing", (("z", "1"), ("A", ""), ("a", "ü")))

    tags = iam.get_role(RoleName="changing")["Role"]["Tags"]
    assert [(tag["Key"], tag["Value"]) for tag in tags] == [("z", "1"), ("A", ""), ("a", "ü")]


def test_name_is_found_whatever_its_case(iam: Client) -> None:
    assert iam.get_role(RoleName="DEMO-app")["Role"]["RoleName"] == "demo-app"


def test_missing_role_is_no_such_entity(iam: Client) -> None:
    with pytest.raises(ClientError) as error:
        iam.get_role(RoleName="missing")

    assert _refused(error) == (404, "NoSuchEntity")


def test_role_of_another_account_is_missing(iam: Client) -> None:
    with pytest.raises(ClientError) as error:
        iam.get_role(RoleName="reader")

    assert _refused(error) == (404, "NoSuchEntity")


def test_name_is_required(emulator: Emulator, credentials: SessionCredentials) -> None:
    body = "Action=GetRole&Version=2010-05-08"
    message = sign(credentials, host="iam.amazonaws.com", service="iam", region="us-east-1", body=body)

    answer = message.send(emulator.url)

    assert (answer.status, answer.code) == (400, "ValidationError")


@pytest.mark.parametrize(
    ("pattern", "role", "outcome"),
    [
        (f"arn:aws:iam::{ACCOUNT}:role/workloads/*", "demo-app", None),
        (f"arn:aws:iam::{ACCOUNT}:role/workloads/*", "kuma-aws-iam", (403, "AccessDenied")),
        (f"arn:aws:iam::{ACCOUNT}:role/workloads/*", "missing", (403, "AccessDenied")),
        (f"arn:aws:iam::{ACCOUNT}:role/*", "missing", (404, "NoSuchEntity")),
    ],
    ids=["inside", "outside", "missing-has-no-path", "missing-and-permitted"],
)
def test_permission_is_by_arn_and_a_missing_role_has_no_path(
    client: ClientFactory, world: World, pattern: str, role: str, outcome: tuple[int, str] | None
) -> None:
    world.add_role(ACCOUNT, "limited", may_get_roles=(pattern,))
    iam = client("iam", world.issue_session(ACCOUNT, "limited", "task-1"))
    try:
        if outcome is None:
            assert iam.get_role(RoleName=role)["Role"]["RoleName"] == role
            return
        with pytest.raises(ClientError) as error:
            iam.get_role(RoleName=role)
        assert _refused(error) == outcome
    finally:
        world.delete_role(ACCOUNT, "limited")


def test_user_may_read_all_roles(client: ClientFactory, world: World) -> None:
    iam = client("iam", world.add_user(ACCOUNT, "dave"))

    assert iam.get_role(RoleName="demo-app")["Role"]["RoleName"] == "demo-app"


def test_unsigned_call_is_refused(emulator: Emulator, credentials: SessionCredentials) -> None:
    body = "Action=GetRole&Version=2010-05-08&RoleName=demo-app"
    message = sign(credentials, host="iam.amazonaws.com", service="iam", region="us-east-1", body=body)

    assert message.without_header("authorization").send(emulator.url).code == "MissingAuthenticationToken"


def test_wrong_region_is_refused(emulator: Emulator, credentials: SessionCredentials) -> None:
    body = "Action=GetRole&Version=2010-05-08&RoleName=demo-app"

    answer = sign(credentials, host="iam.amazonaws.com", service="iam", body=body).send(emulator.url)

    assert answer.code == "SignatureDoesNotMatch"


def test_all_roles_come_page_by_page_with_their_tags(client: ClientFactory, world: World) -> None:
    account = "123123123123"
    names = [f"role-{number:02}" for number in range(7)]
    for name in names:
        world.add_role(account, name, tags={"name": name})
    iam = client("iam", world.issue_session(account, "role-00", "task-1"))

    pages = list(
        iam.get_paginator("get_account_authorization_details").paginate(
            Filter=["Role"], PaginationConfig={"PageSize": 3}
        )
    )

    roles = [role for page in pages for role in page["RoleDetailList"]]
    assert [len(page["RoleDetailList"]) for page in pages] == [3, 3, 1]
    assert [role["RoleName"] for role in roles] == names
    assert [role["Tags"] for role in roles] == [[{"Key": "name", "Value": name}] for name in names]
    assert roles[0]["CreateDate"] <= datetime.now(UTC)


def test_details_of_other_kinds_are_empty(iam: Client) -> None:
    answer = iam.get_account_authorization_details(Filter=["User"])

    assert (answer["RoleDetailList"], answer["IsTruncated"]) == ([], False)


@pytest.mark.parametrize("options", [{"Marker": "x"}, {"Marker": "99"}, {"MaxItems": 1001}])
def test_page_that_does_not_exist_is_refused(
    client: ClientFactory, emulator: Emulator, options: dict[str, Any]
) -> None:
    iam = client("iam", emulator.issue(ACCOUNT, "kuma-aws-iam"), parameter_validation=False)

    with pytest.raises(ClientError) as error:
        iam.get_account_authorization_details(Filter=["Role"], **options)

    assert _refused(error) == (400, "ValidationError")


def test_limited_role_may_not_list(client: ClientFactory, world: World) -> None:
    world.add_role(ACCOUNT, "no-lists", may_get_roles=(f"arn:aws:iam::{ACCOUNT}:role/*",))

    with pytest.raises(ClientError) as error:
        client("iam", world.issue_session(ACCOUNT, "no-lists", "task-1")).get_account_authorization_details()

    assert _refused(error) == (403, "AccessDenied")
