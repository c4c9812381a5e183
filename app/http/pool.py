"""A pool of connections to a few hosts. It uses each connection for one exchange at a time, and closes idle connections.

Why not a library: calls to STS take most of a decision's processor time, and the fastest maintained client took three to
four times the processor time of this package (docs/decisions/0017-own-client-for-sts.md). The pool reads nothing from the
environment: no proxy, no netrc, no certificates (I9). It follows no redirects, decodes no bodies and stores no cookies.
"""

import asyncio
import base64
import contextlib
import socket
import ssl
import time
from collections import deque
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from app.http.http1 import MAX_REPLY_BYTES, Connection, DisconnectedError, HttpReply
from app.limits.single_flight import SingleFlight
from app.limits.ticks import within
from app.limits.ttl_cache import TtlCache
from app.local.causes import Stage

# With a round trip of 40 ms, 256 connections can carry 256 / 40 ms = 6,400 calls per second, ten times the quota of an
# account.
MAX_CONNECTIONS: Final = 256
# AWS closes an idle connection after about a minute; a load balancer or a proxy on the path may close it sooner.
IDLE_SECONDS: Final = 20.0
DNS_SECONDS: Final = 10.0
MAX_NAMES: Final = 256
# One timer checks all exchanges at this interval, so a late exchange ends with at most this delay.
_SWEEP_SECONDS: Final = 0.05  # no bound: how exactly the end of an attempt is kept
_PORTS: Final = {"https": 443, "http": 80}


