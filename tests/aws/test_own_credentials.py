"""The service's own credentials, from an imitation of the ECS agent over HTTP, through the SDK's whole chain."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.credentials import Credentials, ReadOnlyCredentials
from structlog.testing import capture_logs

from app.aws.own_credentials import LOOK_PAUSE_SECONDS, RENEW_PAUSE_SECONDS, SEARCH_PAUSE_SECONDS, OwnCredentials
from app.core.errors import OutOfTimeError, OwnCredentialsError
from tests.support.patience import PATIENCE
from tests.support.service import until
from tests.support.wire import answering, recording_server

HOURS = timedelta(hours=6)
# botocore already renews credentials with this remaining life, but they are still valid.
MINUTES = timedelta(minutes=5)


@dataclass
class Agent:
    """An ECS agent that returns one key after the other, fails, or hangs. It uses the service's clock."""

    life: timedelta = HOURS
    seconds: float = 0.0
    is_away: bool = False
    asked: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        number = self.asked
        await self.released.wait()
        body = {
            "AccessKeyId": f"ASIA{number}",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": f"{datetime.now(UTC) + self.life:%Y-%m-%dT%H:%M:%SZ}",
        }
        status = "403 Forbidden" if self.is_away else "200 OK"
        await answering(status, {"Content-Type": "application/json"}, json.dumps(body).encode())(writer)


@pytest.fixture
async def agent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    agent = Agent()
    agent.released.set()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    async with recording_server(agent.respond) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
        yield agent
        agent.released.set()


