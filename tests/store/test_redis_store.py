"""The store on a real Redis: what is shared, what is not trusted, and that its failure costs only the sharing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from structlog.testing import capture_logs

from app.store.port import ANSWER_SECONDS, StoreOptions
from app.store.redis_store import LOG_SECONDS, MAX_RECORD_BYTES, open_store
from app.store.sealing import MAX_IDENTITY_SECONDS, MAX_SKEW_SECONDS
from app.store.url import StoreAddress, parse_store_url
from app.telemetry.metrics import Metrics
from tests.support.patience import PATIENCE
from tests.support.process import free_address
from tests.support.redis_server import RedisServer, redis_on_socket, redis_on_tcp, redis_on_tls
from tests.support.service import until
from tests.support.shared_store import (
    MAX_ROLE_SECONDS,
    OTHER_SECRET,
    SECRET,
    Clocks,
    Intruder,
    Replica,
    intruder,
    replica,
)
from tests.support.tls import Authority, make_certificate

KEY, OTHER_KEY = b"every input of one decision", b"every input of another"
PAYLOAD = b'{"canary":"what AWS said"}'


class OpenReplica(Protocol):
    async def __call__(
        self,
        address: StoreAddress | None = None,
        *,
        secrets: tuple[bytes, ...] = ...,
        ca_file: Path | None = ...,
        is_up: bool = ...,
        answer_seconds: float = ...,
    ) -> Replica: ...


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_on_socket() as running:
        yield running


@pytest.fixture
def writer(server: RedisServer) -> Iterator[Intruder]:
    with intruder(server) as somebody:
        yield somebody


@pytest.fixture
async def open_replica(tmp_path: Path, clocks: Clocks, request: pytest.FixtureRequest) -> AsyncIterator[OpenReplica]:
    """Open replicas that share the server, or another store."""
    async with AsyncExitStack() as stack:

        async def make(
            address: StoreAddress | None = None,
            *,
            secrets: tuple[bytes, ...] = (SECRET,),
            ca_file: Path | None = None,
            is_up: bool = True,
            answer_seconds: float = PATIENCE,
        ) -> Replica:
            if address is None:
                address = request.getfixturevalue("server").address
            made = replica(
                tmp_path,
                address,
                clocks,
                secrets=secrets,
                ca_file=ca_file,
                is_up=is_up,
                answer_seconds=answer_seconds,
            )
            return await stack.enter_async_context(made)

        yield make


# What is shared.


async def test_what_one_replica_puts_another_gets(open_replica: OpenReplica, clocks: Clocks) -> None:
    one, another = await open_replica(), await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    clocks.now += 100
    opened = await another.store.get("identity", KEY)
    assert opened is not None
    assert (opened.payload, opened.age, opened.remaining) == (PAYLOAD, 100, 500)
    assert (one.counted("put"), another.counted("get")) == ({"done": 1}, {"hit": 1})


async def test_what_nobody_put_is_a_miss(open_replica: OpenReplica) -> None:
    one = await open_replica()
    assert await one.store.get("identity", KEY) is None
    assert one.counted("get") == {"miss": 1}


async def test_kinds_and_keys_are_apart(open_replica: OpenReplica) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    await one.put("role", OTHER_KEY, b"another", 600)
    assert await one.payload("identity", KEY) == PAYLOAD
    assert await one.payload("role", OTHER_KEY) == b"another"
    assert await one.payload("role", KEY) is None
    assert await one.payload("identity", OTHER_KEY) is None
    assert one.counted("get") == {"hit": 2, "miss": 2}


async def test_what_is_deleted_is_gone_for_all(open_replica: OpenReplica) -> None:
    one, another = await open_replica(), await open_replica()
    await one.put("role", KEY, PAYLOAD, 600)
    await another.store.delete("role", KEY)
    assert await one.store.get("role", KEY) is None
    assert another.counted("delete") == {"done": 1}


async def test_a_claim_is_that_of_one_replica_until_it_is_taken_back(open_replica: OpenReplica) -> None:
    one, another = await open_replica(), await open_replica()
    assert await one.store.claim("role", KEY, 60)
    assert not await another.store.claim("role", KEY, 60)
    assert await another.store.claim("identity", KEY, 60)
    one.store.release("role", KEY)
    await one.store.get("role", KEY)  # requests on one link are processed in order
    assert await another.store.claim("role", KEY, 60)
    assert another.counted("claim") == {"miss": 1, "done": 2}


async def test_replicas_agree_on_a_claim_while_keys_are_exchanged(open_replica: OpenReplica) -> None:
    old_first = await open_replica(secrets=(SECRET, OTHER_SECRET))
    new_first = await open_replica(secrets=(OTHER_SECRET, SECRET))
    assert await old_first.store.claim("role", KEY, 60)
    assert not await new_first.store.claim("role", KEY, 60)


async def test_a_claim_ends_by_itself(open_replica: OpenReplica, writer: Intruder) -> None:
    one = await open_replica()
    assert await one.store.claim("role", KEY, 60)
    assert 0 < int(writer.client.pttl(writer.only_name())) <= 60_000


async def test_a_later_record_takes_the_place_of_an_earlier_one(open_replica: OpenReplica) -> None:
    one = await open_replica()
    await one.put("role", KEY, b"old tags", 600)
    await one.put("role", KEY, b"new tags", 600)
    assert await one.payload("role", KEY) == b"new tags"


async def test_a_dump_of_the_store_tells_nothing(open_replica: OpenReplica, writer: Intruder) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    await one.store.take("sts 111122223333", 1, 1)
    dump = b"".join(name + writer.read(name) for name in writer.names())
    for text in (KEY, PAYLOAD, b"canary", b"identity", b"sts", b"111122223333", SECRET):
        assert text not in dump
    assert {name.split(b":")[0] for name in writer.names()} == {b"kuma-aws-iam"}


async def test_the_store_forgets_by_itself_what_has_ended(open_replica: OpenReplica, writer: Intruder) -> None:
    one = await open_replica()
    await one.put("role", KEY, PAYLOAD, 600)
    left = writer.client.pttl(writer.only_name())
    assert isinstance(left, int)
    assert 0 < left <= 600_000


@pytest.mark.parametrize(("kind", "most"), [("identity", MAX_IDENTITY_SECONDS), ("role", MAX_ROLE_SECONDS)])
async def test_no_record_is_put_for_longer_than_its_kind_may_live(
    open_replica: OpenReplica, kind: str, most: float
) -> None:
    one = await open_replica()
    await one.put(kind, KEY, PAYLOAD, 1e9)  # type: ignore[arg-type]
    opened = await one.store.get(kind, KEY)  # type: ignore[arg-type]
    assert opened is not None
    assert opened.remaining == most


@pytest.mark.parametrize("seconds", [0, -1, 0.0009])
async def test_what_has_ended_already_is_not_put(open_replica: OpenReplica, writer: Intruder, seconds: float) -> None:
    one = await open_replica()
    await one.put("role", KEY, PAYLOAD, seconds)
    assert writer.names() == []
    assert one.counted("put") == {}


async def test_what_is_too_large_is_not_put(open_replica: OpenReplica, writer: Intruder) -> None:
    one = await open_replica()
    await one.put("role", KEY, b"x" * MAX_RECORD_BYTES, 600)
    assert writer.names() == []
    assert one.counted("put") == {"skipped": 1}


async def test_a_replica_that_is_not_there_yet_finds_it_after_a_restart(open_replica: OpenReplica) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    await one.store.aclose()
    assert await one.store.get("identity", KEY) is None
    assert await (await open_replica()).payload("identity", KEY) == PAYLOAD


# Keys are replaced while replicas run.


async def test_keys_are_exchanged_without_losing_what_is_shared(open_replica: OpenReplica) -> None:
    """First every replica opens records with the new key, then every one seals with it, then the old key is removed."""
    before, second, swapped, after = [
        await open_replica(secrets=secrets)
        for secrets in ((SECRET,), (SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET), (OTHER_SECRET,))
    ]
    await before.put("identity", KEY, PAYLOAD, 600)
    assert await second.payload("identity", KEY) == PAYLOAD
    assert await swapped.payload("identity", KEY) == PAYLOAD
    await swapped.put("identity", OTHER_KEY, PAYLOAD, 600)
    assert await second.payload("identity", OTHER_KEY) == PAYLOAD
    assert await after.payload("identity", OTHER_KEY) == PAYLOAD
    assert await after.payload("identity", KEY) is None
    assert after.counted("get") == {"hit": 1, "miss": 1}


async def test_a_file_that_changes_changes_the_keys_in_force(open_replica: OpenReplica, tmp_path: Path) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    (tmp_path / "store-keys").write_text(OTHER_SECRET.hex())
    one.keys.load()
    assert await one.payload("identity", KEY) is None


async def test_of_two_records_under_two_keys_the_later_one_counts(open_replica: OpenReplica, clocks: Clocks) -> None:
    old_first = await open_replica(secrets=(SECRET, OTHER_SECRET))
    new_first = await open_replica(secrets=(OTHER_SECRET, SECRET))
    for writing, tags in ((old_first, b"1"), (new_first, b"2"), (old_first, b"3")):
        await writing.put("role", KEY, tags, 600)
        assert await old_first.payload("role", KEY) == await new_first.payload("role", KEY) == tags
        clocks.now += 1


async def test_what_is_deleted_is_gone_under_both_keys(open_replica: OpenReplica, writer: Intruder) -> None:
    old_first = await open_replica(secrets=(SECRET, OTHER_SECRET))
    new_first = await open_replica(secrets=(OTHER_SECRET, SECRET))
    await old_first.put("role", KEY, PAYLOAD, 600)
    await new_first.put("role", KEY, PAYLOAD, 600)
    await old_first.store.delete("role", KEY)
    assert writer.names() == []


# Somebody else writes to the store.

Writes = str | bytes | list[bytes]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\1", id="short"),
        pytest.param(b"\1" + bytes(400), id="zeros"),
        pytest.param(bytes(range(256)) * 2, id="garbage"),
        pytest.param(PAYLOAD, id="plain"),
        pytest.param(b"x" * (MAX_RECORD_BYTES + 1), id="one-byte-too-long"),
        pytest.param(b"x" * 10_000_000, id="10-MB"),
    ],
)
async def test_what_no_replica_wrote_is_not_believed(
    open_replica: OpenReplica, writer: Intruder, content: bytes
) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    writer.client.set(writer.only_name(), content)
    assert await one.store.get("identity", KEY) is None
    assert one.counted("get") == {"rejected": 1}


async def test_a_long_value_is_not_even_sent(open_replica: OpenReplica, writer: Intruder) -> None:
    """Otherwise 10 MB under each name would fill the memory of every replica."""
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    writer.client.set(writer.only_name(), b"x" * 10_000_000)
    writer.client.config_resetstat()
    await one.store.get("identity", KEY)
    sent = writer.client.info("stats")["total_net_output_bytes"]
    assert sent < 2 * MAX_RECORD_BYTES


@pytest.mark.parametrize("command", ["LPUSH", "SADD", "ZADD", "HSET", "XADD"])
async def test_a_value_of_another_type_is_not_believed(
    open_replica: OpenReplica, writer: Intruder, command: str
) -> None:
    one = await open_replica()
    await one.put("role", KEY, PAYLOAD, 600)
    name = writer.only_name()
    arguments = {"ZADD": ["1", "x"], "HSET": ["x", "y"], "XADD": ["*", "x", "y"]}.get(command, ["x"])
    writer.client.delete(name)
    writer.run(command, name, *arguments)
    assert await one.store.get("role", KEY) is None
    assert one.counted("get") == {"rejected": 1}
    await one.put("role", KEY, PAYLOAD, 600)
    assert await one.payload("role", KEY) == PAYLOAD


@pytest.mark.parametrize(
    ("from_kind", "from_key", "kind", "key"),
    [
        pytest.param("identity", OTHER_KEY, "identity", KEY, id="of-another-credential"),
        pytest.param("role", KEY, "identity", KEY, id="of-another-kind"),
        pytest.param("role", OTHER_KEY, "role", KEY, id="of-another-role"),
    ],
)
async def test_a_record_put_under_another_name_is_not_believed(
    open_replica: OpenReplica, writer: Intruder, from_kind: str, from_key: bytes, kind: str, key: bytes
) -> None:
    """Copying a stored record cannot give anybody another identity."""
    one = await open_replica()
    await one.put(kind, key, PAYLOAD, 600)  # type: ignore[arg-type]
    name = writer.only_name()
    await one.put(from_kind, from_key, b"another's", 600)  # type: ignore[arg-type]
    (other,) = set(writer.names()) - {name}
    writer.client.set(name, writer.read(other))
    assert await one.store.get(kind, key) is None  # type: ignore[arg-type]
    assert one.counted("get") == {"rejected": 1}


async def test_an_ended_record_that_is_put_back_is_not_believed(
    open_replica: OpenReplica, writer: Intruder, clocks: Clocks
) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    name = writer.only_name()
    writer.client.persist(name)
    clocks.now += 600
    assert await one.store.get("identity", KEY) is None
    clocks.now += MAX_SKEW_SECONDS
    assert await one.store.get("identity", KEY) is None
    assert one.counted("get") == {"miss": 1, "rejected": 1}


async def test_an_older_record_that_is_put_back_is_as_old_as_it_was(
    open_replica: OpenReplica, writer: Intruder, clocks: Clocks
) -> None:
    """For example, the tags from before a change: they are trusted until their original end, and no longer."""
    one = await open_replica()
    await one.put("role", KEY, b"old tags", 600)
    old = writer.read(writer.only_name())
    clocks.now += 300
    await one.put("role", KEY, b"new tags", 600)
    writer.client.set(writer.only_name(), old)
    opened = await one.store.get("role", KEY)
    assert opened is not None
    assert (opened.payload, opened.age, opened.remaining) == (b"old tags", 300, 300)


async def test_a_record_of_a_clock_that_is_ahead_is_not_believed(open_replica: OpenReplica, clocks: Clocks) -> None:
    one = await open_replica()
    await one.put("role", KEY, PAYLOAD, 600)
    clocks.now -= MAX_SKEW_SECONDS + 1
    assert await one.store.get("role", KEY) is None
    assert one.counted("get") == {"rejected": 1}


async def test_however_many_are_rejected_the_log_is_bounded(
    open_replica: OpenReplica, writer: Intruder, clocks: Clocks
) -> None:
    one = await open_replica()
    await one.put("role", KEY, PAYLOAD, 600)
    writer.client.set(writer.only_name(), b"garbage")
    with capture_logs() as log:
        for _ in range(20):
            await one.store.get("role", KEY)
        clocks.timer += LOG_SECONDS
        await one.store.get("role", KEY)
    lines = [line for line in log if line["event"] == "store record rejected"]
    assert [(line["log_level"], line["kind"], line["fault"]) for line in lines] == [("error", "role", "malformed")] * 2
    assert [line["more_since_last_line"] for line in lines] == [0, 19]
    assert one.counted("get") == {"rejected": 21}


# The store is absent, fails or does not answer.


async def test_without_a_store_the_service_starts_and_decides(open_replica: OpenReplica) -> None:
    alone = await open_replica(parse_store_url(f"redis://{free_address()}"), is_up=False)
    assert await alone.store.get("identity", KEY) is None
    await alone.put("identity", KEY, PAYLOAD, 600)
    assert await alone.store.take("sts", 1, 1) == 0.0
    assert [alone.counted(each) for each in ("get", "put", "delete", "take")] == [{"skipped": 1}] * 4


async def test_a_store_that_comes_later_is_found(open_replica: OpenReplica, server: RedisServer) -> None:
    server.kill()
    one = await open_replica(is_up=False)
    assert await one.store.get("identity", KEY) is None
    server.start()
    await one.store.connected()
    await one.put("identity", KEY, PAYLOAD, 600)
    assert await one.payload("identity", KEY) == PAYLOAD


async def test_a_store_that_is_killed_in_the_middle_harms_nobody(
    open_replica: OpenReplica, server: RedisServer
) -> None:
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    under_way = [asyncio.ensure_future(one.store.get("identity", KEY)) for _ in range(50)]
    server.kill()
    assert {opened and opened.payload for opened in await asyncio.gather(*under_way)} <= {None, PAYLOAD}
    assert await one.store.get("identity", KEY) is None
    await one.put("identity", KEY, PAYLOAD, 600)
    server.start()
    await one.store.connected()
    assert await one.store.get("identity", KEY) is None, "it is empty after a restart"
    await one.put("identity", KEY, PAYLOAD, 600)
    assert await one.payload("identity", KEY) == PAYLOAD


async def test_a_store_that_hangs_is_given_up_and_found_again(open_replica: OpenReplica, server: RedisServer) -> None:
    """The kernel of the server still accepts connections. Requests in progress fail, and later ones are not sent."""
    await (await open_replica()).put("identity", KEY, PAYLOAD, 600)
    one = await open_replica(answer_seconds=ANSWER_SECONDS)
    with capture_logs() as log:
        server.hang()
        assert await asyncio.gather(*(one.store.get("identity", KEY) for _ in range(50))) == [None] * 50
        assert one.counted("get") == {"failed": 50}
        for _ in range(50):
            assert await one.store.get("identity", KEY) is None
        assert one.counted("get") == {"failed": 50, "skipped": 50}
        assert await one.store.take("sts", 1, 1) == 0.0
        await one.store.delete("role", KEY)
        one.store.put("role", KEY, PAYLOAD, 600)
        await until(lambda: bool(log))
        assert [one.counted(each) for each in ("take", "delete", "put")] == [{"skipped": 1}] * 3
        server.go_on()
        async with asyncio.timeout(PATIENCE):
            while await one.payload("identity", KEY) is None:
                await one.store.connected()
    assert [line["event"] for line in log][:2] == ["store does not answer", "store answers"]
    assert log[0]["problem"].endswith(" gives no answer in time")


async def test_a_cancelled_look_up_harms_no_other(open_replica: OpenReplica) -> None:
    """An unread answer must not become the answer to the next request (redis-py's CVE-2023-28858)."""
    one = await open_replica()
    for number in range(20):
        await one.put("role", b"%d" % number, b"of %d" % number, 600)
    tasks = [asyncio.ensure_future(one.payload("role", b"%d" % (number % 20))) for number in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for number, answer in enumerate(answers):
        assert isinstance(answer, asyncio.CancelledError) if number % 3 == 0 else answer == b"of %d" % (number % 20)


async def test_what_is_to_be_forgotten_is_forgotten_though_nobody_waits_for_it(open_replica: OpenReplica) -> None:
    """The decision that learned from IAM that a role is gone may end before the store has deleted the record."""
    one = await open_replica()
    await one.put("role", KEY, PAYLOAD, 600)
    deletion = asyncio.ensure_future(one.store.delete("role", KEY))
    await asyncio.sleep(0)
    deletion.cancel()
    assert await one.store.get("role", KEY) is None
    assert one.counted("get") == {"miss": 1}
    assert deletion.cancelled()


async def test_what_still_waits_at_the_end_is_let_go(open_replica: OpenReplica, server: RedisServer) -> None:
    one = await open_replica()
    server.hang()
    waiting = asyncio.ensure_future(one.store.get("identity", KEY))
    await asyncio.sleep(0)
    await one.store.aclose()
    assert await waiting is None


# Who may log in.


async def test_a_user_and_a_password_are_shown(open_replica: OpenReplica) -> None:
    rules = "on >s3cret-canary ~kuma-aws-iam:* -@all +ping +getrange +set +del +eval +evalsha +time"
    with redis_on_tcp(
        "--user", "mesh", *rules.split(), "--user", "default", "off", login="mesh:s3cret-canary@"
    ) as server:
        one = await open_replica(server.address)
        await one.put("identity", KEY, PAYLOAD, 600)
        assert await one.payload("identity", KEY) == PAYLOAD
        assert await one.store.take("sts", 0.01, 1) == 0.0
        assert await one.store.take("sts", 0.01, 1) > 0.0
        await one.store.delete("identity", KEY)
        assert await one.store.get("identity", KEY) is None


async def test_a_wrong_password_is_said_and_not_shown(open_replica: OpenReplica) -> None:
    with redis_on_socket("--requirepass", "right", login=":wrong-canary@") as server, capture_logs() as log:
        one = await open_replica(server.address, is_up=False)
        await until(lambda: bool(log))
        assert await one.store.get("identity", KEY) is None
    assert one.counted("get") == {"skipped": 1}
    [line] = log
    assert line["event"] == "store does not answer"
    assert line["problem"].startswith("the store unix:///")
    assert line["problem"].endswith(" answers WRONGPASS")
    assert "correct the user and the password" in line["remedy"]
    assert "canary" not in str(log)


async def test_a_missing_password_is_said(open_replica: OpenReplica) -> None:
    with redis_on_socket("--requirepass", "right") as server, capture_logs() as log:
        await open_replica(server.address, is_up=False)
        await until(lambda: bool(log))
    assert log[0]["problem"].endswith(" answers NOAUTH")


async def test_a_store_that_may_only_be_read_is_read(open_replica: OpenReplica, writer: Intruder) -> None:
    """A Redis that became a replica after a failover, or is full, refuses writes.

    This is no reason to close the link.
    """
    one = await open_replica()
    await one.put("identity", KEY, PAYLOAD, 600)
    writer.run("REPLICAOF", *free_address().split(":"))
    await one.put("identity", OTHER_KEY, PAYLOAD, 600)
    assert await one.payload("identity", KEY) == PAYLOAD
    assert await one.store.take("sts", 1, 1) == 0.0
    assert (one.counted("put"), one.counted("take")) == ({"done": 1, "failed": 1}, {"failed": 1})


async def test_the_database_of_the_url_is_used(open_replica: OpenReplica) -> None:
    with redis_on_tcp() as server:
        first = await open_replica(server.address)
        second = await open_replica(replace(server.address, database=3))
        await first.put("identity", KEY, PAYLOAD, 600)
        assert await second.payload("identity", KEY) is None
        assert await first.payload("identity", KEY) == PAYLOAD


async def test_tls_is_verified_against_the_named_authority(open_replica: OpenReplica, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with redis_on_tls(authority) as server:
        one = await open_replica(server.address, ca_file=authority.cert)
        await one.put("identity", KEY, PAYLOAD, 600)
        assert await one.payload("identity", KEY) == PAYLOAD


async def test_a_certificate_of_nobody_we_trust_is_refused(
    open_replica: OpenReplica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py's own context would take authorities from the environment (I9)."""
    authority = Authority(tmp_path / "ca")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    with redis_on_tls(authority) as server, capture_logs() as log:
        one = await open_replica(server.address, is_up=False)
        await until(lambda: bool(log))
        assert await one.store.get("identity", KEY) is None
    assert one.counted("get") == {"skipped": 1}
    assert " is not trusted (" in log[0]["problem"]
    assert "KMESH_AWSIAM_STORE_CA_FILE" in log[0]["remedy"]


async def test_a_trusted_certificate_of_another_name_is_refused(open_replica: OpenReplica, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), make_certificate(tmp_path, address="127.0.0.9")
    with redis_on_tls(authority, other) as server, capture_logs() as log:
        await open_replica(server.address, ca_file=other.cert, is_up=False)
        await until(lambda: bool(log))
    assert " shows is for another name" in log[0]["problem"]


# A server that is no Redis.


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, garbage: bytes) -> None:
    """Answer the first command as Redis does, and everything else with garbage."""
    await reader.read(100)
    writer.write(b"+PONG\r\n")
    await reader.read(100)
    writer.write(garbage)
    await writer.drain()
    writer.write_eof()
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another-protocol"),
        pytest.param(b"$99999999999\r\nx", id="endless-value"),
        pytest.param(b"$-7\r\n", id="negative-length"),
        pytest.param(b"$x\r\n", id="length-is-no-number"),
        pytest.param(b"*99999999999\r\n", id="endless-list"),
        pytest.param(b"*1\r\n" * 50_000, id="deep-list"),
        pytest.param(b"+" + b"x" * 1_000_000, id="endless-line"),
        pytest.param(b"*1\r\n$1\r\nx\r\n", id="a-list"),
        pytest.param(b":7\r\n", id="a-number"),
        pytest.param(b"$-1\r\n", id="null"),
        pytest.param(b"+OK\r\n", id="a-word"),
        pytest.param(b"-\r\n", id="an-empty-error"),
        pytest.param(b"-ERR \xff\xfe canary\r\n", id="an-error-of-no-utf-8"),
        pytest.param(b"-LOADING Redis is loading the dataset in memory\r\n", id="loading"),
        pytest.param(b"-MOVED 1 192.0.2.1:6379\r\n", id="a-cluster"),
    ],
)
async def test_whatever_a_server_says_nothing_is_believed(open_replica: OpenReplica, garbage: bytes) -> None:
    server = await asyncio.start_server(lambda reader, writer: answer(reader, writer, garbage), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        one = await open_replica(parse_store_url(f"redis://{host}:{port}"), answer_seconds=1.0)
        with capture_logs() as log:
            assert await one.store.get("identity", KEY) is None
        await one.store.aclose()  # the server ends only after its clients
    assert "hit" not in one.counted("get")
    assert "canary" not in str(log)


# Through the service's own way to open it.


async def test_the_service_opens_and_closes_it(open_replica: OpenReplica, server: RedisServer, clocks: Clocks) -> None:
    one = await open_replica()
    options = StoreOptions(address=server.address, max_role_seconds=MAX_ROLE_SECONDS, answer_seconds=PATIENCE)
    async with open_store(options, one.keys, Metrics(), clocks.clock) as store:
        store.put("identity", KEY, PAYLOAD, 600)
        await store.delete("role", KEY)
    assert await one.payload("identity", KEY) == PAYLOAD
    assert await store.get("identity", KEY) is None
