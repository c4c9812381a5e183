"""The service can read moto, an IAM of other authors: GetRole, tags and the reader role of another account."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from app.core.errors import AuthorizationError
from app.core.principal import AdmittedPrincipal, Principal
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord, read_grant
from app.iam.client import IamRoles
from tests.iam.conftest import new_trail, soon
from tests.support.iam_client import iam_options, open_roles
from tests.support.moto_server import moto_server
from tests.support.policies import POLICY
from tests.support.world import DATAPLANE, READER_ROLE

OWN_ACCOUNT = "123456789012"  # moto's account for keys that it does not know
OTHER_ACCOUNT = "444455556666"
TRUST = '{"Version": "2012-10-17", "Statement": []}'


@dataclass(frozen=True)
class Moto:
    """The URL of moto, and the role demo-app of each account as moto returned it when it was created."""

    url: str
    roles: dict[str, dict[str, Any]]


def _client(service: str, url: str, **credentials: str) -> Any:
    keys = credentials or {"aws_access_key_id": "setting", "aws_secret_access_key": "up"}
    create: Any = boto3.Session(region_name="us-east-1", **keys).client  # type: ignore[arg-type]
    return create(service, endpoint_url=url, config=Config(proxies={}, retries={"total_max_attempts": 1}))


def _make_role(iam: Any, mesh: str) -> dict[str, Any]:
    tags = [{"Key": key, "Value": value} for key, value in {**DATAPLANE, "kuma.io/mesh": mesh}.items()]
    role: dict[str, Any] = iam.create_role(
        RoleName="demo-app", Path="/workloads/", AssumeRolePolicyDocument=TRUST, Tags=tags
    )["Role"]
    return role


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with moto_server() as url:
        sts, own = _client("sts", url), _client("iam", url)
        # moto assumes that a role of any account exists, and returns keys of that account.
        session = sts.assume_role(
            RoleArn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/{READER_ROLE}", RoleSessionName="setting-up"
        )
        keys = session["Credentials"]
        other = _client(
            "iam",
            url,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )
        other.create_role(RoleName=READER_ROLE, AssumeRolePolicyDocument=TRUST)
        roles = {OWN_ACCOUNT: _make_role(own, "default"), OTHER_ACCOUNT: _make_role(other, "payments")}
        for client in (sts, own, other):
            client.close()
        yield Moto(url, roles)


@pytest.fixture
async def iam(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IamRoles]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    async with open_roles(iam_options(moto.url, reader_role_name=READER_ROLE)) as roles:
        yield roles


def _admitted(account: str, role_id: str, role: str = "demo-app") -> AdmittedPrincipal:
    return AdmittedPrincipal(
        Principal(partition="aws", account=account, role=role, role_id=role_id, session="task-1", request_id="x")
    )


@pytest.mark.parametrize(("account", "mesh"), [(OWN_ACCOUNT, "default"), (OTHER_ACCOUNT, "payments")])
async def test_fetch_role_reads_from_moto_what_moto_made(iam: IamRoles, moto: Moto, account: str, mesh: str) -> None:
    made = moto.roles[account]
    principal = _admitted(account, made["RoleId"])
    record = await iam.fetch_role(principal, new_trail().iam, soon())
    assert record == RoleRecord(
        arn=made["Arn"],
        role_id=made["RoleId"],
        name="demo-app",
        tags=tuple({**DATAPLANE, "kuma.io/mesh": mesh}.items()),
        request_id=record.request_id,
    )
    assert record.arn == f"arn:aws:iam::{account}:role/workloads/demo-app"
    assert read_grant(principal, record, POLICY).mesh == mesh


async def test_fetch_role_denies_a_role_that_moto_does_not_have(iam: IamRoles) -> None:
    with pytest.raises(AuthorizationError) as raised:
        await iam.fetch_role(_admitted(OWN_ACCOUNT, "AROAEXAMPLEEXAMPLE001", role="nobody"), new_trail().iam, soon())
    assert raised.value.reason is Reason.ROLE_NOT_FOUND


async def test_own_account_is_the_one_that_moto_says(iam: IamRoles) -> None:
    assert await iam.own_account() == OWN_ACCOUNT


@pytest.mark.parametrize(("account", "mesh"), [(OWN_ACCOUNT, "default"), (OTHER_ACCOUNT, "payments")])
async def test_read_page_reads_the_same_of_moto(iam: IamRoles, moto: Moto, account: str, mesh: str) -> None:
    made = moto.roles[account]
    page = await iam.read_page(account, None, soon())
    [role] = page.roles
    assert (role.arn, role.role_id, role.name) == (made["Arn"], made["RoleId"], "demo-app")
    assert dict(role.tags)["kuma.io/mesh"] == mesh
    assert page.marker is None
