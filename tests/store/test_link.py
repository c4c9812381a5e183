"""The link to the store: concurrent requests share a round trip, and a failing store is called less often."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from app.limits.ticks import within
from app.local.causes import Peer
from app.store.link import FAILURES_TO_OPEN, MAX_TOGETHER, MAX_WAITING, NoReply, StoreLink
from app.store.redis_connection import explain
from tests.support.patience import PATIENCE
from tests.support.service import until


class Fake:
    """A store in memory, behind connections that behave as those of redis-py."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0
        self.batches: list[list[Any]] = []
        self.fault: Exception | None = None
        self.answers: Callable[[Any], Any] = lambda command: b"of " + command[1]

    def __call__(self) -> Any:
        self.made += 1
        return FakeConnection(self)

    def asked(self) -> list[list[Any]]:
        """Return the requests of callers, without those of the link itself."""
        return [batch for batch in self.batches if batch != [("PING",)]]


class FakeConnection:
    def __init__(self, store: Fake) -> None:
        self._store = store
        self._replies: list[Any] = []

    async def connect(self) -> None:
        self._fail()

    def pack_commands(self, commands: list[Any]) -> list[Any]:
        return list(commands)

    async def send_packed_command(self, commands: list[Any], *, check_health: bool) -> None:
        assert not check_health
        self._fail()
        self._store.batches.append(commands)
        self._replies = [b"PONG" if each == ("PING",) else self._store.answers(each) for each in commands]

    async def read_response(self, *, disable_decoding: bool) -> Any:
        assert disable_decoding
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, *, nowait: bool) -> None:
        assert nowait
        self._store.closed += 1

    def _fail(self) -> None:
        if self._store.fault is not None:
            raise self._store.fault


@pytest.fixture
def store() -> Fake:
    return Fake()


@pytest.fixture
async def link(store: Fake) -> AsyncIterator[StoreLink]:
    made = StoreLink(store, retry_seconds=0, pause_seconds=0.01)
    yield made
    await made.aclose()


@pytest.fixture
async def patient(store: Fake) -> AsyncIterator[StoreLink]:
    """A link whose pause never ends."""
    made = StoreLink(store, retry_seconds=0, pause_seconds=3600.0)
    yield made
    await made.aclose()


async def start(link: StoreLink) -> StoreLink:
    link.start()
    await link.connected()
    return link


async def come_back(link: StoreLink) -> None:
    async with asyncio.timeout(PATIENCE):
        await link.connected()


async def test_what_is_asked_at_the_same_moment_travels_together(link: StoreLink, store: Fake) -> None:
    await start(link)
    replies = await asyncio.gather(*(link.ask("GET", b"%d" % number) for number in range(100)))
    assert replies == [b"of %d" % number for number in range(100)]
    assert [len(batch) for batch in store.asked()] == [100]


async def test_no_more_travel_together_than_a_bound(link: StoreLink, store: Fake) -> None:
    await start(link)
    await asyncio.gather(*(link.ask("GET", b"x") for _ in range(2 * MAX_TOGETHER + 1)))
    assert [len(batch) for batch in store.asked()] == [MAX_TOGETHER, MAX_TOGETHER, 1]


async def test_no_more_wait_than_a_bound(link: StoreLink) -> None:
    await start(link)
    futures = [link.ask("GET", b"x") for _ in range(MAX_WAITING + 1)]
    assert futures[-1].result() is NoReply.SKIPPED
    assert await futures[-2] == b"of x"


async def test_who_has_left_is_not_asked_for(link: StoreLink, store: Fake) -> None:
    await start(link)
    left, stayed = link.ask("GET", b"left"), link.ask("GET", b"stayed")
    left.cancel()
    assert await stayed == b"of stayed"
    only_left = link.ask("GET", b"left")
    only_left.cancel()
    assert await link.ask("GET", b"next") == b"of next"
    assert store.asked() == [[("GET", b"stayed")], [("GET", b"next")]]


async def test_an_error_of_one_command_is_its_own(link: StoreLink, store: Fake) -> None:
    error = ResponseError("WRONGTYPE")
    store.answers = lambda command: error if command[1] == b"bad" else b"good"
    await start(link)
    bad, good = link.ask("GET", b"bad"), link.ask("GET", b"x")
    assert (await bad, await good) == (error, b"good")
    assert store.made == 1


async def test_before_it_is_up_nobody_is_asked(link: StoreLink, store: Fake) -> None:
    assert link.ask("GET", b"x").result() is NoReply.SKIPPED
    store.fault = LostError("refused")
    link.start()
    await until(lambda: store.made > 0)
    assert link.ask("GET", b"x").result() is NoReply.SKIPPED


async def test_a_lost_connection_fails_those_under_way_and_is_made_anew(link: StoreLink, store: Fake) -> None:
    await start(link)
    store.answers = lambda _command: LostError("reset")
    assert await asyncio.gather(*(link.ask("GET", b"x") for _ in range(3))) == [NoReply.FAILED] * 3
    store.answers = lambda _command: b"again"
    await link.connected()
    assert await link.ask("GET", b"x") == b"again"
    assert (store.made, store.closed) == (2, 1)


async def test_who_waits_behind_a_failure_is_not_asked_for(link: StoreLink, store: Fake) -> None:
    await start(link)
    store.fault = LostError("reset")
    replies = await asyncio.gather(*(link.ask("GET", b"x") for _ in range(MAX_TOGETHER + 2)))
    assert replies == [NoReply.FAILED] * MAX_TOGETHER + [NoReply.SKIPPED] * 2


