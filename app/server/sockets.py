"""Open the sockets that the service listens on. This is the first step of the start, so a wrong address ends it early."""

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app import __version__
from app.local.addresses import ListenAddress, TcpAddress
from app.local.unix_socket import SocketGroupError, open_unix_socket
from app.server.listener import raise_open_files
from app.settings.environment import Settings
from app.settings.warnings import find_warnings
from app.telemetry.audit import configure_logging, get_logger

# When the control plane restarts, all proxies connect again at the same time.
BACKLOG: Final = 4096


class ListenError(Exception):
    """A listener cannot be opened; the message names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets.

    Attributes:
        api: the API's socket.
        diagnostics: the socket of the second listener; None without one.
    """

    api: socket.socket
    diagnostics: socket.socket | None


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[Sockets]:
    """Start the log, log warnings about settings, and listen. On exit, close the sockets, and remove Unix socket files.

    Raises:
        ListenError: an address cannot be listened on.
    """
    configure_logging(settings.log_level, settings.log_format)
    log = get_logger()
    raise_open_files()
    for warning in find_warnings(settings):
        log.warning("setting", detail=warning)
    with contextlib.ExitStack() as sockets:
        api = _open(sockets, "KMESH_AWSIAM_LISTEN", settings.listen, settings)
        _require_loopback(api, settings.listen)
        diagnostics = (
            None
            if settings.diagnostics_listen is None
            else _open(sockets, "KMESH_AWSIAM_DIAGNOSTICS_LISTEN", settings.diagnostics_listen, settings)
        )
        if settings.decisions_page_listener is not None and diagnostics is not None:
            _require_loopback(diagnostics, settings.decisions_page_listener, "KMESH_AWSIAM_DIAGNOSTICS_LISTEN")
        log.info(
            "listening",
            version=__version__,
            api=str(settings.listen),
            diagnostics=str(settings.diagnostics_listen or settings.listen),
            callers=settings.caller_checks,
            audience=settings.audience,
        )
        yield Sockets(api, diagnostics)


def _open(sockets: contextlib.ExitStack, variable: str, address: ListenAddress, settings: Settings) -> socket.socket:
    try:
        if isinstance(address, TcpAddress):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listener = socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
        else:
            listener, remove = open_unix_socket(address.path, settings.socket_mode, settings.socket_group, BACKLOG)
            sockets.callback(remove)
    except SocketGroupError as error:
        raise ListenError(
            f"KMESH_AWSIAM_SOCKET_GROUP: {error}; the service's user must be a member of that group"
        ) from error
    except OSError as error:
        raise ListenError(
            f"{variable}: {address} cannot be listened on ({error.strerror}); free it or choose another"
        ) from error
    return sockets.enter_context(listener)


def _require_loopback(listener: socket.socket, address: ListenAddress, variable: str = "KMESH_AWSIAM_LISTEN") -> None:
    """Check that a host name which the settings accept as loopback (``localhost``) resolved to a loopback address."""
    if not isinstance(address, TcpAddress) or not address.is_loopback:
        return
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        raise ListenError(f"{variable}: {address} is no loopback address on this host; write 127.0.0.1")
