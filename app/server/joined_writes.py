"""A transport that sends at the end of each turn of the event loop what was written within it.

uvloop sends what is written at once. A caller that sleeps is woken up by that, which costs more than the sending; the next
answer finds it asleep again. Sent one behind the other, the answers of a turn wake it up once. Nothing is held back for
longer than the turn.
"""

import asyncio
from typing import Any, Final
from weakref import WeakKeyDictionary


class Turn:
    """What is written in one turn of an event loop, over all connections: one call at its end for all of them."""

    def __init__(self) -> None:
        # Not the loop as well: it is the weak key of this in `_TURNS`.
        self._writing: list[JoinedWrites] = []

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Turn":
        """Return that of a loop."""
        turn = _TURNS.get(loop)
        if turn is None:
            turn = _TURNS[loop] = cls()
        return turn

    def add(self, writing: "JoinedWrites") -> None:
        """Have a connection flushed at the end of this turn."""
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
                # One that failed holds up no other.
                self._writing = writing[sent:] + self._writing
                asyncio.get_running_loop().call_soon(self._end)


_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]] = WeakKeyDictionary()


class JoinedWrites(asyncio.Transport):
    """Stands in front of a transport; all but writing and ending goes through."""

    __slots__ = ("_held", "_transport", "_turn")

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._held: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write it, at the end of this turn."""
        if not self._held:
            self._turn.add(self)
        self._held.append(bytes(data))

    def close(self) -> None:
        """Close, behind what was written."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was written and not sent is lost, as ever."""
        self._held.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def flush(self) -> None:
        """Send what was written."""
        if not self._held:
            return
        joined = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        if not self._transport.is_closing():
            self._transport.write(joined)