async def test_an_unused_connection_is_looked_after(store: Fake) -> None:
    link = await start(StoreLink(store, retry_seconds=0, idle_seconds=0.0))
    await until(lambda: len(store.batches) > 3)
    await link.aclose()
    assert store.asked() == []


async def test_a_store_that_fails_is_left_alone(patient: StoreLink, store: Fake) -> None:
    store.fault = LostError("refused")
    patient.start()
    await until(lambda: store.made == FAILURES_TO_OPEN)
    for _ in range(20):
        await asyncio.sleep(0)
    assert store.made == FAILURES_TO_OPEN


async def test_a_store_that_fails_is_tried_again_after_each_pause(link: StoreLink, store: Fake) -> None:
    store.fault = LostError("refused")
    link.start()
    await until(lambda: store.made > FAILURES_TO_OPEN)
    store.fault = None
    await come_back(link)
    assert await link.ask("GET", b"x") == b"of x"


async def test_a_store_that_takes_connections_and_answers_nothing_is_left_alone_too(
    patient: StoreLink, store: Fake
) -> None:
    """An open connection is no success: each one would block the first callers."""
    link = await start(patient)
    store.answers = lambda _command: LostError("reset")
    failed = 0
    for _ in range(FAILURES_TO_OPEN):
        await link.connected()
        failed += await link.ask("GET", b"x") is NoReply.FAILED
    assert failed == store.made == FAILURES_TO_OPEN
    for _ in range(20):
        await asyncio.sleep(0)
        assert link.ask("GET", b"x").result() is NoReply.SKIPPED
    assert store.made == FAILURES_TO_OPEN


async def test_one_failure_is_not_worth_a_line_and_an_outage_two(link: StoreLink, store: Fake) -> None:
    with capture_logs() as log:
        await start(link)
        store.answers = lambda _command: LostError("reset")
        await link.ask("GET", b"x")
        store.answers = lambda _command: b"again"
        await link.connected()
        await link.ask("GET", b"x")
        assert [line["event"] for line in log] == ["store answers"]
        store.fault = LostError("refused")
        await link.ask("GET", b"x")
        await until(lambda: store.made >= FAILURES_TO_OPEN)
        store.fault = None
        await come_back(link)
        await link.ask("GET", b"x")
    assert [line["event"] for line in log[1:]] == ["store does not answer", "store answers"]
    assert log[1]["problem"].startswith("the store closed the connection")


async def test_a_bug_does_not_end_the_link(link: StoreLink, store: Fake) -> None:
    store.fault = RecursionError("a list in a list in a list")
    link.start()
    await until(lambda: store.made > 1)
    store.fault = None
    await come_back(link)
    assert await link.ask("GET", b"x") == b"of x"


async def test_at_the_end_the_connection_is_closed(link: StoreLink, store: Fake) -> None:
    await start(link)
    await link.aclose()
    assert (store.made, store.closed) == (1, 1)
    assert link.ask("GET", b"x").result() is NoReply.SKIPPED


# Time.


async def test_an_answer_that_is_there_is_read_however_long_this_loop_took() -> None:
    """In a storm the deadline can pass before the event loop reads its sockets. Here it has passed from the start."""

    async def answer() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        return "there"

    assert await within(0.0, answer()) == "there"


async def test_what_never_answers_is_given_up() -> None:
    work = asyncio.Event()
    with pytest.raises(TimeoutError):
        await within(0.0, work.wait())


async def test_an_error_comes_through() -> None:
    async def fail() -> None:
        raise LostError("reset")

    with pytest.raises(LostError):
        await within(10.0, fail())


# The messages about a failure.


def raised_for(error: Exception) -> Exception:
    """Return an error as redis-py raises it while it handles another one."""
    try:
        try:
            raise error
        except type(error):
            raise LostError("canary of the library")  # noqa: B904 - as redis-py does
    except LostError as lost:
        return lost


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (TimeoutError(), "gives no answer in time", "check that it runs"),
        (raised_for(OSError(errno.ECONNREFUSED, "x")), "refuses the connection", "KMESH_AWSIAM_STORE"),
        (raised_for(socket.gaierror(socket.EAI_NONAME, "x")), "does not resolve", "DNS"),
        (raised_for(ResponseError("canary", status_code="WRONGPASS")), "answers WRONGPASS", "password"),
        (LostError("canary of the library"), "closed the connection before its answer was complete", "try again"),
        (ResponseError("canary of the server", status_code="NOPERM"), "answers NOPERM", "permissions"),
        (ResponseError("canary of the server", status_code="MOVED"), "answers MOVED", "the store's own log"),
        (ResponseError("canary of the server"), "something that cannot be used", "a Redis or Valkey"),
        (ValueError("canary of the server"), "something that cannot be used", "a Redis or Valkey"),
    ],
)
def test_a_problem_is_said_in_our_own_words(error: Exception, problem: str, remedy: str) -> None:
    cause = explain(error, Peer(name="the store redis://store:6379/0", setting="KMESH_AWSIAM_STORE"))
    assert "the store redis://store:6379/0" in cause.problem
    assert problem in cause.problem
    assert remedy in cause.remedy
    assert "canary" not in str(cause)
    assert "Error" not in str(cause)