class Origin(NamedTuple):
    """The server that requests are sent to: scheme, host and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Make an origin from a URL that the settings have checked."""
        parts = urlsplit(url)
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])

    @property
    def authority(self) -> str:
        """Return host and port in the form that CONNECT needs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Progress:
    """How far an exchange has come.

    Attributes:
        stage: what is under way. After a failure it says what failed.
        is_at_proxy: whether the other side of this stage is the proxy.
    """

    __slots__ = ("is_at_proxy", "stage")

    def __init__(self) -> None:
        self.stage = Stage.ANSWER
        self.is_at_proxy = False


class HttpPool:
    """The open connections by origin.

    The pool takes the most recently used connection first, so that connections that are not needed stay idle and are closed.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        proxy_url: str | None = None,
        connect_timeout: float,
        idle_seconds: float = IDLE_SECONDS,
        max_kept: int = MAX_CONNECTIONS,
    ) -> None:
        """Make an empty pool. Call this inside the event loop."""
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._proxy = None if proxy_url is None else Origin.of(proxy_url)
        self._proxy_authorization = None if proxy_url is None else _basic(proxy_url)
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._max_kept = max_kept
        self._idle: dict[Origin, deque[Connection]] = {}
        self._busy: set[Connection] = set()
        self._addresses: TtlCache[list[str]] = TtlCache(MAX_NAMES, time.monotonic)
        self._lookups: SingleFlight[list[str]] = SingleFlight()
        self._sweeper: asyncio.TimerHandle | None = None

    async def exchange(
        self,
        origin: Origin,
        request: bytes,
        due: float,
        *,
        fresh: bool = False,
        max_bytes: int = MAX_REPLY_BYTES,
        progress: Progress | None = None,
    ) -> HttpReply:
        """Send a request and read its answer.

        Args:
            origin: the server.
            request: the bytes of the request, from the request line on.
            due: when the exchange must be over, in seconds of the event loop's clock.
            fresh: whether to use a new connection, because the server may have closed an idle one.
            max_bytes: the largest size of the answer's body. Head, body and framing together may have four times as many
                bytes.
            progress: records how far the exchange comes; None if the caller does not need that.

        Raises:
            TimeoutError: there is no answer by ``due``, or connecting took too long.
            OSError: connecting failed, or the connection ended before the answer (`DisconnectedError`).
            HttpError: the answer cannot be read.
        """
        if self._loop.time() >= due:
            raise TimeoutError
        connection = None if fresh else self._take(origin)
        if connection is None:
            until = min(due, self._loop.time() + self._connect_timeout)
            progress = progress or Progress()
            connection = await within(until - self._loop.time(), self._open(origin, until, progress))
            progress.stage = Stage.ANSWER
        self._busy.add(connection)
        self._sweep_later()
        try:
            return await connection.exchange(request, due, max_bytes)
        finally:
            self._busy.discard(connection)
            self._keep(origin, connection)

    async def close(self) -> None:
        """Close all connections."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in [*self._busy, *(connection for kept in self._idle.values() for connection in kept)]:
            connection.fail(DisconnectedError("the pool was closed"))
        self._idle.clear()
        # The event loop closes the sockets in its next iteration. Wait for it: the loop may stop after this method.
        await asyncio.sleep(0)

    def _take(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if connection.is_reusable:
                return connection
        return None

    def _keep(self, origin: Origin, connection: Connection) -> None:
        if not connection.is_reusable:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        kept = self._idle.setdefault(origin, deque())
        kept.append(connection)
        if sum(map(len, self._idle.values())) > self._max_kept:
            # Close the connection that has been idle longest, of all hosts: credentials name the hosts, and there are more
            # than a hundred of them.
            oldest = min(filter(None, self._idle.values()), key=lambda one: one[0].idle_since)
            oldest.popleft().close()

    async def _open(self, origin: Origin, until: float, progress: Progress) -> Connection:
        progress.is_at_proxy = self._proxy is not None
        if self._proxy is None:
            return await self._connect(origin, until, progress)
        connection = await self._connect(self._proxy, until, progress)
        try:
            progress.stage = Stage.TUNNEL
            await connection.open_tunnel(origin.authority, self._proxy_authorization, float("inf"))
            progress.is_at_proxy = False
            if origin.scheme == "https":
                progress.stage = Stage.TLS
                await connection.start_tls(self._context, origin.host)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect(self, origin: Origin, until: float, progress: Progress) -> Connection:
        """Try the addresses of a host name one after the other.

        The last address may use all of the remaining time, each other address half of it.
        """
        progress.stage = Stage.NAME
        *others, last = await self._resolve(origin.host)
        for address in others:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout((until - self._loop.time()) / 2):
                    return await self._connect_to(address, origin, progress)
        try:
            return await self._connect_to(last, origin, progress)
        except OSError:
            # No address answered: the next attempt must look up the name again.
            self._addresses.drop(origin.host)
            raise

    async def _connect_to(self, address: str, origin: Origin, progress: Progress) -> Connection:
        progress.stage = Stage.CONNECT
        _, connection = await self._loop.create_connection(lambda: Connection(self._loop), address, origin.port)
        if origin.scheme != "https":
            return connection
        # TLS starts after the connection, so that a failure of TLS can be told from a failure to connect.
        progress.stage = Stage.TLS
        try:
            await connection.start_tls(self._context, origin.host)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _resolve(self, host: str) -> list[str]:
        """Return the addresses of a host name. They are cached for 10 s, because many connections can open at once."""
        known = self._addresses.get(host)
        if known is None:
            # Shielded, so that the connect timeout of this caller does not cancel the lookup for other callers.
            known = await asyncio.shield(self._lookups.start(host, lambda: self._look_up(host)))
        return known

    async def _look_up(self, host: str) -> list[str]:
        found = await self._loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        self._addresses.put(host, addresses, DNS_SECONDS)
        return addresses

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """End late exchanges, and close idle connections. The timer stops when there is nothing to check."""
        self._sweeper = None
        now = self._loop.time()
        for connection in [connection for connection in self._busy if connection.due <= now]:
            connection.fail(TimeoutError())
        for origin, kept in list(self._idle.items()):
            while kept and (kept[0].idle_since + self._idle_seconds <= now or not kept[0].is_reusable):
                kept.popleft().close()
            if not kept:
                del self._idle[origin]
        if self._busy or self._idle:
            self._sweep_later()


def _basic(url: str) -> str | None:
    """Return the credentials in a proxy's URL as the value of an HTTP Basic header."""
    user, separator, _ = urlsplit(url).netloc.rpartition("@")
    if not separator:
        return None
    name, _, password = user.partition(":")
    return "Basic " + base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode("ascii")
