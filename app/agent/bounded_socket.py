"""Limit the time of a whole call of `http.client`. The timeout of `http.client` starts again with each received part."""

import errno
import http.client
import io
import socket
from collections.abc import Callable
from typing import Any

Left = Callable[[], float]


def bound_by(connection: http.client.HTTPConnection, left: Left) -> None:
    """Limit the time for sending and reading on an open connection. After that time both raise `TimeoutError`.

    ``left`` returns the seconds that are left. This does not limit connecting: there the connection's own timeout applies,
    once for each address and once more for the TLS handshake.
    """
    connection.sock = _BoundedSocket(connection.sock, left)


class _BoundedSocket:
    """The methods of a socket that `http.client` uses."""

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
        # `http.client` closes the connection before it reads the body. This file keeps the socket open until the file itself
        # is closed.
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
