"""The address of the service: ``http://`` on loopback, ``https://HOST``, or ``unix:/path``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from app.local.addresses import is_loopback

_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65535  # no bound: what a port is
# The URL has no user, no path and no query. With only one accepted spelling, the checked address is always the one that the
# agent calls.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """The address of one service: the ``path`` of a Unix socket, or a host and port."""

    scheme: Literal["http", "https", "unix"]
    host: str = ""
    port: int = 0
    path: Path = Path()

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_service_url(text: str) -> ServiceAddress:
    """Parse a ``--service-url``.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError("a Unix socket needs an absolute path: unix:/run/kuma-aws-iam/api.sock")
        return ServiceAddress(scheme="unix", path=path)
    match = _URL.fullmatch(text)
    port = int(match["port"] or _PORTS[match["scheme"]]) if match else 0
    if match is None or not 0 < port <= _MAX_PORT:
        raise ValueError("write https://HOST:PORT, http://127.0.0.1:PORT or unix:/path, with nothing behind it")
    host = match["host"].strip("[]")
    if match["scheme"] == "https":
        return ServiceAddress(scheme="https", host=host, port=port)
    if not is_loopback(host):
        raise ValueError("credential and token would cross the network in clear; use https, or http on loopback")
    return ServiceAddress(scheme="http", host=host, port=port)