@pytest.fixture
def own(agent: Agent) -> OwnCredentials:
    """Credentials whose search may take long: the SDK reads megabytes of data for the first one of a process."""
    return OwnCredentials("us-east-1", lambda: agent.seconds, find_seconds=PATIENCE)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The region of each search. In one search, the SDK asks an agent that hangs again and again."""
    made, make = list[str](), boto3.Session

    def session(*, botocore_session: Any, region_name: str) -> boto3.Session:
        made.append(region_name)
        return make(botocore_session=botocore_session, region_name=region_name)

    monkeypatch.setattr(boto3, "Session", session)
    return made


async def key(own: OwnCredentials, seconds: float = 2 * PATIENCE) -> str:
    return str((await own.get(asyncio.get_running_loop().time() + seconds)).access_key)


async def test_they_are_looked_for_once(own: OwnCredentials, agent: Agent) -> None:
    assert await asyncio.gather(*(key(own) for _ in range(5))) == ["ASIA1"] * 5
    agent.seconds += LOOK_PAUSE_SECONDS
    assert await key(own) == "ASIA1"
    assert agent.asked == 1


async def test_there_may_be_none_and_then_some(
    own: OwnCredentials, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        with pytest.raises(
            OwnCredentialsError, match="the AWS SDK finds no credentials; on ECS give the task a task role"
        ):
            await key(own)
    agent.seconds += SEARCH_PAUSE_SECONDS
    assert await key(own) == "ASIA1"


async def test_none_are_looked_for_again_only_after_a_pause(own: OwnCredentials, agent: Agent) -> None:
    """A search blocks the thread for seconds, and each decision would wait for one."""
    agent.is_away = True
    for agent.seconds in (0.0, SEARCH_PAUSE_SECONDS - 0.001):
        with pytest.raises(OwnCredentialsError, match="the endpoint of container credentials answers 403"):
            await key(own)
    asked, agent.is_away = agent.asked, False
    agent.seconds = SEARCH_PAUSE_SECONDS
    assert await key(own) == f"ASIA{asked + 1}"
    assert own.problem is None


async def test_the_start_does_not_wait_for_the_pause(own: OwnCredentials, agent: Agent) -> None:
    agent.is_away = True
    with pytest.raises(OwnCredentialsError):
        await key(own)
    agent.is_away = False
    assert (await own.search(asyncio.get_running_loop().time() + 2 * PATIENCE)).access_key == f"ASIA{agent.asked}"


async def test_they_sign_while_they_are_renewed_and_nobody_waits(own: OwnCredentials, agent: Agent) -> None:
    agent.life = MINUTES
    first = await key(own)
    asked = agent.asked
    agent.released.clear()
    agent.seconds += RENEW_PAUSE_SECONDS
    assert [await key(own, seconds=0.0) for _ in range(3)] == [first] * 3
    await until(lambda: agent.asked == asked + 1)
    agent.released.set()
    await until(lambda: own._search is None)
    assert await key(own) == f"ASIA{asked + 1}" != first


async def test_they_are_renewed_once_in_ten_seconds(own: OwnCredentials, agent: Agent) -> None:
    agent.life = MINUTES
    asked = []
    await key(own)
    before = agent.asked
    for agent.seconds in (RENEW_PAUSE_SECONDS - 0.001, RENEW_PAUSE_SECONDS, RENEW_PAUSE_SECONDS + 5.0):
        await key(own)
        await until(lambda: own._search is None)
        asked.append(agent.asked - before)
    assert asked == [0, 1, 1]


async def test_they_sign_while_they_cannot_be_renewed(own: OwnCredentials, agent: Agent) -> None:
    agent.life = MINUTES
    first = await key(own)
    agent.is_away = True
    agent.seconds += RENEW_PAUSE_SECONDS
    with capture_logs() as log:
        assert await key(own, seconds=0.0) == first
        await until(lambda: own._search is None)
        assert await key(own, seconds=0.0) == first
    [event] = log
    assert (event["event"], event["log_level"]) == ("own credentials not renewed", "warning")
    assert event["problem"] == "the endpoint of container credentials answers 403"
    assert "task role" in event["remedy"]
    assert own.problem is None


async def test_they_end_where_they_cannot_be_renewed(own: OwnCredentials, agent: Agent) -> None:
    agent.life = timedelta(seconds=3)
    first = await key(own)
    agent.is_away = True
    agent.seconds += RENEW_PAUSE_SECONDS
    with capture_logs() as log:
        assert await key(own, seconds=0.0) == first
        await until(lambda: own._search is None)  # the SDK tries for 3 s
        with pytest.raises(OwnCredentialsError, match="answers 403"):
            await key(own)
    assert [(event["event"], event["log_level"]) for event in log] == [("own credentials unavailable", "error")]


async def test_whoever_has_too_little_time_learns_nothing(
    own: OwnCredentials, agent: Agent, searches: list[str]
) -> None:
    agent.released.clear()
    with pytest.raises(OutOfTimeError):
        await key(own, seconds=0.05)
    agent.released.set()
    assert (await key(own)).startswith("ASIA")
    assert len(searches) == 1


async def test_a_search_that_hangs_holds_one_thread_and_no_waiter_for_long(agent: Agent, searches: list[str]) -> None:
    own = OwnCredentials("us-east-1", lambda: agent.seconds, find_seconds=0.05)
    agent.released.clear()
    for _ in range(3):
        with pytest.raises(OwnCredentialsError, match="did not find them in time"):
            await key(own)
    assert sum(thread.name.startswith("credentials") and thread.is_alive() for thread in threading.enumerate()) >= 1
    await until(lambda: bool(searches))  # the thread may need longer than the callers wait
    assert len(searches) == 1


async def test_whoever_comes_in_the_turn_in_which_they_are_found_gets_them(
    own: OwnCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASTATIC")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    found: list[Any] = []

    def run(_threads: object, search: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        found.append(search(*arguments))
        return ended

    monkeypatch.setattr(loop, "run_in_executor", run)
    first = asyncio.create_task(key(own))
    await until(lambda: bool(found))
    loop.call_soon(ended.set_result, found[0])
    second = asyncio.create_task(key(own))
    assert (await first, await second, len(found)) == ("AKIASTATIC", "AKIASTATIC", 1)


async def test_credentials_that_aws_rejects_during_their_renewal_are_looked_for_anew_at_once(
    own: OwnCredentials, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal began with the rejected ones, and can return them once more."""
    agent.life = MINUTES
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    first = await own.get(deadline)
    searches: list[asyncio.Future[Any]] = []

    def run(*_: object) -> asyncio.Future[Any]:
        searches.append(loop.create_future())
        return searches[-1]

    monkeypatch.setattr(loop, "run_in_executor", run)
    agent.seconds += RENEW_PAUSE_SECONDS
    assert await own.get(deadline) is first
    own.reject(first, "ExpiredToken")
    getting = asyncio.create_task(own.get(deadline))
    await asyncio.sleep(0)
    [renewal, search] = searches
    other = ReadOnlyCredentials("ASIAOTHER", "secret", "token")
    search.set_result((Credentials("ASIAOTHER", "secret", "token"), other))
    assert await getting is other
    renewal.set_result((Credentials("ASIA1", "secret", "token"), first))
    await asyncio.sleep(0)
    assert await own.get(deadline) is other


