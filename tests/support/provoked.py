"""A running service with one fault, and everything that an operator can read about it."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.agent.renewal import Renewals, TokenFile
from app.agent.service_address import parse_service_url
from app.agent.service_client import ServiceAccess, ServiceClient
from app.agent.sources import Signer, TokenSource
from app.core.signed_request import CredentialForm
from app.emulator import SessionCredentials
from app.service import Service, open_service
from app.settings.environment import Settings
from app.sts.endpoints import load_sts_endpoints
from app.sts.signer import SessionKeys, find_endpoint
from tests.support.keys import KeyFiles
from tests.support.service import listening, until
from tests.support.signing import AUDIENCE, Recipe
from tests.support.world import ACCOUNT, PROXY, Aws, recipe_of

# The service knows its own account, or has logged why it does not.
_STARTED: Final = {"own account", "own credentials unavailable", "the service's own account could not be found out"}
# The name of a Python class, which no operator should have to read. AWS's error codes do not end so.
CLASS_NAME: Final = re.compile(r"\b[A-Za-z]+(?:Error|Exception|Timeout)\b|\bgaierror\b|Traceback|0x[0-9a-f]{6,}")

Variables = Mapping[str, str | None]


@dataclass
class Scene:
    """The surroundings of one failure.

    Attributes:
        folder: an empty folder of the test.
        closing: what ends with the test, such as a proxy.
        log: every line of the service.
        session: the session that signed the last credential; the agent signs with it too.
    """

    aws: Aws
    folder: Path
    closing: contextlib.AsyncExitStack
    log: list[EventDict] = field(default_factory=list)
    session: SessionCredentials | None = None
    _service: Service | None = None
    _client: httpx.AsyncClient | None = None

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    @property
    def keys(self) -> KeyFiles:
        """Signing keys in the folder."""
        return KeyFiles.make(self.folder)

    @contextlib.asynccontextmanager
    async def running(self, settings: Settings) -> AsyncIterator[None]:
        """Start the service, and wait until it knows its own account or has said why it does not."""
        with capture_logs() as self.log:
            async with open_service(settings) as self._service:
                await until(lambda: any(event["event"] in _STARTED for event in self.log))
                transport = httpx.ASGITransport(app=self.service.api)
                async with httpx.AsyncClient(transport=transport, base_url="http://service") as self._client:
                    yield

    def recipe(
        self, role: str = "demo-app", account: str = ACCOUNT, form: CredentialForm = CredentialForm.NATIVE
    ) -> Recipe:
        """Return a recipe of a fresh task of a role."""
        self.session = self.aws.task(role, account)
        return recipe_of(self.session, form)

    def tagged(self, tags: Mapping[str, str] | tuple[tuple[str, str], ...], **options: Any) -> Recipe:
        """The same for a new role with these tags."""
        name = f"provoked-{len(self.aws.roles)}"
        role = self.aws.add_named_role(ACCOUNT, name, tags=tags, **options)
        return self.recipe(role.name)

    async def present(
        self,
        recipe: Recipe | str,
        proxy: Mapping[str, Any] | None = PROXY,
        path: str = "/v1/authenticate",
        **headers: str,
    ) -> httpx.Response:
        assert self._client is not None
        credential = recipe if isinstance(recipe, str) else recipe.credential()
        call = {"credential": credential} | ({} if proxy is None else {"proxy": dict(proxy)})
        return await self._client.post(
            path, json=call, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    async def ready(self) -> str:
        assert self._client is not None
        return (await self._client.get("/ready")).text

    def audit(self) -> str:
        """The last audit line, as text."""
        lines = [event for event in self.log if event["event"] == "decision"]
        return json.dumps(lines[-1], default=str) if lines else ""

    def other_lines(self) -> str:
        return json.dumps([event for event in self.log if event["event"] != "decision"], default=str)

    async def agent(self) -> str:
        """Let the agent ask this service for a token, with the session that signed last; returns its line."""
        async with listening(self.service.api) as (host, port):
            return await run_agent(f"http://{host}:{port}", self.folder, self.session or self.aws.task())


@dataclass
class _Lines:
    lines: list[dict[str, Any]] = field(default_factory=list)

    def _write(self, event: str, /, **fields: Any) -> None:
        self.lines.append({**fields, "event": event})

    info = warning = error = _write


@dataclass(frozen=True)
class _Session:
    keys: Any

    def current(self) -> SessionKeys:
        return SessionKeys(self.keys, None)


async def run_agent(url: str, folder: Path, session: SessionCredentials, access: ServiceAccess | None = None) -> str:
    """Make one renewal as the agent does, in a thread, and return its log line as text."""
    signer = Signer(find_endpoint(load_sts_endpoints(), "us-east-1"), AUDIENCE, _Session(session.frozen()))  # type: ignore[arg-type]
    client = ServiceClient(parse_service_url(url), access or ServiceAccess())
    lines = _Lines()
    renewals = Renewals(
        source=TokenSource(signer, client, dict(PROXY)),
        file=TokenFile(path=folder / "token"),
        log=lines,  # type: ignore[arg-type]
        clock=lambda: datetime.now(UTC),
        chance=lambda: 0.0,
        patience=timedelta(minutes=10),
    )
    await asyncio.to_thread(renewals.step)
    return json.dumps(lines.lines, default=str)


Provoke = Callable[[Scene], Awaitable[httpx.Response | None]]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One row of the table.

    Attributes:
        id: a short name.
        provoked: what an operator does wrong, or what breaks; for the docs.
        reason: the reason of the answer; None if no answer of the service has one.
        fix: what to do; for the docs.
        answer: words of the answer's detail.
        audit: words of the audit line.
        ready: words of ``/ready``.
        log: words of the service's other log lines.
        agent: words of the agent's line; None if the agent is not asked.
        variables: what is different in the service's environment.
        provoke: does it, and returns the service's answer.
    """

    id: str
    provoked: str
    reason: str | None
    fix: str
    provoke: Provoke
    answer: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    agent: tuple[str, ...] | None = None
    variables: Callable[[Scene], Awaitable[Variables]] | None = None

    def line(self) -> str:
        """Its row of the page."""
        reason = f"`{self.reason}`" if self.reason else "(no answer)"
        return f"| {self.provoked} | {reason} | {self.fix} |"


def aged(recipe: Recipe, minutes: float) -> Recipe:
    """The recipe as a clock would sign it that is so many minutes ahead."""
    return replace(recipe, now=recipe.now + timedelta(minutes=minutes))
