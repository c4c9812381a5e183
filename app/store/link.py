"""One connection to the store, kept up in the background: no decision ever waits for it to be made.

What is asked at the same moment travels together. A link that does not answer in time is closed, and until there is another
one nothing is asked: a store that hangs costs those that were under way a tenth of a second, and nobody else anything.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from redis.asyncio.connection import AbstractConnection

from app.limits.breaker import Breaker
from app.limits.ticks import within
from app.local.clock import Timer
from app.store.port import ANSWER_SECONDS
from app.store.redis_connection import Answer, Command, exchange, explain, log_in
from app.telemetry.audit import get_logger

CONNECT_SECONDS: Final = 2.0
# As many as there can be decisions under way, each with some writes.
MAX_WAITING: Final = 8192
MAX_TOGETHER: Final = 512
# Looks whether an unused connection still stands, and keeps what is between from forgetting it.
IDLE_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 0.25
# The failure in a row that makes a log line.
_LINE_AT: Final = 2
_STORE: Final = "store"


class NoReply(Enum):
    """Why there is no reply."""

    SKIPPED = "it was not asked"
    FAILED = "it was asked, and did not answer"


# An answer of the store, errors of the command among it, or why there is none.
Reply = Answer | NoReply
_Batch = list[tuple[Command, asyncio.Future[Reply]]]


class StoreLink:
    """Asks the store while it answers."""

    def __init__(
        self,
        new_connection: Callable[[], AbstractConnection],
        timer: Timer = time.monotonic,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._new_connection = new_connection
        self._answer_seconds = answer_seconds
        self._retry_seconds = retry_seconds
        self._idle_seconds = idle_seconds
        self._breaker = Breaker(timer)
        self._waiting: deque[tuple[Command, asyncio.Future[Reply]]] = deque()
        self._asked = asyncio.Event()
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._failures = 0
        self._is_good = False

    def start(self) -> None:
        """Begin to keep it up, inside the running event loop."""
        self._keeper = asyncio.create_task(self._keep_up())

    async def connected(self) -> None:
        """Wait until it is up."""
        await self._up.wait()

    async def aclose(self) -> None:
        """End it; who still waits is told so."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def ask(self, *command: str | bytes | int) -> asyncio.Future[Reply]:
        """Have a command sent. The future gets a reply or the reason why there is none, and never an exception."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._up.is_set() and len(self._waiting) < MAX_WAITING:
            self._waiting.append((command, future))
            self._asked.set()
        else:
            future.set_result(NoReply.SKIPPED)
        return future

    async def _keep_up(self) -> None:
        while True:
            if self._breaker.allows(_STORE):
                try:
                    await self._serve(self._new_connection())
                except Exception as error:  # noqa: BLE001 - whatever the store sends, it is a store that cannot be asked
                    self._failed(error)
            await asyncio.sleep(self._retry_seconds)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Serve until it fails."""
        try:
            await within(CONNECT_SECONDS, log_in(connection))
            if not self._failures:  # else commands have to be answered first, and not a log-in alone
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
        """Wait for somebody to ask, and take what all have asked until then; after a while ask by ourselves."""
        batch: _Batch = []
        while not batch:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._asked.wait()
            except TimeoutError:
                return [(("PING",), asyncio.get_running_loop().create_future())]
            while self._waiting and len(batch) < MAX_TOGETHER:
                command, future = self._waiting.popleft()
                if not future.done():  # else who asked has left
                    batch.append((command, future))
            if not self._waiting:
                self._asked.clear()
        return batch

    def _answered(self) -> None:
        self._breaker.succeeded(_STORE)
        self._failures = 0
        if not self._is_good:
            get_logger().info("store answers")
            self._is_good = True

    def _failed(self, error: Exception) -> None:
        """Account for a failure. One alone makes no line: else a store that is slow now and then would fill the log."""
        self._breaker.failed(_STORE)
        self._failures += 1
        if self._failures == _LINE_AT:
            self._is_good = False
            get_logger().warning(
                "store does not answer", problem=explain(error), remedy="check it; until it answers, nothing is shared"
            )


def _settle(futures: Iterable[asyncio.Future[Reply]], reply: Reply) -> None:
    for future in futures:
        if not future.done():
            future.set_result(reply)
