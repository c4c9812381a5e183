"""Addresses to listen on: a host and port, or the path of a Unix socket."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_IPV6: Final = 6
_MAX_PORT: Final = 65535  # no bound: what a port is


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and port to listen on."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this host, or this ECS task, can reach the address."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket to listen on; only processes that share the file system can reach it."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


ListenAddress = TcpAddress | UnixAddress


def is_loopback(host: str) -> bool:
    """Whether a host names this machine: an address of a loopback range, or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_listen_address(text: str) -> ListenAddress:
    """Parse ``host:port``, ``[v6]:port`` or ``unix:/path``."""
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError("a Unix socket needs an absolute path: unix:/run/kuma-aws-iam/api.sock")
        return UnixAddress(path)
    host, _, port = text.rpartition(":")
    if not (_is_host(host) and port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
        raise ValueError("it is neither host:port nor unix:/path; write for example 127.0.0.1:5690 or [::1]:5690")
    return TcpAddress(host.strip("[]"), int(port))


def _is_host(text: str) -> bool:
    """Whether a text is a host name, an IPv4 address, or an IPv6 address in brackets."""
    if not text.startswith("["):
        return _HOST_NAME.fullmatch(text) is not None
    try:
        return text.endswith("]") and ipaddress.ip_address(text[1:-1]).version == _IPV6
    except ValueError:
        return False
