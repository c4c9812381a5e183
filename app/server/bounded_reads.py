"""Read at most 16 KiB of a connection at once.

By default the event loop reads up to 256 KiB at once. Then a client that sends further requests before the first answer
(pipelining) could make the service keep 256 KiB for each connection.
"""

import asyncio
from collections.abc import Callable
from typing import Final

MAX_READ_BYTES: Final = 16 * 1024


def new_buffer() -> memoryview:
    """Make a buffer that all connections of an event loop share: each read is copied out of it before the next one."""
    return memoryview(bytearray(MAX_READ_BYTES))


class BoundedReads(asyncio.BufferedProtocol):
    """Reads into a shared buffer, and passes the data and all events on to another protocol."""

    __slots__ = ("_buffer", "_connected", "_data_received", "_protocol")

    def __init__(self, protocol: asyncio.Protocol, buffer: memoryview, connected: Callable[[], None]) -> None:
        """Read for a protocol.

        Args:
            protocol: the protocol of one connection.
            buffer: made by `new_buffer` for this event loop.
            connected: called once the connection is made, after the protocol's own ``connection_made``.
        """
        self._protocol = protocol
        self._connected = connected
        self._data_received = protocol.data_received
        self._buffer = buffer

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the data on to the protocol."""
        self._data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        """Pass the event on to the protocol."""
        return self._protocol.eof_received()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the event on to the protocol, then call ``connected``."""
        self._protocol.connection_made(transport)
        connected, self._connected = self._connected, _done
        # ``connected`` refers to the task that accepted the connection. To keep it would take 900 bytes per connection.
        connected()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the event on to the protocol."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass the event on to the protocol."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass the event on to the protocol."""
        self._protocol.resume_writing()


def _done() -> None:
    """Replace a ``connected`` callback that was called."""
