"""IAM in other accounts: through the reader role, one client per account, and never another account's role."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.core.errors import AuthorizationError, UpstreamError
from app.core.reasons import Reason
from app.emulator import Emulator, FaultKind, Role, SessionCredentials
from app.iam.client import IamRoles
from tests.iam.conftest import OpenIam, new_trail, soon
from tests.support.corpus import identity_xml
from tests.support.principals import admitted
from tests.support.wire import answering, recording_server
from tests.support.world import ACCOUNT, DATAPLANE, EXTERNAL_ID, OTHER_ACCOUNT, READER_ROLE, SERVICE_ROLE, Aws

UNPREPARED_ACCOUNT = "222233334444"  # nobody made a reader role there
OPEN_ACCOUNT = "333344445555"  # its reader role asks for no external id


@pytest.fixture
def other(aws: Aws) -> Role:
    return aws.add_role(account=OTHER_ACCOUNT)


async def denied(iam: IamRoles, role: Role) -> list[EventDict]:
    """Return the log of a role that the service may not read: no decision is made."""
    with capture_logs() as log, pytest.raises(UpstreamError) as raised:
        await iam.fetch_role(admitted(role), new_trail().iam, soon())
    assert raised.value.reason is Reason.IAM_ACCESS_DENIED
    return log


async def test_fetch_role_goes_through_the_reader_role_of_the_account(iam: IamRoles, aws: Aws, other: Role) -> None:
    record = await iam.fetch_role(admitted(other), new_trail().iam, soon())
    assert record.arn == other.arn
    assert record.tags == tuple(DATAPLANE.items())
    calls = [(call.action, call.account, call.outcome) for call in aws.emulator.calls]
    assert calls == [
        ("GetCallerIdentity", ACCOUNT, "ok"),
        ("AssumeRole", ACCOUNT, "ok"),
        ("GetRole", OTHER_ACCOUNT, "ok"),
    ]


async def test_fetch_role_assumes_the_reader_role_once_for_many_roles(iam: IamRoles, aws: Aws) -> None:
    for _ in range(3):
        await iam.fetch_role(admitted(aws.add_role(account=OTHER_ACCOUNT)), new_trail().iam, soon())
    assert aws.emulator.calls.count("sts", "AssumeRole") == 1
    assert aws.emulator.calls.count("iam", "GetRole", account=OTHER_ACCOUNT) == 3


async def test_fetch_role_needs_no_external_id_where_none_is_asked_for(open_iam: OpenIam, aws: Aws) -> None:
    aws.add_named_role(OPEN_ACCOUNT, READER_ROLE)
    role = aws.add_role(account=OPEN_ACCOUNT)
    record = await (await open_iam(reader_external_id=None)).fetch_role(admitted(role), new_trail().iam, soon())
    assert record.arn == role.arn


@pytest.mark.parametrize("external_id", [None, "another-external-id"])
async def test_a_wrong_external_id_is_no_decision_and_no_getrole(
    open_iam: OpenIam, aws: Aws, other: Role, external_id: str | None
) -> None:
    [event] = await denied(await open_iam(reader_external_id=external_id), other)
    assert event["operation"] == "AssumeRole"
    assert aws.iam_calls() == []  # above all not with the service's own credentials


async def test_a_missing_reader_role_is_no_decision_and_its_mending_policy_is_logged(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role(account=UNPREPARED_ACCOUNT)
    [event] = await denied(iam, role)
    reader = f"arn:aws:iam::{UNPREPARED_ACCOUNT}:role/{READER_ROLE}"
    assert (event["account"], event["operation"]) == (UNPREPARED_ACCOUNT, "AssumeRole")
    [statement] = event["mending_policy"]["Statement"]
    assert statement == {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": reader}
    assert reader in event["attach_to"]
    assert EXTERNAL_ID not in str(event)
    assert aws.iam_calls() == []


async def test_a_reader_role_that_may_not_read_is_no_decision(open_iam: OpenIam, aws: Aws) -> None:
    aws.add_named_role(UNPREPARED_ACCOUNT, READER_ROLE, may_get_roles=())
    role = aws.add_role(account=UNPREPARED_ACCOUNT)
    [event] = await denied(await open_iam(), role)
    assert event["operation"] == "GetRole"
    [statement] = event["mending_policy"]["Statement"]
    assert statement["Resource"] == f"arn:aws:iam::{UNPREPARED_ACCOUNT}:role/*"


async def test_another_account_without_a_reader_role_name_costs_no_call(
    open_iam: OpenIam, aws: Aws, other: Role
) -> None:
    iam = await open_iam(reader_role_name=None, reader_external_id=None)
    await iam.own_account()
    aws.emulator.calls.clear()
    await denied(iam, other)
    assert len(aws.emulator.calls) == 0


async def test_a_reader_role_that_comes_later_is_used(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role(account=UNPREPARED_ACCOUNT)
    await denied(iam, role)
    aws.add_named_role(UNPREPARED_ACCOUNT, READER_ROLE)
    assert (await iam.fetch_role(admitted(role), new_trail().iam, soon())).arn == role.arn


async def test_fetch_role_tells_a_throttled_assumerole(iam: IamRoles, aws: Aws, other: Role) -> None:
    aws.emulator.faults.sts.inject(FaultKind.THROTTLE, action="AssumeRole")
    with pytest.raises(UpstreamError) as raised:
        await iam.fetch_role(admitted(other), new_trail().iam, soon())
    assert raised.value.reason is Reason.IAM_THROTTLED


async def test_a_role_of_the_same_name_in_another_account_is_never_taken_for_it(iam: IamRoles, aws: Aws) -> None:
    """CVE-2025-11621 and CVE-2025-59048: GetRole takes a name, and answers for the account of its caller."""
    twins = [
        aws.add_named_role(account, "twin", tags={**DATAPLANE, "kuma.io/mesh": f"mesh-{account}"})
        for account in (ACCOUNT, OTHER_ACCOUNT)
    ]
    asked = [role for _ in range(10) for role in twins]
    records = await asyncio.gather(*(iam.fetch_role(admitted(role), new_trail().iam, soon()) for role in asked))
    assert [record.arn for record in records] == [role.arn for role in asked]
    assert [record.role_id for record in records] == [role.role_id for role in asked]
    assert [dict(record.tags)["kuma.io/mesh"] for record in records] == [f"mesh-{role.account}" for role in asked]
    assert aws.emulator.calls.count("iam", "GetRole", account=ACCOUNT) == 10
    assert aws.emulator.calls.count("iam", "GetRole", account=OTHER_ACCOUNT) == 10


async def test_a_role_that_is_in_the_own_account_alone_is_not_found_in_another(iam: IamRoles, aws: Aws) -> None:
    role = aws.add_role(account=OTHER_ACCOUNT)
    aws.add_named_role(ACCOUNT, role.name, tags=DATAPLANE)
    aws.emulator.world.delete_role(OTHER_ACCOUNT, role.name)
    with pytest.raises(AuthorizationError) as raised:
        await iam.fetch_role(admitted(role), new_trail().iam, soon())
    assert raised.value.reason is Reason.ROLE_NOT_FOUND


async def test_many_who_need_a_reader_role_at_once_assume_it_once(iam: IamRoles, aws: Aws) -> None:
    roles = [aws.add_role(account=OTHER_ACCOUNT) for _ in range(10)]
    await asyncio.gather(*(iam.fetch_role(admitted(role), new_trail().iam, soon()) for role in roles))
    assert aws.emulator.calls.count("sts", "AssumeRole") == 1
    assert aws.emulator.calls.count("sts", "GetCallerIdentity") == 1


def late(aws: Aws, until_assumed: int) -> Emulator:
    """The same world with a clock that is ten minutes ahead, until the reader role was assumed so many times."""

    def clock() -> datetime:
        is_late = aws.emulator.calls.count("sts", "AssumeRole") < until_assumed
        return datetime.now(UTC) + timedelta(minutes=10 if is_late else 0)

    return Emulator(aws.emulator.world, clock=clock)


@pytest.fixture
def short(aws: Aws) -> Role:
    """A role in an account whose reader's session lasts five minutes."""
    aws.add_named_role(UNPREPARED_ACCOUNT, READER_ROLE, max_session_duration=300)
    return aws.add_role(account=UNPREPARED_ACCOUNT)


