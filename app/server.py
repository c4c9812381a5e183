"""The listeners: sockets, uvicorn, and the signals that stop them."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from starlette.types import ASGIApp

from app import __version__
from app.api.protocol import BoundedHttpProtocol
from app.audit import configure_logging, get_logger
from app.readiness import Readiness
from app.service import open_service
from app.settings import Settings
from app.settings_values import ListenAddress, TcpAddress

# A control plane's restart brings every proxy at once.
_BACKLOG: Final = 4096
_KEEP_ALIVE_SECONDS: Final = 75
# Whoever may use the socket is known by the file system: the owner and the group.
_SOCKET_MODE: Final = 0o660


class ListenError(Exception):
    """A listener cannot be opened; the message names the variable and what to do."""


class _Server(uvicorn.Server):
    """uvicorn, without its own signal handling: the process has one, for every listener."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ListenError: an address cannot be listened on.
    """
    configure_logging(settings.log_level, settings.log_format)
    log = get_logger()
    for warning in settings.warnings():
        log.warning("setting", detail=warning)
    with contextlib.ExitStack() as sockets:
        api = _open(sockets, "KMESH_AWSIAM_LISTEN", settings.listen)
        diagnostics = (
            None
            if settings.diagnostics_listen is None
            else _open(sockets, "KMESH_AWSIAM_DIAGNOSTICS_LISTEN", settings.diagnostics_listen)
        )
        log.info(
            "listening",
            version=__version__,
            api=str(settings.listen),
            diagnostics=str(settings.diagnostics_listen or settings.listen),
        )
        uvloop.run(_serve(settings, api, diagnostics))
    log.info("stopped")


async def _serve(settings: Settings, api: socket.socket, diagnostics: socket.socket | None) -> None:
    grace = int(settings.decision_timeout) + 1
    async with open_service(settings) as service:
        servers = [(_Server(uvicorn_config(service.api, grace_seconds=grace)), api)]
        if diagnostics is not None and service.diagnostics is not None:
            servers.append((_Server(uvicorn_config(service.diagnostics, grace_seconds=grace)), diagnostics))
        _stop_on_signals([server for server, _ in servers], service.readiness)
        await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in servers))


def uvicorn_config(app: ASGIApp, *, grace_seconds: int) -> uvicorn.Config:
    """Return how uvicorn serves an application here; the benchmark's trivial handler is served alike."""
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
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
    )


def _stop_on_signals(servers: list[_Server], readiness: Readiness) -> None:
    def stop() -> None:
        readiness.draining = True
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _open(sockets: contextlib.ExitStack, variable: str, address: ListenAddress) -> socket.socket:
    try:
        if isinstance(address, TcpAddress):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
        else:
            _remove_stale_socket(address.path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(address.path))
            address.path.chmod(_SOCKET_MODE)
            listener.listen(_BACKLOG)
            sockets.callback(address.path.unlink, missing_ok=True)
    except OSError as error:
        raise ListenError(
            f"{variable}: {address} cannot be listened on ({error.strerror}); free it or choose another"
        ) from error
    return sockets.enter_context(listener)


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket of a process that is gone; anything else in its place is left alone, and bind says so."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) != 0:
            path.unlink()
