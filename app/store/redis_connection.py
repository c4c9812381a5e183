"""Connections to Redis or Valkey through redis-py, without its retries, its time limits and its use of the environment."""

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
# The types that redis-py returns for a reply. A `ResponseError` is the error of one command; the connection still works.
Answer = bytes | int | list[Any] | ResponseError | None


def connection_factory(address: StoreAddress, ca_file: str | None) -> Callable[[], AbstractConnection]:
    """Return a factory of connections, which are not connected yet.

    Args:
        address: the address of the store.
        ca_file: certificates to trust instead of certifi's; the file is read once, here.
    """
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username or None,
        "password": address.password or None,
        # `app.store.link` bounds all waiting. A failed connection is replaced, not repaired.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # RESP2, and without sending the name and version of the library: then redis-py sends neither HELLO nor CLIENT
        # SETINFO, and the user of the store needs no permission for them.
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
    # redis-py's own context would also trust SSL_CERT_FILE and the system's authorities.
    connection.ssl_context.context = context
    return connection


async def log_in(connection: AbstractConnection) -> None:
    """Connect, log in, and check that the store answers a command.

    Raises:
        Exception: any kind of exception, since the server may send anything.
    """
    await connection.connect()  # type: ignore[no-untyped-call]  # its author left the annotation out
    (answer,) = await exchange(connection, [("PING",)])
    if isinstance(answer, ResponseError):
        raise answer


async def exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Answer]:
    """Send commands together, and read the reply to each.

    Raises:
        Exception: any kind of exception; the connection cannot be used any more.
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
    """Describe a fault in words of the client or the operating system. Of the server's text, only the error code is used."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    for each in (error, error.__cause__):  # on a Unix socket, redis-py wraps the error of a refused log-in
        if isinstance(each, RedisError) and each.status_code:
            return f"it answers {each.status_code}"
    if isinstance(error, ConnectionError):
        return str(error)[:MAX_TEXT]
    return type(error).__name__
