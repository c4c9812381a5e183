"""The account of the service's own credentials: which answers of STS are trusted, and when STS is called again."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from app.core.errors import AuthError
from app.core.reasons import Reason
from app.core.sts_documents import IdentityDocument
from app.emulator import FaultKind
from app.iam.client import IamRoles
from app.iam.own_account import DOUBT_SECONDS, OwnAccount, OwnAccountError, read_own_account
from tests.iam.conftest import OpenIam, new_trail
from tests.support.corpus import identity_xml
from tests.support.patience import PATIENCE
from tests.support.principals import admitted
from tests.support.upstreams import settle
from tests.support.wire import Recorder, answering, recording_server
from tests.support.world import ACCOUNT, DATAPLANE, OTHER_ACCOUNT, Aws

ANSWER = IdentityDocument(
    account=ACCOUNT, arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/kuma-aws-iam/task-1", user_id="AROAX:task-1"
)


def of_account(account: str) -> dict[str, str]:
    return {"account": account, "arn": ANSWER.arn.replace(ACCOUNT, account)}


def test_an_answer_that_agrees_with_itself_is_believed() -> None:
    assert read_own_account(ANSWER, "aws") == ACCOUNT


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"account": OTHER_ACCOUNT}, id="another-account"),
        pytest.param(of_account("1" * 11), id="eleven-digits"),
        pytest.param(of_account("1" * 13), id="thirteen-digits"),
        pytest.param(of_account("\u0661" * 12), id="other-digits"),
        pytest.param(of_account(f"{ACCOUNT}\n"), id="newline"),
        pytest.param(of_account(""), id="empty"),
        pytest.param({"arn": "assumed-role/kuma-aws-iam/task-1"}, id="not-an-arn"),
        pytest.param({"arn": ANSWER.arn.replace(ACCOUNT, OTHER_ACCOUNT)}, id="arn-of-another-account"),
        pytest.param({"arn": ANSWER.arn.replace("arn:aws:", "arn:aws-cn:")}, id="arn-of-another-partition"),
    ],
)
def test_an_answer_with_one_fault_is_not_believed(changes: dict[str, str]) -> None:
    with pytest.raises(OwnAccountError):
        read_own_account(replace(ANSWER, **changes), "aws")


LIES = [FaultKind.ACCOUNT_MISMATCH, FaultKind.OTHER_PARTITION, FaultKind.DUPLICATE_ACCOUNT, FaultKind.FORGED_ACTION]


@pytest.mark.parametrize("lie", LIES)
async def test_nothing_is_kept_of_a_lie(iam: IamRoles, aws: Aws, lie: FaultKind) -> None:
    aws.emulator.faults.sts.inject(lie, times=1)
    assert await iam.own_account() is None
    assert await iam.own_account() == ACCOUNT


# A false answer that could be true.


@dataclass
class Sts:
    """An STS that implements one action, and answers with the account that the test sets."""

    account: str
    server: Recorder = field(default_factory=lambda: Recorder(url=""))

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        arn = ANSWER.arn.replace(ACCOUNT, self.account)
        body = identity_xml({"Account": self.account, "Arn": arn, "UserId": ANSWER.user_id}).encode()
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
        await iam.fetch_role(admitted(role), new_trail().iam, soon())
    return raised.value.reason


@pytest.fixture
async def misled(open_iam: OpenIam, lying_sts: Sts) -> IamRoles:
    """A client that takes another account for its own. It calls STS again at the first contradiction."""
    timer = itertools.count(step=DOUBT_SECONDS).__next__
    return await open_iam(timer, sts_url=lying_sts.server.url, reader_role_name=None, reader_external_id=None)


async def until_told(misled: IamRoles, account: str) -> None:
    """Wait for a result that no other task waits for."""
    async with asyncio.timeout(PATIENCE):
        while await misled.own_account() != account:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


async def test_a_role_that_may_not_be_read_has_sts_asked_again(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    role = aws.add_role()
    assert await misled.own_account() == OTHER_ACCOUNT
    lying_sts.account = ACCOUNT
    assert await reason_of(misled, aws, ACCOUNT, role.name) is Reason.IAM_ACCESS_DENIED
    await until_told(misled, ACCOUNT)
    assert (await misled.fetch_role(admitted(role), new_trail().iam, soon())).arn == role.arn


async def test_a_role_of_another_account_has_sts_asked_again(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    own = aws.add_role()
    namesake = aws.add_named_role(OTHER_ACCOUNT, own.name, tags=DATAPLANE)
    assert await misled.own_account() == OTHER_ACCOUNT
    lying_sts.account = ACCOUNT
    assert (await misled.fetch_role(admitted(namesake), new_trail().iam, soon())).arn == own.arn
    await until_told(misled, ACCOUNT)
    # The credentials that read the wrong account do not read it again.
    assert await reason_of(misled, aws, OTHER_ACCOUNT, namesake.name) is Reason.IAM_ACCESS_DENIED


async def test_a_role_that_is_not_there_has_sts_asked_again(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    elsewhere = aws.add_role(account=OTHER_ACCOUNT)
    assert await misled.own_account() == OTHER_ACCOUNT
    lying_sts.account = ACCOUNT
    assert await reason_of(misled, aws, OTHER_ACCOUNT, elsewhere.name) is Reason.ROLE_NOT_FOUND
    await until_told(misled, ACCOUNT)


async def test_a_role_that_is_the_callers_raises_no_doubt(misled: IamRoles, lying_sts: Sts, aws: Aws) -> None:
    lying_sts.account = ACCOUNT
    for _ in range(2):
        await misled.fetch_role(admitted(aws.add_role()), new_trail().iam, soon())
    assert lying_sts.asked == 1


# How often STS is called, and at what cost.


@dataclass
class Asked:
    """An STS that counts its calls and answers as the test sets it, and a clock."""

    says: str | Exception = ACCOUNT
    calls: int = 0
    seconds: float = 0.0

    async def ask(self, _deadline: float) -> str:
        self.calls += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def sts() -> Asked:
    return Asked()


@pytest.fixture
def own(sts: Asked) -> OwnAccount:
    return OwnAccount(sts.ask, lambda: sts.seconds)


def soon() -> float:
    return asyncio.get_running_loop().time() + PATIENCE


async def test_many_who_ask_at_once_are_one_call(own: OwnAccount, sts: Asked) -> None:
    assert await asyncio.gather(*(own.get(soon()) for _ in range(5))) == [ACCOUNT] * 5
    assert sts.calls == 1


async def test_a_doubt_has_sts_asked_once_in_thirty_seconds(own: OwnAccount, sts: Asked) -> None:
    await own.get(soon())
    asked = []
    for sts.seconds in (0.0, DOUBT_SECONDS - 0.001, DOUBT_SECONDS, DOUBT_SECONDS, 2 * DOUBT_SECONDS):
        own.doubt()
        await settle()
        asked.append(sts.calls)
    assert asked == [1, 1, 2, 2, 3]


async def test_a_doubt_takes_nothing_away_while_sts_cannot_be_believed(own: OwnAccount, sts: Asked) -> None:
    await own.get(soon())
    sts.says, sts.seconds = OwnAccountError("another partition"), DOUBT_SECONDS
    own.doubt()
    await settle()
    assert sts.calls == 2
    assert await own.get(soon()) == ACCOUNT
    assert sts.calls == 2


async def test_nothing_is_doubted_before_it_is_known(own: OwnAccount, sts: Asked) -> None:
    sts.seconds = DOUBT_SECONDS
    own.doubt()
    await settle()
    assert sts.calls == 0


async def test_an_answer_that_is_not_believed_is_not_kept(own: OwnAccount, sts: Asked) -> None:
    sts.says = OwnAccountError("another partition")
    with pytest.raises(OwnAccountError):
        await own.get(soon())
    sts.says = ACCOUNT
    assert await own.get(soon()) == ACCOUNT
