"""A controller in this process, with a small ECS, the API of a control plane, and a clock that the test moves."""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
import structlog

from app.controller.aws_calls import AwsCalls, AwsLimits
from app.controller.control_plane import ApiAccess, parse_api_url
from app.controller.controller import Controller, ControllerOptions, open_controller
from app.controller.metrics import PREFIX as METRICS_PREFIX
from app.controller.metrics import ControllerMetrics
from app.controller.parts import PassOptions, Shared
from app.controller.passes import PassResult
from app.controller.reasons import Leave, PutReason
from demos.controller.ecs_stand_in import CLUSTER, PREFIX, Ecs, EcsServer, ecs_server
from demos.controller.kuma_api import API_TOKEN, KumaApi, kuma_api
from tests.support.exposition import Samples, read_samples, value
from tests.support.keys import rsa_key

VALID_FOR = timedelta(hours=720)
# No call waits for a retry, and a slow machine does not look like a server that hangs.
LIMITS = AwsLimits(read_seconds=20, connect_seconds=20, attempts=1, call_seconds=40)
# For a server that hangs. The test takes this long.
HANGS = AwsLimits(read_seconds=2, connect_seconds=20, attempts=1, call_seconds=40)


@dataclass
class Time:
    """A clock and a timer that the test moves together. The date is that of this host plus the passed time."""

    passed: float = 0.0

    def clock(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.passed)

    def timer(self) -> float:
        return 1000.0 + self.passed


@dataclass
class Stage:
    """A controller's surroundings: ECS, secrets, the control plane, clocks and the log."""

    ecs: Ecs
    api: KumaApi
    options: ControllerOptions
    time: Time = field(default_factory=Time)
    lines: list[Any] = field(default_factory=list)
    metrics: ControllerMetrics = field(default_factory=ControllerMetrics)

    @contextlib.asynccontextmanager
    async def controller(self, **changes: Any) -> AsyncIterator["Running"]:
        """Open a controller with changed options. Each one has its own memory, so two of them act as two replicas."""
        options = ControllerOptions(**{**_fields(self.options), **changes})
        shared = Shared(metrics=self.metrics, clock=self.time.clock, timer=self.time.timer, chance=lambda: 0.5)
        async with open_controller(options, shared) as opened:
            yield Running(self, opened)

    def samples(self) -> Samples:
        """Return the metrics."""
        return read_samples(self.metrics.expose().decode())

    def sample(self, name: str, **labels: str) -> float:
        """Return one metric, whose name is without its prefix."""
        return value(self.samples(), f"{METRICS_PREFIX}_{name}", **labels)

    def events(self, name: str) -> list[Any]:
        """Return the log lines of an event."""
        return [line for line in self.lines if line["event"] == name]

    def require_no_secret_logged(self) -> None:
        """No line has a token, the API token, or the text of an error."""
        text = json.dumps(self.lines, default=str)
        for secret in (
            API_TOKEN,
            "a secret message",
            *self.api.tokens,
            *(token.split(".")[2] for token in self.api.tokens),
        ):
            assert secret not in text


@dataclass
class Running:
    """An open controller."""

    stage: Stage
    opened: Controller

    async def run(self, after: float = 0.0, patience: float | None = None) -> PassResult:
        """Move the clock by some seconds, and make a pass."""
        self.stage.time.passed += after
        return await self.opened.run_pass(patience)

    async def done(self, after: float = 0.0) -> dict[str, PutReason | Leave | None]:
        """Move the clock and make a pass. Return what was done, by service."""
        result = await self.run(after)
        return {each.wanted.name.removeprefix(PREFIX): each.done for each in result.handled}


def _fields(options: ControllerOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ControllerOptions.__dataclass_fields__}


@pytest.fixture(scope="session")
def ecs_of_the_session() -> Iterator[EcsServer]:
    with ecs_server() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _clients_are_made_once() -> Iterator[None]:
    """Botocore takes 60 ms for a client, and each controller has two."""
    make, made = AwsCalls.client, {}

    def client(calls: AwsCalls, service: Literal["ecs", "secretsmanager"]) -> Any:
        variables = tuple(sorted((name, text) for name, text in os.environ.items() if name.startswith("AWS_")))
        key = (service, calls._limits, variables)
        if key not in made:
            made[key] = make(calls, service)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AwsCalls, "client", client)
        yield


@pytest.fixture
def servers(ecs_of_the_session: EcsServer) -> Iterator[tuple[Ecs, KumaApi]]:
    with kuma_api(rsa_key(2)) as api:
        yield ecs_of_the_session.renew(), api


@pytest.fixture
def stage(servers: tuple[Ecs, KumaApi], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A cluster without tasks, and a control plane that issues tokens."""
    ecs, api = servers
    for name in ("ECS", "SECRETS_MANAGER"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", ecs.url)
    # As `LIMITS`, for the control plane.
    monkeypatch.setattr("app.controller.control_plane.API_CONNECT_SECONDS", 20.0)
    monkeypatch.setattr("app.controller.control_plane.API_CALL_SECONDS", 40.0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    options = ControllerOptions(
        region="eu-west-1",
        clusters=(CLUSTER,),
        passes=PassOptions(prefix=PREFIX, valid_for=VALID_FOR),
        default_mesh="default",
        interval=5.0,
        identity="task-tags",
        api=ApiAccess(server=parse_api_url(api.url), read_token=lambda: API_TOKEN),
        limits=LIMITS,
    )
    stage = Stage(ecs, api, options)
    ecs.clock = api.clock = lambda: stage.time.clock().timestamp()
    with structlog.testing.capture_logs() as lines:
        stage.lines = lines
        yield stage
