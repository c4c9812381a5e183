"""Callers of a storm that do not wait for an answer, against a server that is slow or refuses."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bench.load import post
from bench.storm.connection import Pool, Presentation
from bench.storm.tally import Tally
from tests.support.passing_time import let_pass
from tests.support.patience import PATIENCE

APPROVAL = b'{"identity": {"service": "app-000"}, "principal": {"role": "app-000", "session": "task-00000"}}'
OVERLOADED = b'{"reason": "overloaded"}'


def answer(status: int, body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@asynccontextmanager
async def serving(reply: Callable[[int], bytes]) -> AsyncIterator[int]:
    """Serve on a port. `reply` gets the number of the request, and returns nothing if the request gets no answer."""
    requests = 0
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        writers.append(writer)
        while await reader.read(4096):
            requests += 1
            writer.write(reply(requests))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


async def present(pool: Pool, port: int) -> None:
    pool.open(port, 1)
    pool.present(Presentation(0, post("/", b"{}"), port))
    async with asyncio.timeout(PATIENCE):
        await pool.done.wait()
    await pool.close()


def pool_of(gives_up_after: float | None = None, comes_again_after: float | None = None) -> Pool:
    tally = Tally([["app-000", "task-00000"]], [1], 1)
    return Pool(tally, random.Random(1), gives_up_after, comes_again_after)  # noqa: S311


async def test_a_caller_that_gave_up_comes_again_over_another_connection() -> None:
    pool = pool_of(gives_up_after=PATIENCE / 2)

    def reply(number: int) -> bytes:
        if number > 1:
            return answer(200, APPROVAL)
        let_pass(PATIENCE / 2)
        return b""

    async with serving(reply) as port:
        await present(pool, port)
    assert pool.tally.gave_up == 1
    assert len(pool.tally.admitted) == 1
    assert not pool.tally.errors


async def test_a_caller_that_ignores_retry_after_comes_when_it_likes() -> None:
    pool = pool_of(comes_again_after=0.05)
    refusal = answer(503, OVERLOADED, "Retry-After: 3600\r\n")
    began = time.monotonic()
    async with serving(lambda number: refusal if number < 3 else answer(200, APPROVAL)) as port:
        await present(pool, port)
    assert time.monotonic() - began >= 0.1
    assert pool.tally.undecided["overloaded"] == 2
    assert len(pool.tally.admitted) == 1


async def test_a_caller_that_gets_its_answer_in_time_does_not_give_up() -> None:
    pool = pool_of(gives_up_after=3600.0)
    async with serving(lambda _: answer(200, APPROVAL)) as port:
        await present(pool, port)
    assert pool.tally.gave_up == 0
    assert len(pool.tally.admitted) == 1