async def test_a_session_that_aws_calls_expired_is_assumed_anew(open_iam: OpenIam, aws: Aws, short: Role) -> None:
    with late(aws, until_assumed=2) as iam_of_aws:
        iam = await open_iam(iam_url=iam_of_aws.url)
        assert (await iam.fetch_role(admitted(short), new_trail().iam, soon())).arn == short.arn
        assert [call.outcome for call in iam_of_aws.calls] == ["ExpiredToken", "ok"]
    assert aws.emulator.calls.count("sts", "AssumeRole") == 2


async def test_a_session_that_is_still_expired_then_is_no_decision(open_iam: OpenIam, aws: Aws, short: Role) -> None:
    with late(aws, until_assumed=3) as iam_of_aws:
        iam = await open_iam(iam_url=iam_of_aws.url)
        with pytest.raises(UpstreamError) as raised:
            await iam.fetch_role(admitted(short), new_trail().iam, soon())
        assert len(iam_of_aws.calls) == 2
    assert raised.value.reason is Reason.IAM_UNAVAILABLE


def assumed_xml(account: str, session: SessionCredentials) -> bytes:
    keys = {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "SessionToken": session.session_token,
        "Expiration": session.expiration.isoformat(),
    }
    credentials = "".join(f"<{name}>{value}</{name}>" for name, value in keys.items())
    arn = f"arn:aws:sts::{account}:assumed-role/{READER_ROLE}/kuma-aws-iam"
    result = f"<AssumedRoleUser><Arn>{arn}</Arn></AssumedRoleUser><Credentials>{credentials}</Credentials>"
    namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
    answer = f"<AssumeRoleResult>{result}</AssumeRoleResult>"
    return f'<AssumeRoleResponse xmlns="{namespace}">{answer}</AssumeRoleResponse>'.encode()


