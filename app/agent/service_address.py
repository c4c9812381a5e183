"""Where the service is asked: ``http://`` on loopback, ``https://HOST``, or ``unix:/path``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from app.settings_values import is_loopback

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """One service; ``path`` of a Unix socket, else host and port."""

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
        ValueError: with a sentence and its remedy.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError("a Unix socket needs an absolute path: unix:/run/kuma-aws-iam/api.sock")
        return ServiceAddress(scheme="unix", path=path)
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    has_more = url.path not in ("", "/") or url.query or url.fragment or "@" in url.netloc
    if url.scheme not in ("http", "https") or not host or has_more or not text.isprintable() or not text.isascii():
        raise ValueError("write https://HOST:PORT, http://127.0.0.1:PORT or unix:/path, with nothing behind it")
    if url.scheme == "http":
        if not is_loopback(host):
            raise ValueError("credential and token would cross the network in clear; use https, or http on loopback")
        return ServiceAddress(scheme="http", host=host, port=port or _PORTS["http"])
    return ServiceAddress(scheme="https", host=host, port=port or _PORTS["https"])
