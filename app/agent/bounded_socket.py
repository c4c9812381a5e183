"""One time for a whole call of `http.client`, whose own timeout starts anew with each part that comes."""

import errno
import http.client
import io
import socket
from collections.abc import Callable
from typing import Any

Left = Callable[[], float]


def bound_by(connection: http.client.HTTPConnection, left: Left) -> None:
    """Have a connection that stands send and read for as long as time is left, in seconds; then both raise `TimeoutError`.

    Connecting is bounded by itself: by the connection's timeout for each address, and by it once more for TLS as a whole.
    """
    connection.sock = _BoundedSocket(connection.sock, left)


class _BoundedSocket:
    """What `http.client` uses of a socket."""

    def __init__(self, whole: socket.socket, left: Left) -> None:
        self._whole = whole
        self._left = left

    def sendall(self, data: bytes) -> None:
        _allow(self._whole, self._left)
        self._whole.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._whole, self._left))

    def close(self) -> None:
        self._whole.close()


class _BoundedReader(io.RawIOBase):
    def __init__(self, whole: socket.socket, left: Left) -> None:
        super().__init__()
        self._whole = whole
        self._left = left
        # It keeps the socket open until it is closed itself: the library closes the connection before it reads the body.
        self._parts: Any = whole.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _allow(self._whole, self._left)
        count: int | None = self._parts.readinto(buffer)
        return count

    def close(self) -> None:
        self._parts.close()
        super().close()


def _allow(whole: socket.socket, left: Left) -> None:
    seconds = left()
    if seconds <= 0:
        raise TimeoutError(errno.ETIMEDOUT, "its answer does not come to an end")
    whole.settimeout(seconds)
