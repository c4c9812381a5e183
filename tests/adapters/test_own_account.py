"""Whose credentials the service has: what STS is believed about it, and when STS is asked again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.adapters import iam_clients
from app.adapters.iam import IamRoles
from app.adapters.iam_clients import DOUBT_SECONDS, IamClients, IamOptions
from app.adapters.own_account import OwnAccountError, read_own_account
from app.emulator import FaultKind
from app.errors import AuthError
from app.reasons import Reason
from tests.adapters.conftest import OpenIam, new_trail
from tests.support.corpus import identity_xml
from tests.support.principals import admitted
from tests.support.wire import Recorder, answering, recording_server
from tests.support.world import ACCOUNT, DATAPLANE, OTHER_ACCOUNT, Aws

ANSWER = {
    "Account": ACCOUNT,
    "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/kuma-aws-iam/task-1",
    "UserId": "AROAX:task-1",
}


def test_an_answer_that_agrees_with_itself_is_believed() -> None:
    assert read_own_account(ANSWER, "aws") == ACCOUNT


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Account": OTHER_ACCOUNT}, id="another-account"),
        pytest.param({"Account": None}, id="no-account"),
        pytest.param({"Account": [ACCOUNT, ACCOUNT]}, id="two-accounts"),
        pytest.param({"Account": "1" * 11, "Arn": ANSWER["Arn"].replace(ACCOUNT, "1" * 11)}, id="eleven-digits"),
        pytest.param({"Account": "1" * 13, "Arn": ANSWER["Arn"].replace(ACCOUNT, "1" * 13)}, id="thirteen-digits"),
        pytest.param(
            {"Account": "\u0661" * 12, "Arn": ANSWER["Arn"].replace(ACCOUNT, "\u0661" * 12)}, id="other-digits"
        ),
        pytest.param({"Account": f"{ACCOUNT}\n", "Arn": ANSWER["Arn"].replace(ACCOUNT, f"{ACCOUNT}\n")}, id="newline"),
        pytest.param({"Account": "", "Arn": ANSWER["Arn"].replace(ACCOUNT, "")}, id="empty"),
        pytest.param({"Arn": None}, id="no-arn"),
        pytest.param({"Arn": [ANSWER["Arn"], ANSWER["Arn"]]}, id="two-arns"),
        pytest.param({"Arn": "assumed-role/kuma-aws-iam/task-1"}, id="not-an-arn"),
        pytest.param({"Arn": ANSWER["Arn"].replace(ACCOUNT, OTHER_ACCOUNT)}, id="arn-of-another-account"),
        pytest.param({"Arn": ANSWER["Arn"].replace("arn:aws:", "arn:aws-cn:")}, id="arn-of-another-partition"),
    ],
)
def test_an_answer_with_one_fault_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(OwnAccountError):
        read_own_account({**ANSWER, **changes}, "aws")


LIES = [FaultKind.ACCOUNT_MISMATCH, FaultKind.OTHER_PARTITION, FaultKind.DUPLICATE_ACCOUNT, FaultKind.FORGED_ACTION]


@pytest.mark.parametrize("lie", LIES)
async def test_nothing_is_kept_of_a_lie(iam: IamRoles, aws: Aws, lie: FaultKind) -> None:
    aws.emulator.faults.sts.inject(lie, times=1)
    assert await iam.own_account() is None
    assert await iam.own_account() == ACCOUNT


# A lie that could be true.


@dataclass
class Sts:
    """An STS that knows one question, and answers it with the account that it is told to."""

    account: str
    server: Recorder = field(default_factory=lambda: Recorder(url=""))

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        arn = ANSWER["Arn"].replace(ACCOUNT, self.account)
        body = identity_xml({**ANSWER, "Account": self.account, "Arn": arn}).encode()
        await answering("200 OK", {"Content-Type": "text/xml"}, body)(writer)


@asynccontextmanager
async def sts_saying(account: str) -> AsyncIterator[Sts]:
    sts = Sts(account)
    async with recording_server(sts.respond) as sts.server:
        yield sts


@pytest.fixture
async def lying_sts() -> AsyncIterator[Sts]:
    async with sts_saying(OTHER_ACCOUNT) as sts:
        yield sts


async def reason_of(iam: IamRoles, aws: Aws, account: str, name: str) -> Reason:
    role = aws.emulator.world.find_role(account, name) or aws.add_named_role(account, name, tags=DATAPLANE)
    with pytest.raises(AuthError) as raised:
        await iam.fetch_role(admitted(role), new_trail())
    return raised.value.reason


@pytest.fixture
def misled(open_iam: OpenIam, lying_sts: Sts, monkeypatch: pytest.MonkeyPatch) -> IamRoles:
    """It takes its own account for another one; asks STS again at the first doubt, and in the order of things."""
    monkeypatch.setattr(iam_clients, "DOUBT_SECONDS", 0.0)
    return open_iam(sts_url=lying_sts.server.url, reader_role_name=None, reader_external_id=None, max_threads=1)


async def test_a_role_that_may_not_be_read_has_sts_asked_again(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    role = aws.add_role()
    assert await misled.own_account() == OTHER_ACCOUNT
    lying_sts.account = ACCOUNT
    assert await reason_of(misled, aws, ACCOUNT, role.name) is Reason.IAM_ACCESS_DENIED
    assert (await misled.fetch_role(admitted(role), new_trail())).arn == role.arn
    assert await misled.own_account() == ACCOUNT


async def test_a_role_of_another_account_has_sts_asked_again(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    own = aws.add_role()
    namesake = aws.add_named_role(OTHER_ACCOUNT, own.name, tags=DATAPLANE)
    assert await misled.own_account() == OTHER_ACCOUNT
    lying_sts.account = ACCOUNT
    assert (await misled.fetch_role(admitted(namesake), new_trail())).arn == own.arn
    assert await misled.own_account() == ACCOUNT
    # And the client that read the wrong account is gone.
    assert await reason_of(misled, aws, OTHER_ACCOUNT, namesake.name) is Reason.IAM_ACCESS_DENIED


async def test_a_role_that_is_not_there_has_sts_asked_again(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    elsewhere = aws.add_role(account=OTHER_ACCOUNT)
    assert await misled.own_account() == OTHER_ACCOUNT
    lying_sts.account = ACCOUNT
    assert await reason_of(misled, aws, OTHER_ACCOUNT, elsewhere.name) is Reason.ROLE_NOT_FOUND
    assert await misled.own_account() == ACCOUNT


async def test_a_role_that_is_the_callers_raises_no_doubt(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    lying_sts.account = ACCOUNT
    for _ in range(2):
        await misled.fetch_role(admitted(aws.add_role()), new_trail())
    assert lying_sts.asked == 1


# How often, and at what cost.


@dataclass
class Time:
    passed: float = 0.0

    def timer(self) -> float:
        return self.passed


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def known(aws: Aws, lying_sts: Sts, time: Time, monkeypatch: pytest.MonkeyPatch) -> IamClients:
    """Clients that have asked STS once."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    options = IamOptions(partition="aws", region="us-east-1", sts_url=lying_sts.server.url, iam_url=aws.emulator.url)
    clients = IamClients(options, time.timer)
    assert await asyncio.to_thread(clients.own_account) == OTHER_ACCOUNT
    return clients


