"""moto, a program of other authors, agrees wherever it implements the same: header-signed POSTs and GetRole.

It knows no presigned GET, no time window and no end of a session; nobody but the emulator's own tests speaks there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from app.emulator import Emulator, UserCredentials, World
from tests.emulator.conftest import TAGS
from tests.emulator.signing import Message, sign
from tests.support.moto_server import moto_api, moto_server

MOTO_ACCOUNT = "123456789012"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
TRUST = '{"Version": "2012-10-17", "Statement": []}'


@dataclass(frozen=True)
class Twins:
    """One user and one role, which both moto and the emulator know."""

    moto: str
    ours: str
    user: UserCredentials


def _iam(url: str, key_id: str, secret: str) -> Any:
    create: Any = boto3.Session(aws_access_key_id=key_id, aws_secret_access_key=secret, region_name="us-east-1").client
    return create("iam", endpoint_url=url, config=Config(proxies={}, retries={"total_max_attempts": 1}))


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    with moto_server() as url:
        iam = _iam(url, "setting", "up")
        iam.create_user(UserName="alice")
        iam.put_user_policy(UserName="alice", PolicyName="all", PolicyDocument=POLICY)
        key = iam.create_access_key(UserName="alice")["AccessKey"]
        tags = [{"Key": name, "Value": value} for name, value in TAGS]
        role = iam.create_role(RoleName="demo-app", Path="/workloads/", AssumeRolePolicyDocument=TRUST, Tags=tags)[
            "Role"
        ]
        iam.close()
        moto_api(url, "reset-auth", "0")  # moto verifies signatures from here on

        world = World()
        user = world.add_user(
            MOTO_ACCOUNT, "alice", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"]
        )
        world.add_role(MOTO_ACCOUNT, "demo-app", path="/workloads/", tags=TAGS, role_id=role["RoleId"])
        with Emulator(world) as emulator:
            yield Twins(url, emulator.url, user)


def _unknown_key(user: UserCredentials) -> Message:
    return sign(replace(user, access_key_id="AKIAUNKNOWNUNKNOWN00"))


def _wrong_secret(user: UserCredentials) -> Message:
    return sign(replace(user, secret_access_key="x" * 40))


CASES: dict[str, tuple[Callable[[UserCredentials], Message], int, str | None]] = {
    "as-signed": (sign, 200, None),
    "with-a-signed-audience": (lambda u: sign(u, headers={"x-kuma-audience": "cp"}), 200, None),
    "unsigned-header-added": (lambda u: sign(u).with_headers(("x-unsigned", "1")), 200, None),
    "wrong-secret": (_wrong_secret, 403, "SignatureDoesNotMatch"),
    "unknown-key": (_unknown_key, 403, "InvalidClientTokenId"),
    "body-changed": (lambda u: replace(sign(u), body=sign(u).body + b"&x=1"), 403, "SignatureDoesNotMatch"),
    "query-added": (lambda u: replace(sign(u), target="/?x=1"), 403, "SignatureDoesNotMatch"),
    "host-changed": (
        lambda u: replace(sign(u), host="sts.eu-west-1.amazonaws.com:443"),
        403,
        "SignatureDoesNotMatch",
    ),
    "signed-header-changed": (
        lambda u: sign(u, headers={"x-kuma-audience": "cp"}).with_headers(("x-kuma-audience", "other")),
        403,
        "SignatureDoesNotMatch",
    ),
}


@pytest.mark.parametrize("make, status, code", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_both_accept_and_refuse_the_same_posts(
    twins: Twins, make: Callable[[UserCredentials], Message], status: int, code: str | None
) -> None:
    message = make(twins.user)

    theirs, ours = message.send(twins.moto), message.send(twins.ours)

    assert (theirs.status, theirs.code) == (ours.status, ours.code) == (status, code)


def test_both_name_the_same_caller(twins: Twins) -> None:
    theirs, ours = sign(twins.user).send(twins.moto), sign(twins.user).send(twins.ours)

    for name in ("Arn", "Account"):
        assert theirs.element(name) == ours.element(name)


def test_both_answer_the_same_role(twins: Twins) -> None:
    answers = []
    for url in (twins.moto, twins.ours):
        iam = _iam(url, twins.user.access_key_id, twins.user.secret_access_key)
        answers.append(iam.get_role(RoleName="demo-app")["Role"])
        iam.close()

    theirs, ours = answers
    for name in ("Path", "RoleName", "RoleId", "Arn", "Tags", "MaxSessionDuration"):
        assert theirs[name] == ours[name]


def test_both_miss_the_same_role(twins: Twins) -> None:
    errors = []
    for url in (twins.moto, twins.ours):
        iam = _iam(url, twins.user.access_key_id, twins.user.secret_access_key)
        with pytest.raises(ClientError) as caught:
            iam.get_role(RoleName="missing")
        iam.close()
        answer = caught.value.response
        errors.append((answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]))

    assert errors == [(404, "NoSuchEntity"), (404, "NoSuchEntity")]
