"""Connections to Redis or Valkey through redis-py, without its retries, its time limits and its use of the environment."""

import functools
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from app.local.causes import Cause, Peer, Stage, explain_failure
from app.local.trust import client_context
from app.store.url import StoreAddress

_MAX_CAUSES: Final = 8  # no bound: an end for a chain of errors that refers to itself
_LOOK_AT_ITS_LOG: Final = "look at the store's own log"
_LOG_IN: Final = "correct the user and the password in KMESH_AWSIAM_STORE"
_REMEDIES: Final = {
    "WRONGPASS": _LOG_IN,
    "NOAUTH": _LOG_IN,
    "NOPERM": "give the store's user the permissions that the page about sharing verdicts lists",
    "LOADING": "wait until the store has loaded its data",
}

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


def peer_of(address: StoreAddress) -> Peer:
    """Return the store as the words about a failure name it."""
    return Peer(
        name=f"the store {address}",
        setting="KMESH_AWSIAM_STORE",
        trust="set KMESH_AWSIAM_STORE_CA_FILE to a PEM file with the store's authority",
    )


def explain(error: BaseException, peer: Peer) -> Cause:
    """Describe a fault in our own words. Of the server's text, only the error code is used."""
    if isinstance(error, TimeoutError):
        return Cause(f"{peer.name} gives no answer in time", "check that it runs, its load, and the way to it")
    # redis-py raises its own errors while it handles those of the socket and of a refused log-in.
    errors = list(_with_its_causes(error))
    for each in errors:
        if isinstance(each, RedisError) and each.status_code:
            return Cause(f"{peer.name} answers {each.status_code}", _REMEDIES.get(each.status_code, _LOOK_AT_ITS_LOG))
    for each in errors:
        if isinstance(each, OSError):
            return explain_failure(each, peer, Stage.ANSWER)
    if isinstance(error, RedisConnectionError):
        return explain_failure(ConnectionError(), peer, Stage.ANSWER)
    return Cause(f"{peer.name} answers with something that cannot be used", "check that it is a Redis or Valkey")


def _with_its_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and the errors that it was raised for."""
    each: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__