async def test_a_doubt_has_sts_asked_once_in_thirty_seconds(known: IamClients, lying_sts: Sts, time: Time) -> None:
    asked = []
    for time.passed in (0.0, DOUBT_SECONDS - 0.001, DOUBT_SECONDS, DOUBT_SECONDS, 2 * DOUBT_SECONDS):
        await asyncio.to_thread(known.doubt_own_account)
        asked.append(lying_sts.asked)
    assert asked == [1, 1, 2, 2, 3]


async def test_a_doubt_that_is_none_leaves_the_clients(known: IamClients, time: Time) -> None:
    client = await asyncio.to_thread(known.for_account, OTHER_ACCOUNT)
    time.passed = DOUBT_SECONDS
    await asyncio.to_thread(known.doubt_own_account)
    assert await asyncio.to_thread(known.for_account, OTHER_ACCOUNT) is client


async def test_a_doubt_takes_nothing_away_while_sts_cannot_be_believed(
    known: IamClients, lying_sts: Sts, time: Time
) -> None:
    client = await asyncio.to_thread(known.for_account, OTHER_ACCOUNT)
    lying_sts.account, time.passed = "nobody", DOUBT_SECONDS
    await asyncio.to_thread(known.doubt_own_account)
    assert lying_sts.asked == 2
    assert await asyncio.to_thread(known.for_account, OTHER_ACCOUNT) is client


async def test_nothing_is_doubted_before_it_is_known(known: IamClients, lying_sts: Sts, time: Time) -> None:
    fresh = IamClients(replace(known._options), time.timer)
    time.passed = DOUBT_SECONDS
    await asyncio.to_thread(fresh.doubt_own_account)
    assert lying_sts.asked == 1
