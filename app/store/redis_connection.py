"""Connections to Redis or Valkey: redis-py's, without its retries, its time limits and its trust in the environment."""

import functools
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError  # noqa: A004 - their names

from app.local.trust import client_context
from app.store.url import StoreAddress

MAX_TEXT: Final = 200

Command = tuple[str | bytes | int, ...]
# What redis-py makes of one; an error is of that command alone.
Answer = bytes | int | list[Any] | ResponseError | None


def connection_factory(address: StoreAddress, ca_file: str | None) -> Callable[[], AbstractConnection]:
    """Return what makes connections, each not connected yet.

    Args:
        address: of the store.
        ca_file: certificates to trust instead of certifi's; they are read here, once.
    """
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username or None,
        "password": address.password or None,
        # `app.store.link` bounds all waiting; and a link that fails is made anew, not patched up.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # RESP2, and neither a name nor a version of the library: nothing to negotiate, and no right to do it needed.
        "protocol": 2,
        "driver_info": None,
    }
    if address.scheme == "unix":
        return functools.partial(UnixDomainSocketConnection, path=str(address.path), **options)
    options |= {"host": address.host, "port": address.port}
    if address.scheme == "redis":
        return functools.partial(Connection, **options)
    return functools.partial(_tls_connection, client_context(ca_file), options)


def _tls_connection(context: ssl.SSLContext, options: dict[str, Any]) -> AbstractConnection:
    connection = SSLConnection(**options)
    # Its own context would take SSL_CERT_FILE and the system's authorities as well.
    connection.ssl_context.context = context
    return connection


async def log_in(connection: AbstractConnection) -> None:
    """Connect, log in, and see that commands are answered.

    Raises:
        Exception: of any kind, since what the other side sends may be anything.
    """
    await connection.connect()  # type: ignore[no-untyped-call]  # its author left the annotation out
    (answer,) = await exchange(connection, [("PING",)])
    if isinstance(answer, ResponseError):
        raise answer


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Answer]:
    """Send commands together, and read the answer of each.

    Raises:
        Exception: of any kind; the connection is of no more use.
    """
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [await _read(connection) for _ in commands]


async def _read(connection: AbstractConnection) -> Answer:
    try:
        answer: Answer = await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error
    return answer


def explain(error: BaseException) -> str:
    """Say what went wrong in words of the client or of the system; of the server, its error code alone."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    for each in (error, error.__cause__):  # on a Unix socket a refused log-in is wrapped
        if isinstance(each, RedisError) and each.status_code:
            return f"it answers {each.status_code}"
    if isinstance(error, ConnectionError):
        return str(error)[:MAX_TEXT]
    return type(error).__name__
