"""The address of the shared store: ``KMESH_AWSIAM_STORE``, parsed once.

No error and no ``repr`` contains the password (I22).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from app.local.addresses import is_loopback

_DEFAULT_PORT: Final = 6379
_HIGHEST_PORT: Final = 65535
# RFC 3986, section 3.2.1; a colon ends the user's name.
_CHARACTER: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_USERINFO: Final = rf"(?:(?P<user>{_CHARACTER}*):(?P<password>(?:{_CHARACTER}|:)+)@)?"
_TCP: Final = re.compile(
    rf"(?P<scheme>rediss?)://{_USERINFO}"
    r"(?P<host>[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<database>[0-9]{1,5})?)?",
    re.ASCII,
)
_UNIX: Final = re.compile(rf"(?P<scheme>unix)://{_USERINFO}(?P<path>/[A-Za-z0-9._~@+:,=/-]+)", re.ASCII)
_REMEDY: Final = (
    "write redis://HOST:6379, rediss://USER:PASSWORD@HOST:6379 (TLS), redis://:PASSWORD@HOST/0 or unix:///run/redis.sock; "
    "nothing follows, and what is special in user and password is percent-encoded"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """The address of the store, and the login.

    Attributes:
        scheme: ``redis``, ``rediss`` (TLS) or ``unix``.
        host: the host, for the first two schemes.
        port: the port, for the first two schemes.
        path: the path of the Unix socket.
        database: the number of the database.
        username: the user; empty for the default user.
        password: the password; empty for no login.
    """

    scheme: Literal["redis", "rediss", "unix"]
    host: str = ""
    port: int = _DEFAULT_PORT
    path: Path | None = None
    database: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_private(self) -> bool:
        """Whether no other host can read or change the traffic: TLS, a Unix socket, or loopback."""
        return self.scheme != "redis" or is_loopback(self.host)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.database}"


def parse_store_url(text: str) -> StoreAddress:
    """Parse the URL of a store.

    Raises:
        ValueError: the message is a sentence with the fault and the remedy, without any of the text.
    """
    match = _TCP.fullmatch(text) or _UNIX.fullmatch(text)
    if match is None:
        raise ValueError(_REMEDY)
    parts = match.groupdict()
    try:
        username, password = (unquote(parts[name] or "", errors="strict") for name in ("user", "password"))
    except UnicodeDecodeError as error:
        raise ValueError(_REMEDY) from error
    if parts["scheme"] == "unix":
        return StoreAddress(scheme="unix", path=Path(parts["path"]), username=username, password=password)
    port = int(parts["port"] or _DEFAULT_PORT)
    if not 1 <= port <= _HIGHEST_PORT:
        raise ValueError(_REMEDY)
    return StoreAddress(
        scheme="rediss" if parts["scheme"] == "rediss" else "redis",
        host=parts["host"].strip("[]"),
        port=port,
        database=int(parts["database"] or 0),
        username=username,
        password=password,
    )
