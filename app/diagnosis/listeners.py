"""Check whether the service can listen on its addresses, and how long its certificate is valid. It disturbs no listener."""

import errno
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from app.diagnosis.finding import Finding, failed, ok, warning
from app.local.addresses import ListenAddress, TcpAddress, UnixAddress
from app.local.certificate_dates import Validity
from app.local.clock import Clock, utc_now
from app.settings.environment import Settings

_PROBE_SECONDS: Final = 1.0
_RENEW_BEFORE: Final = timedelta(days=14)
_CERTIFICATE: Final = "TLS certificate"
_TAKEN: Final = "a program listens there already: a running service, or another program that serve would collide with"


def check_listeners(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each address that the service listens on."""
    yield _check("listener", "KMESH_AWSIAM_LISTEN", settings.listen)
    if settings.diagnostics_listen is not None:
        yield _check("diagnostics listener", "KMESH_AWSIAM_DIAGNOSTICS_LISTEN", settings.diagnostics_listen)


def check_certificate(settings: Settings, clock: Clock = utc_now) -> Iterator[Finding]:
    """Yield a finding about the validity of the listener's certificate, and of the clients' authorities, if it has TLS."""
    files = settings.tls_files
    if files is None:
        return
    paths = {"server": files.cert, "client_ca": files.client_ca or files.cert}
    for name, validity in files.read_validity().items():
        yield _judge_certificate(paths[name], validity, clock())


def _check(check: str, variable: str, address: ListenAddress) -> Finding:
    try:
        is_taken = _is_taken_tcp(address) if isinstance(address, TcpAddress) else _is_taken_unix(address)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        return failed(check, f"{address} cannot be listened on ({reason})", f"correct {variable}")
    return ok(check, f"{address}: {_TAKEN if is_taken else 'free'}")


def _is_taken_tcp(address: TcpAddress) -> bool:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def _is_taken_unix(address: UnixAddress) -> bool:
    path, folder = address.path, address.path.parent
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_SECONDS)
            if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
                return True
    elif path.exists():
        raise FileExistsError(errno.EEXIST, "there is a file of this name that is no socket")
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"user {os.geteuid()} may not write to {folder}")
    return False


def _judge_certificate(path: Path, validity: Validity, now: datetime) -> Finding:
    start, end = (datetime.fromtimestamp(each, UTC) for each in (validity.not_before, validity.not_after))
    found = f"{path}: valid from {start:%Y-%m-%d} until {end:%Y-%m-%d}"
    if not start <= now < end:
        return failed(_CERTIFICATE, f"{found}, so handshakes fail now", "replace it, or correct this host's clock")
    if end - now < _RENEW_BEFORE:
        return warning(_CERTIFICATE, found, "replace it; the service reads the file again by itself")
    return ok(_CERTIFICATE, found)
