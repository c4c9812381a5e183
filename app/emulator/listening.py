"""uvicorn for the emulator: the server reports when it is ready, stops quickly, and can end a client's connection."""

import asyncio
import contextlib
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
"""Seconds. With uvicorn's default of 5, the server would sometimes close a pooled connection just when a client uses it."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, with a time of zero


class Server(uvicorn.Server):
    """A server that reports when it is ready, and stops without waiting for clients."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._handshakes: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call ``on_ready``."""
        if self.config.ssl is None:
            await super().startup(sockets)
        else:
            await super().startup(sockets=[])
            for listener in sockets or ():
                listener.setblocking(False)
                asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        self._on_ready()

    def _accept(self, listener: socket.socket) -> None:
        """Accept a connection for TLS, and begin its handshake. The event loop calls this again if there are more."""
        with contextlib.suppress(OSError):  # the client has gone, or no file descriptor is left
            connection, _ = listener.accept()
            connection.setblocking(False)
            handshake = asyncio.get_running_loop().create_task(self._shake_hands(connection))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client does not trust the certificate, or speaks no TLS
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: ConnectionProtocol(self.config, self.server_state, self.lifespan.state),
                connection,
                ssl=self.config.ssl,
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Reset all connections, then stop as uvicorn does. Otherwise calls that hang would delay the stop for ever.

        Handshakes end too: uvicorn does not know their connections, and the event loop could not close.
        """
        if self.config.ssl is not None:
            for listener in sockets or ():
                asyncio.get_running_loop().remove_reader(listener)
            await asyncio.sleep(0)  # a handshake that has not begun would leave its socket open
            for handshake in self._handshakes:
                handshake.cancel()
            await asyncio.gather(*self._handshakes, return_exceptions=True)
        for connection in list(self.server_state.connections):
            if isinstance(connection, ConnectionProtocol):
                connection.reset()
        await super().shutdown(sockets)


class ConnectionProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also counts connections and passes each one to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn declares it so
        """Count the connection. With TLS, its handshake is finished by now."""
        super().connection_made(transport)
        if isinstance(self.app, EmulatorApp):
            self.app.connections += 1

    def on_message_begin(self) -> None:
        """Start the scope of a request, and put this connection into the scope."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION_EXTENSION: {"connection": self}}

    def close(self) -> None:
        """Send the written data, then end the connection."""
        self.transport.close()

    def reset(self) -> None:
        """Drop the written data, and reset the connection."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:  # it is None when the client has just closed a TLS connection
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


def configure(app: EmulatorApp, ssl_certfile: str | None = None, ssl_keyfile: str | None = None) -> uvicorn.Config:
    """Return uvicorn's configuration for the emulator: no access log, no additional headers, no change to logging."""
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
        OSError: the address is in use, or does not belong to this host.
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
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
