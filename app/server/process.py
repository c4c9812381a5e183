"""The server process: uvicorn on its sockets, and the signals that stop it."""

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final, cast

import uvicorn
import uvloop
from starlette.types import ASGIApp

from app.local.tls import TlsFileError
from app.server.bounded_reads import BoundedReads, new_buffer
from app.server.listener import (
    MAX_CONNECTIONS,
    Connection,
    Listener,
    find_idle,
    most_connections,
)
from app.server.protocol import BoundedHttpProtocol
from app.server.sockets import BACKLOG, ListenError, Sockets, listening
from app.service import Service, open_service
from app.settings.environment import Settings
from app.telemetry.audit import get_logger

KEEP_ALIVE_SECONDS: Final = 75
# After SIGTERM: how long callers and probes may still see that the service stops.
NOTICE_SECONDS: Final = 0.5
# A TLS handshake may take as long as the head of a request; asyncio's own limit is a minute.
HANDSHAKE_SECONDS: Final = 10.0
# How long to wait for the client's answer when a TLS connection is closed. The client of an idle connection may not answer
# at all, and the process must not wait longer for it when it stops.
TLS_END_SECONDS: Final = 2.0
# The limit of handshakes in progress. A client that does not finish its handshake counts for `HANDSHAKE_SECONDS`. At the
# limit, a new handshake ends the oldest one.
MAX_HANDSHAKES: Final = 1024
# With TLS, uvloop reads up to 256 KiB and keeps the encrypted bytes while the application reads nothing. So the service
# sets a small receive buffer in the kernel (Linux doubles the value), and uvloop pauses at the same number of bytes.
MAX_TLS_RECEIVE_BYTES: Final = 16 * 1024
# The limit of connections to the listener for diagnostics, which serves only probes and metrics. Their file descriptors are
# among the reserved ones (`app.server.listener`). 1024 idle connections take 5 MB.
MAX_DIAGNOSTICS: Final = 1024
MAX_DIAGNOSTICS_SHARE: Final = 0.25


class _Server(uvicorn.Server):
    """uvicorn with limits on connections, and without signal handling: the process handles signals for every listener."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None = None, most: int = MAX_CONNECTIONS) -> None:
        super().__init__(config)
        self._tls = tls
        self._most = most
        self._read_buffer = new_buffer()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting."""
        await super().startup(sockets=[])
        listeners = [self._listen(listening) for listening in sockets or ()]
        # uvicorn closes these servers at the end, before it closes the sockets.
        self.servers.extend(cast("list[asyncio.Server]", listeners))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, end the handshakes, and let the calls in progress end.

        uvicorn closes the idle connections at the start of this method, and then waits until none is left. Without this
        override, it would wait for the connection of a handshake that ends a moment later.
        """
        for listener in self.servers:
            listener.close()
            await listener.wait_closed()
        await super().shutdown(sockets)

    def _listen(self, listening: socket.socket) -> Listener:
        listener = Listener(
            listening,
            lambda connection: self._begin(connection, listener),
            self.server_state.connections,
            self._most,
            find_idle=lambda: find_idle(cast("set[Connection]", self.server_state.connections)),
            # If the limit of connections is small, at most half of it is for handshakes. So clients that do not finish a
            # handshake cannot use the whole limit. Without TLS there is no handshake to wait for.
            most_beginning=MAX_CONNECTIONS if self._tls is None else min(MAX_HANDSHAKES, max(1, self._most // 2)),
        )
        return listener

    async def _begin(self, connection: socket.socket, listener: Listener) -> None:
        """Serve HTTP on an accepted connection, after its TLS handshake if TLS is on."""
        if self._tls is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MAX_TLS_RECEIVE_BYTES)
        established = functools.partial(listener.established, asyncio.current_task())

        def connected() -> BoundedReads:
            protocol = BoundedHttpProtocol(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return BoundedReads(protocol, self._read_buffer, established)

        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            connected,
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=None if self._tls is None else TLS_END_SECONDS,
        )
        if self._tls is not None:
            cast("Any", transport).set_read_buffer_limits(MAX_TLS_RECEIVE_BYTES)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ListenError: an address cannot be listened on.
    """
    with listening(settings) as sockets:
        try:
            uvloop.run(_serve(settings, sockets))
        except TlsFileError as error:
            raise ListenError(f"a file of KMESH_AWSIAM_TLS_* has changed since it was checked: {error}") from error
    get_logger().info("stopped")


async def _serve(settings: Settings, sockets: Sockets) -> None:
    grace = int(settings.decision_timeout) + 1
    async with open_service(settings) as service:
        config = uvicorn_config(service.api, grace_seconds=grace)
        servers = [(_Server(config, service.tls, most_connections()), sockets.api)]
        if sockets.diagnostics is not None and service.diagnostics is not None:
            config = uvicorn_config(service.diagnostics, grace_seconds=grace)
            # If there are few file descriptors, most of them are for the API's listener.
            most = min(MAX_DIAGNOSTICS, int(most_connections() * MAX_DIAGNOSTICS_SHARE))
            servers.append((_Server(config, most=most), sockets.diagnostics))
        _handle_signals([server for server, _ in servers], service, grace)
        _spare_long_collections()
        await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in servers))


def _spare_long_collections() -> None:
    """Keep the garbage collector from delaying every caller.

    By default the collector visits all live objects again and again. Under load one such collection takes 90 to 150 ms, and
    the service answers no caller in this time. So the collector ignores all objects that exist at the start, and usually
    visits only young objects. Reference counting frees nearly everything anyway.

    This costs memory: garbage in reference cycles stays until 50,000 new objects exist, about 10 MB. Objects that survive
    two collections are rarely visited again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)


def uvicorn_config(app: ASGIApp, *, grace_seconds: int) -> uvicorn.Config:
    """Return uvicorn's configuration for an application. The benchmark's trivial handler uses the same one."""
    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
    )


def _handle_signals(servers: list[_Server], service: Service, grace_seconds: float) -> None:
    """Handle signals: SIGTERM and SIGINT drain, a second one ends the process at once, and SIGHUP reads the files again."""
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    def stop() -> None:
        if draining:
            _end(servers, at_once=True)
            return
        get_logger().info("draining")
        service.readiness.draining = True
        draining.append(loop.create_task(_drain(servers, service, loop.time() + grace_seconds)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, service.reload)


async def _drain(servers: list[_Server], service: Service, deadline: float) -> None:
    """Refuse new calls and answer 503 on ``/ready``, finish the calls in progress, then stop."""
    await asyncio.sleep(NOTICE_SECONDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await service.wait_until_idle()
    _end(servers)


def _end(servers: list[_Server], *, at_once: bool = False) -> None:
    for server in servers:
        server.should_exit = True
        server.force_exit = server.force_exit or at_once
