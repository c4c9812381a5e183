"""Kept-alive connections to the replicas: a bounded number, and a queue in front of them."""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

from bench.storm.tally import Tally

# Beside Retry-After, so that those who were turned away together do not come back together.
JITTER_SECONDS: Final = 0.25
_RECONNECT_SECONDS: Final = 0.1
# Connections that are being opened at a time: answers are read between them, so that they are not measured as late.
_OPENING: Final = 128


@dataclass(slots=True)
class Presentation:
    """One presentation, which may take several tries.

    Attributes:
        sidecar: whose; None for an impostor.
        request: the bytes.
        port: of the replica that it is sent to.
        sent_at: of the last try.
    """

    sidecar: int | None
    request: bytes
    port: int
    sent_at: float = 0.0


@dataclass(slots=True)
class Pool:
    """The connections of a storm; what finds none free waits, first come, first served.

    Attributes:
        tally: told of every answer.
        chance: for the jitter.
        gives_up_after: seconds that a caller waits for an answer; None: it waits for as long as it takes.
        comes_again_after: seconds after which a caller comes again whatever Retry-After says; None: it obeys.
        began: when the storm began, of the monotonic clock.
        done: set when everything is decided, or given up.
    """

    tally: Tally
    chance: random.Random
    gives_up_after: float | None = None
    comes_again_after: float | None = None
    began: float = field(default_factory=time.monotonic)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: dict[int, deque[Presentation]] = field(default_factory=dict)
    _idle: dict[int, dict["Connection", None]] = field(default_factory=dict)
    _connecting: set[asyncio.Task[None]] = field(default_factory=set)
    _opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_OPENING))

    def open(self, port: int, connections: int) -> None:
        """Begin to open connections to a replica."""
        self._waiting.setdefault(port, deque())
        self._idle.setdefault(port, {})
        for _ in range(connections):
            task = asyncio.get_running_loop().create_task(self._connect(port))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def close(self) -> None:
        """Wait until nothing is being opened any more."""
        self.done.set()
        await asyncio.gather(*self._connecting)

    def present(self, presentation: Presentation) -> None:
        """Send it, or queue it until a connection is free."""
        if self._idle[presentation.port]:
            self._idle[presentation.port].popitem()[0].send(presentation)
        else:
            self._waiting[presentation.port].append(presentation)

    def is_free(self, connection: "Connection") -> None:
        """Use a connection that has nothing to do."""
        waiting = self._waiting[connection.port]
        if waiting:
            connection.send(waiting.popleft())
        else:
            self._idle[connection.port][connection] = None

    def answered(self, presentation: Presentation, status: int, retry_after: float | None, body: bytes) -> None:
        """Account for an answer, and come again where nothing was decided."""
        now = time.monotonic()
        again = self.tally.answered(
            presentation.sidecar, status, body, retry_after, at=now - self.began, took=now - presentation.sent_at
        )
        if again is not None and self.comes_again_after is not None:
            asyncio.get_running_loop().call_later(self.comes_again_after, self.present, presentation)
        elif again is not None:
            self._come_again(presentation, again)
        elif not self.tally.left:
            self.done.set()

    def gave_up(self, presentation: Presentation) -> None:
        """Come again, over another connection, where the answer took too long."""
        self.tally.gave_up += 1
        self._come_again(presentation, _RECONNECT_SECONDS)

    def ended(self, connection: "Connection", presentation: Presentation | None) -> None:
        """Open another connection in place of one that ended, in the middle of a presentation or not."""
        self._idle[connection.port].pop(connection, None)
        if self.done.is_set():
            return
        if presentation is not None:
            self.tally.errors["connection lost"] += 1
            self._come_again(presentation, _RECONNECT_SECONDS)
        self.open(connection.port, 1)

    def _come_again(self, presentation: Presentation, seconds: float) -> None:
        wait = seconds + self.chance.uniform(0, JITTER_SECONDS)
        asyncio.get_running_loop().call_later(wait, self.present, presentation)

    async def _connect(self, port: int) -> None:
        while not self.done.is_set():
            try:
                async with self._opening:
                    await asyncio.get_running_loop().create_connection(
                        lambda: Connection(self, port), "127.0.0.1", port
                    )
            except OSError as error:
                self.tally.errors[type(error).__name__] += 1
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                return


class Connection(asyncio.Protocol):
    """One presentation at a time."""

    def __init__(self, pool: Pool, port: int) -> None:
        self.port = port
        self._pool = pool
        self._now: Presentation | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._retry_after: float | None = None
        self._body = b""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the first one."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.is_free(self)

    def send(self, presentation: Presentation) -> None:
        """Present it."""
        self._now, presentation.sent_at = presentation, time.monotonic()
        if self._pool.gives_up_after is not None:
            self._patience = asyncio.get_running_loop().call_later(self._pool.gives_up_after, self._give_up)
        self._transport.write(presentation.request)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note when to come again."""
        if name.lower() == b"retry-after":
            self._retry_after = float(value)

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Hand the answer over, and go on: on this connection, or on a new one where the service ends it."""
        presentation, self._now = self._now, None
        if presentation is None:  # it gave up a moment ago
            return
        if self._patience is not None:
            self._patience.cancel()
        status, body, retry_after = self._parser.get_status_code(), self._body, self._retry_after
        self._body, self._retry_after = b"", None
        self._pool.answered(presentation, status, retry_after, body)
        if self._parser.should_keep_alive():
            self._pool.is_free(self)
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Come again over a new connection."""
        if self._patience is not None:
            self._patience.cancel()
        self._pool.ended(self, self._now)

    def _give_up(self) -> None:
        presentation, self._now = self._now, None
        if presentation is not None:
            self._transport.abort()
            self._pool.gave_up(presentation)
