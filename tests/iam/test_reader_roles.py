"""Sessions of reader roles: assumed once, renewed in time, and waited for only if there is no valid one."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from app.core.errors import UpstreamDownError
from app.core.reasons import Reason
from app.core.sts_documents import AssumedRole
from app.iam.reader_roles import RENEW_PAUSE_SECONDS, ReaderRoles
from tests.support.upstreams import settle

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
HOUR = 3600.0
EPOCH = datetime(2026, 11, 24, tzinfo=UTC)
AWAY = UpstreamDownError(Reason.IAM_UNAVAILABLE, "no answer of STS")


@dataclass
class Sts:
    """Returns one session of an hour after the other, fails, or hangs. It has the clocks."""

    seconds: float = 0.0
    error: Exception | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    assumed: list[str] = field(default_factory=list)

    async def assume(self, account: str, _deadline: float) -> AssumedRole:
        self.assumed.append(account)
        await self.released.wait()
        if self.error:
            raise self.error
        return AssumedRole(
            arn="arn",
            access_key_id=f"ASIA{len(self.assumed)}",
            secret_access_key="secret",
            session_token="token",
            expires_at=self.now() + timedelta(seconds=HOUR),
        )

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)


@pytest.fixture
def sts() -> Sts:
    sts = Sts()
    sts.released.set()
    return sts


@pytest.fixture
def readers(sts: Sts) -> ReaderRoles:
    return ReaderRoles(sts.assume, lambda: sts.seconds, sts.now)


async def key_of(readers: ReaderRoles, account: str = ACCOUNT, seconds: float = 10.0) -> str:
    credentials = await readers.get(account, asyncio.get_running_loop().time() + seconds)
    await settle()
    return str(credentials.access_key)


async def test_each_account_has_a_session_of_its_own(readers: ReaderRoles, sts: Sts) -> None:
    assert [await key_of(readers), await key_of(readers, OTHER_ACCOUNT), await key_of(readers)] == [
        "ASIA1",
        "ASIA2",
        "ASIA1",
    ]
    assert sts.assumed == [ACCOUNT, OTHER_ACCOUNT]


async def test_many_who_wait_are_one_call(readers: ReaderRoles, sts: Sts) -> None:
    assert await asyncio.gather(*(key_of(readers) for _ in range(5))) == ["ASIA1"] * 5
    assert sts.assumed == [ACCOUNT]


@pytest.mark.parametrize(("seconds", "renewed"), [(0.75 * HOUR - 1, False), (0.75 * HOUR, True)])
async def test_a_session_is_renewed_after_three_quarters_of_its_life_and_signs_meanwhile(
    readers: ReaderRoles, sts: Sts, seconds: float, *, renewed: bool
) -> None:
    await key_of(readers)
    sts.seconds = seconds
    sts.released.clear()
    assert await key_of(readers) == "ASIA1"
    assert len(sts.assumed) == 1 + renewed
    sts.released.set()
    await settle()
    assert await key_of(readers) == ("ASIA2" if renewed else "ASIA1")


async def test_a_session_that_has_ended_signs_nothing(readers: ReaderRoles, sts: Sts) -> None:
    await key_of(readers)
    sts.seconds = HOUR
    assert await key_of(readers) == "ASIA2"


async def test_a_session_that_cannot_be_renewed_signs_to_its_end_and_the_log_says_so(
    readers: ReaderRoles, sts: Sts
) -> None:
    await key_of(readers)
    sts.error, sts.seconds = AWAY, 0.75 * HOUR
    with capture_logs() as log:
        assert [await key_of(readers) for _ in range(3)] == ["ASIA1"] * 3
        assert len(sts.assumed) == 2
        sts.seconds += RENEW_PAUSE_SECONDS
        assert await key_of(readers) == "ASIA1"
    assert len(sts.assumed) == 3
    assert [(event["event"], event["account"], event["log_level"]) for event in log] == [
        ("reader role not renewed", ACCOUNT, "warning")
    ] * 2
    sts.seconds = HOUR
    with pytest.raises(UpstreamDownError):
        await key_of(readers)


async def test_a_waiter_whose_time_is_over_ends_no_other(readers: ReaderRoles, sts: Sts) -> None:
    sts.released.clear()
    patient = asyncio.create_task(key_of(readers))
    await settle()
    with pytest.raises(TimeoutError):
        await key_of(readers, seconds=0.01)
    sts.released.set()
    assert await patient == "ASIA1"
    assert sts.assumed == [ACCOUNT]


async def test_a_session_that_aws_calls_expired_is_dropped_once(readers: ReaderRoles, sts: Sts) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    expired = await readers.get(ACCOUNT, deadline)
    readers.drop(OTHER_ACCOUNT, expired)
    assert await readers.get(ACCOUNT, deadline) is expired
    readers.drop(ACCOUNT, expired)
    renewed = await readers.get(ACCOUNT, deadline)
    assert renewed.access_key == "ASIA2"
    readers.drop(ACCOUNT, expired)
    assert await readers.get(ACCOUNT, deadline) is renewed
    assert len(sts.assumed) == 2
