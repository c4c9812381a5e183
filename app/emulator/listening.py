"""uvicorn as the emulator wants it: ready when it says so, quick to stop, able to hang up on a client."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.emulator.asgi import EmulatorApp
from app.emulator.delivery import CONNECTION_EXTENSION

BACKLOG: Final = 2048
KEEP_ALIVE: Final = 60
"""Seconds; uvicorn's own 5 would now and then end a pooled connection under a client's hands."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, for no time


class Server(uvicorn.Server):
    """A server that tells when it is ready, and waits for no one when it stops."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, and tell."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, but end the connections: hanging calls would hold it up for ever."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, ConnectionProtocol):
                connection.reset()
        await super().shutdown(sockets)


class ConnectionProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also counts the connections and hands each one over to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn declares it so
        """Count the connection; under TLS the handshake is over by now."""
        super().connection_made(transport)
        if isinstance(self.app, EmulatorApp):
            self.app.connections += 1

    def on_message_begin(self) -> None:
        """Begin a request's scope, the connection in it."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION_EXTENSION: {"connection": self}}

    def close(self) -> None:
        """Send what was written, then end the connection."""
        self.transport.close()

    def reset(self) -> None:
        """Drop what was written and reset the connection."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


def configure(app: EmulatorApp, ssl_certfile: str | None = None, ssl_keyfile: str | None = None) -> uvicorn.Config:
    """Configure uvicorn for the emulator: quiet, fast, and without a say in logging."""
    return uvicorn.Config(
        app,
        http=ConnectionProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, so that its port is known before anything is served.

    Raises:
        OSError: when the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(scheme: str, listener: socket.socket) -> str:
    """Give the URL under which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
