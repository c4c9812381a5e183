"""One connection to the store, which a background task opens and keeps open: no decision ever waits for a connection.

Commands that are queued at the same moment are sent together. If the store does not answer in time, the connection is
closed, and no command is sent until a new connection is open. So a store that hangs delays only the decisions that wait for
it at that moment, by a tenth of a second.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from redis.asyncio.connection import AbstractConnection

from app.limits.circuits import BREAKER_PAUSE_SECONDS
from app.limits.ticks import within
from app.local.causes import Peer
from app.store.port import ANSWER_SECONDS
from app.store.redis_connection import Answer, Command, exchange, explain, log_in
from app.telemetry.audit import get_logger

CONNECT_SECONDS: Final = 2.0
# The most queued commands, and the most commands that are sent together.
MAX_WAITING: Final = 8192
MAX_TOGETHER: Final = 512
# After this time without commands the link sends a PING. It checks the connection, and keeps network devices on the path
# from dropping the connection.
IDLE_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.25
# After this number of failures in a row the link tries only once per pause (circuit breaker).
FAILURES_TO_OPEN: Final = 5
# The number of failures in a row after which a line is logged.
_LINE_AT: Final = 2


_STORE: Final = Peer(name="the store", setting="KMESH_AWSIAM_STORE")


class NoReply(Enum):
    """Why a command has no reply."""

    SKIPPED = "it was not asked"
    FAILED = "it was asked, and did not answer"


# A reply of the store, which can be the error of a command; or the reason why there is no reply.
Reply = Answer | NoReply
_Batch = list[tuple[Command, asyncio.Future[Reply]]]


class StoreLink:
    """Sends commands to the store while it answers."""

    def __init__(
        self,
        new_connection: Callable[[], AbstractConnection],
        peer: Peer = _STORE,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        pause_seconds: float = BREAKER_PAUSE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._new_connection = new_connection
        self._peer = peer
        self._answer_seconds = answer_seconds
        self._retry_seconds = retry_seconds
        self._pause_seconds = pause_seconds
        self._idle_seconds = idle_seconds
        self._waiting: deque[tuple[Command, asyncio.Future[Reply]]] = deque()
        self._asked = asyncio.Event()
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._failures = 0
        self._is_good = False

    def start(self) -> None:
        """Start the connection, inside the running event loop."""
        self._keeper = asyncio.create_task(self._keep_up())

    async def connected(self) -> None:
        """Wait until the connection is open."""
        await self._up.wait()

    async def aclose(self) -> None:
        """Close the connection. Waiting callers get a `NoReply`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def ask(self, *command: str | bytes | int) -> asyncio.Future[Reply]:
        """Queue a command. The future's result is the reply, or an error as a value; the future never raises."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._up.is_set() and len(self._waiting) < MAX_WAITING:
            self._waiting.append((command, future))
            self._asked.set()
        else:
            future.set_result(NoReply.SKIPPED)
        return future

    async def _keep_up(self) -> None:
        while True:
            try:
                await self._serve(self._new_connection())
            except Exception as error:  # noqa: BLE001 - whatever the store sends, it is a store that cannot be asked
                self._failed(error)
            is_open = self._failures >= FAILURES_TO_OPEN
            await asyncio.sleep(self._pause_seconds if is_open else self._retry_seconds)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Send commands until the connection fails."""
        try:
            await within(CONNECT_SECONDS, log_in(connection))
            if not self._failures:  # after a failure, the log-in alone is no success: a command must be answered
                self._answered()
            self._up.set()
            while True:
                await self._serve_batch(connection, await self._next_batch())
        finally:
            self._up.clear()
            _settle((future for _, future in self._waiting), NoReply.SKIPPED)
            self._waiting.clear()
            await connection.disconnect(nowait=True)

    async def _serve_batch(self, connection: AbstractConnection, batch: _Batch) -> None:
        futures = [future for _, future in batch]
        try:
            replies = await within(self._answer_seconds, exchange(connection, [command for command, _ in batch]))
        except BaseException:
            _settle(futures, NoReply.FAILED)
            raise
        self._answered()
        for future, reply in zip(futures, replies, strict=True):
            _settle([future], reply)

    async def _next_batch(self) -> _Batch:
        """Wait for a command, and take all commands that are queued by then, up to `MAX_TOGETHER`.

        After `IDLE_SECONDS` without commands, return a PING, which checks the connection.
        """
        batch: _Batch = []
        while not batch:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._asked.wait()
            except TimeoutError:
                return [(("PING",), asyncio.get_running_loop().create_future())]
            while self._waiting and len(batch) < MAX_TOGETHER:
                command, future = self._waiting.popleft()
                if not future.done():  # the caller was cancelled meanwhile
                    batch.append((command, future))
            if not self._waiting:
                self._asked.clear()
        return batch

    def _answered(self) -> None:
        self._failures = 0
        if not self._is_good:
            get_logger().info("store answers")
            self._is_good = True

    def _failed(self, error: Exception) -> None:
        """Count a failure. A single failure is not logged, because a store that is sometimes slow would fill the log."""
        self._failures += 1
        if self._failures == _LINE_AT:
            self._is_good = False
            cause = explain(error, self._peer)
            get_logger().warning(
                "store does not answer",
                problem=cause.problem,
                remedy=f"{cause.remedy}; until it answers, nothing is shared",
            )


def _settle(futures: Iterable[asyncio.Future[Reply]], reply: Reply) -> None:
    for future in futures:
        if not future.done():
            future.set_result(reply)
