"""A transport that sends all data of one turn of the event loop at the end of that turn.

uvloop sends written data immediately. If the caller sleeps, each answer wakes it, and that costs more than the sending. If
all answers of a turn are sent together, the caller wakes up only once. No data is delayed beyond the turn.
"""

import asyncio
from typing import Any, Final
from weakref import WeakKeyDictionary


class Turn:
    """The writes of one turn of an event loop, over all connections: one callback at its end sends all of them."""

    def __init__(self) -> None:
        # The loop is not stored here, because this object would keep the loop alive: `_TURNS` refers to the loop weakly.
        self._writing: list[JoinedWrites] = []

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Turn":
        """Return the `Turn` of a loop."""
        turn = _TURNS.get(loop)
        if turn is None:
            turn = _TURNS[loop] = cls()
        return turn

    def add(self, writing: "JoinedWrites") -> None:
        """Register a connection: its stored data is sent at the end of this turn."""
        if not self._writing:
            asyncio.get_running_loop().call_soon(self._end)
        self._writing.append(writing)

    def _end(self) -> None:
        writing, self._writing = self._writing, []
        sent = 0
        try:
            for sent, transport in enumerate(writing, 1):  # noqa: B007 - how far it came
                transport.flush()
        finally:
            if sent < len(writing):
                # One connection has failed. Another callback sends the data of the connections after it.
                self._writing = writing[sent:] + self._writing
                asyncio.get_running_loop().call_soon(self._end)


_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]] = WeakKeyDictionary()


class JoinedWrites(asyncio.Transport):
    """A wrapper of a transport. It changes only writing and closing."""

    __slots__ = ("_held", "_transport", "_turn")

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._held: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Store the data; it is sent at the end of this turn."""
        if not self._held:
            self._turn.add(self)
        self._held.append(bytes(data))

    def close(self) -> None:
        """Send the stored data, then close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once. Stored data is lost, as with every transport."""
        self._held.clear()
        self._transport.abort()

    @property
    def is_sending(self) -> bool:
        """Whether data is stored until the end of this turn."""
        return bool(self._held)

    def is_closing(self) -> bool:
        """Whether the transport is closed or about to close."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop reading for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading."""
        self._transport.resume_reading()

    def flush(self) -> None:
        """Send the stored data."""
        if not self._held:
            return
        joined = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        if not self._transport.is_closing():
            self._transport.write(joined)