REJECTIONS = [
    ("ExpiredToken", "", "expired", "session has expired", "restart the task"),
    ("InvalidClientTokenId", "", "rejected", "does not know their access key", "the role or user was deleted"),
    ("SignatureDoesNotMatch", "", "rejected", "does not fit the access key", "AWS_SECRET_ACCESS_KEY"),
    (
        "SignatureDoesNotMatch",
        "Signature expired: 1 is now earlier than 2",
        "rejected",
        "date is wrong",
        "clock by NTP",
    ),
]


@pytest.mark.parametrize(("code", "message", "fault", "problem", "remedy"), REJECTIONS)
async def test_credentials_that_aws_rejects_are_looked_for_anew_at_once(
    agent: Agent, code: str, message: str, fault: str, problem: str, remedy: str
) -> None:
    reported: list[Any] = []
    own = OwnCredentials("us-east-1", lambda: agent.seconds, find_seconds=PATIENCE, report=reported.append)
    deadline = asyncio.get_running_loop().time() + 2 * PATIENCE
    first = await own.get(deadline)
    with capture_logs() as log:
        own.reject(first, code, message)
        second = await own.get(deadline)
    assert (first.access_key, second.access_key) == ("ASIA1", "ASIA2")
    before, rejected, after = reported
    assert (before, after) == (None, None)
    assert rejected is not None
    assert (rejected.fault, code in str(rejected.cause)) == (fault, True)
    assert problem in rejected.cause.problem
    assert remedy in rejected.cause.remedy
    assert [event["event"] for event in log] == ["own credentials unavailable", "own credentials found again"]


async def test_others_that_aws_rejects_too_are_looked_for_after_a_pause(own: OwnCredentials, agent: Agent) -> None:
    deadline = asyncio.get_running_loop().time() + 2 * PATIENCE
    first = await own.get(deadline)
    own.reject(first, "ExpiredToken")
    second = await own.get(deadline)
    own.reject(first, "ExpiredToken")  # by a slower task
    assert await own.get(deadline) is second
    own.reject(second, "ExpiredToken")
    with pytest.raises(OwnCredentialsError, match="ExpiredToken"):
        await own.get(deadline)
    agent.seconds += SEARCH_PAUSE_SECONDS
    assert (await own.get(deadline)).access_key == "ASIA3"
    assert agent.asked == 3


async def test_the_same_that_aws_rejects_are_tried_again_after_a_pause(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may turn the key on again, or correct the clock."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASTATIC")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    own = OwnCredentials("us-east-1", lambda: agent.seconds, find_seconds=PATIENCE)
    deadline = asyncio.get_running_loop().time() + 2 * PATIENCE
    own.reject(await own.get(deadline), "InvalidClientTokenId")
    with pytest.raises(OwnCredentialsError, match="InvalidClientTokenId"):
        await own.get(deadline)
    agent.seconds += SEARCH_PAUSE_SECONDS
    again = await own.get(deadline)
    assert again.access_key == "AKIASTATIC"
    assert own.problem is not None  # until AWS accepts them
    own.accept(again)
    assert own.problem is None
