"""The whole service in the test's process, with real settings and clients, and the real emulator."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.local.clock import Clock, utc_now
from app.server.listener import MAX_CONNECTIONS
from app.server.process import _Server, uvicorn_config
from app.service import Service, open_service
from app.settings.environment import Settings
from tests.support.exposition import Samples, read_samples
from tests.support.patience import PATIENCE
from tests.support.world import Aws

AUTHENTICATE = "/v1/authenticate"


@dataclass(frozen=True)
class RunningService:
    """A service, a client of its API, and all its log lines."""

    service: Service
    client: httpx.AsyncClient
    log: list[EventDict]

    async def present(
        self, credential: object, proxy: Mapping[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """Present a credential, and assert to be a proxy if one is given."""
        call = {"credential": credential} if proxy is None else {"credential": credential, "proxy": proxy}
        return await self.client.post(AUTHENTICATE, json=call, headers=headers)

    async def send(self, body: bytes, **headers: str) -> httpx.Response:
        """Send a body unchanged."""
        return await self.client.post(
            AUTHENTICATE, content=body, headers={"content-type": "application/json"} | headers
        )

    async def metrics(self) -> Samples:
        """Read every sample of /metrics."""
        return read_samples((await self.client.get("/metrics")).text)

    def decisions(self) -> list[EventDict]:
        """The audit lines so far."""
        return self.events("decision")

    def events(self, name: str) -> list[EventDict]:
        return [event for event in self.log if event["event"] == name]


async def until(holds: Callable[[], bool]) -> None:
    """Let other tasks and threads run until a condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - the thread or library has no event to set
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def running_service(aws: Aws, settings: Settings, clock: Clock = utc_now) -> AsyncIterator[RunningService]:
    """Open a service, wait until it knows its own account, and forget the calls that this took."""
    with capture_logs() as log:
        async with open_service(settings, clock) as service:
            await until(lambda: any(event["event"] == "own account" for event in log))
            aws.emulator.calls.clear()
            transport = httpx.ASGITransport(app=service.api)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                yield RunningService(service=service, client=client, log=log)


@contextlib.asynccontextmanager
async def listening(
    app: ASGIApp,
    tls: ssl.SSLContext | None = None,
    *,
    most: int = MAX_CONNECTIONS,
    listener: socket.socket | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application as the service does, on loopback unless a socket is given. Yield host and port."""
    server = _Server(uvicorn_config(app, grace_seconds=1), tls, most)
    with listener or socket.create_server(("127.0.0.1", 0)) as own:
        serving = asyncio.create_task(server.serve(sockets=[own]))
        try:
            yield own.getsockname()[:2]
        finally:
            server.should_exit = True
            await serving