@pytest.mark.parametrize(("account", "is_believed"), [(OTHER_ACCOUNT, True), (ACCOUNT, False)])
async def test_a_session_of_another_account_is_not_used(
    open_iam: OpenIam, aws: Aws, other: Role, account: str, *, is_believed: bool
) -> None:
    """Whatever STS answers: such credentials would read the roles of another account."""
    own = {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/x/y", "UserId": "AROAX:y", "Account": ACCOUNT}
    session = aws.task(READER_ROLE, OTHER_ACCOUNT)

    async def respond(writer: asyncio.StreamWriter) -> None:
        is_assumed = b"Action=AssumeRole" in sts.requests[-1].body
        body = assumed_xml(account, session) if is_assumed else identity_xml(own).encode()
        await answering("200 OK", {"Content-Type": "text/xml"}, body)(writer)

    async with recording_server(respond) as sts:
        iam = await open_iam(sts_url=sts.url)
        with contextlib.nullcontext() if is_believed else pytest.raises(UpstreamError, match="another account"):
            await iam.fetch_role(admitted(other), new_trail().iam, soon())
    assert len(aws.iam_calls()) == is_believed


# The service's own credentials.


@pytest.fixture
async def agent(
    open_iam: OpenIam,  # noqa: ARG001 - it replaces the agent's address
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[list[tuple[SessionCredentials, datetime]]]:
    """An ECS agent that hands out these credentials with these ends. It repeats the last ones."""
    handed_out: list[tuple[SessionCredentials, datetime]] = []

    async def respond(writer: asyncio.StreamWriter) -> None:
        session, ends = handed_out.pop(0) if len(handed_out) > 1 else handed_out[0]
        credentials = {
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "Token": session.session_token,
            "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }
        await answering("200 OK", {"Content-Type": "application/json"}, json.dumps(credentials).encode())(writer)

    async with recording_server(respond) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
        yield handed_out


async def test_own_credentials_that_aws_calls_expired_are_replaced(
    open_iam: OpenIam, aws: Aws, agent: list[tuple[SessionCredentials, datetime]]
) -> None:
    """The agent stated a later end, which the SDK alone would trust."""
    ends = datetime.now(UTC) + timedelta(hours=6)
    world = aws.emulator.world
    for number, minutes in enumerate((5, 60)):
        session = world.issue_session(ACCOUNT, SERVICE_ROLE, f"task-{number}", timedelta(minutes=minutes))
        agent.append((session, ends))
    role = aws.add_role()
    with Emulator(world, clock=lambda: datetime.now(UTC) + timedelta(minutes=10)) as iam_of_aws:
        iam = await open_iam(iam_url=iam_of_aws.url)
        assert (await iam.fetch_role(admitted(role), new_trail().iam, soon())).arn == role.arn
        assert [call.outcome for call in iam_of_aws.calls] == ["ExpiredToken", "ok"]
