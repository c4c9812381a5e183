"""Send an answer over a connection: whole, late, byte by byte, in part or not at all."""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from app.emulator.fault_kinds import FaultKind
from app.emulator.wire import Answer

CONNECTION_EXTENSION: Final = "emulator.connection"
"""The ASGI extension in which the server passes the `Connection` of a request."""


class Connection(Protocol):
    """Ends a connection in the middle of an exchange, which ASGI itself cannot do."""

    def close(self) -> None:
        """Send the written data, then end the connection."""

    def reset(self) -> None:
        """Drop the written data, and reset the connection."""


@dataclass(frozen=True, slots=True)
class Courier:
    """Delivers one answer to one request."""

    scope: Scope
    receive: Receive
    send: Send

    async def deliver(self, answer: Answer) -> None:
        """Send the answer, with the fault that its `delivery` names."""
        if answer.latency and not await self._pause(answer.latency):
            return
        if answer.latch is not None and not await self._wait(answer.latch):
            return
        match answer.delivery:
            case FaultKind.RESET:
                self._connection.reset()
                await self._until_client_leaves()
            case FaultKind.CUT_OFF:
                await self._start(answer)
                await self._send_part(answer.body[: len(answer.body) // 2])
                self._connection.close()
                await self._until_client_leaves()
            case FaultKind.SLOW_DRIP:
                await self._start(answer)
                await self._drip(answer)
            case _:
                await self._start(answer)
                await self.send({"type": "http.response.body", "body": answer.body})

    @property
    def _connection(self) -> Connection:
        connection: Connection = self.scope["extensions"][CONNECTION_EXTENSION]["connection"]
        return connection

    async def _start(self, answer: Answer) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if answer.content_type is not None:
            headers.append((b"content-type", answer.content_type.encode()))
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _send_part(self, part: bytes) -> None:
        await self.send({"type": "http.response.body", "body": part, "more_body": True})

    async def _drip(self, answer: Answer) -> None:
        for byte in answer.body:
            if not await self._pause(answer.pace):
                return
            await self._send_part(bytes((byte,)))
        await self.send({"type": "http.response.body"})

    async def _pause(self, seconds: float) -> bool:
        """Wait for some time. Return False if the client disconnects before the time is over."""
        try:
            await asyncio.wait_for(self._until_client_leaves(), seconds)
        except TimeoutError:
            return True
        return False

    async def _wait(self, latch: Future[None]) -> bool:
        """Wait until the answer is released. Return False if the client disconnects before that."""
        released = asyncio.wrap_future(latch)
        left = asyncio.ensure_future(self._until_client_leaves())
        try:
            done, _ = await asyncio.wait((released, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            released.cancel()
            left.cancel()
        return released in done

    async def _until_client_leaves(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
