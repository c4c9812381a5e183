from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from app.emulator import Emulator, SessionCredentials, UserCredentials, World

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
TAGS = (("kuma.io/type", "dataplane"), ("kuma.io/mesh", "default"), ("kuma.io/service", "demo-app"))


class MovableClock:
    """The real time, until the test sets another one."""

    def __init__(self) -> None:
        self.fixed: datetime | None = None

    def __call__(self) -> datetime:
        return self.fixed or datetime.now(UTC)

    def advance(self, by: timedelta) -> None:
        self.fixed = self() + by


@pytest.fixture(scope="module")
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(scope="module")
def world(clock: MovableClock) -> World:
    world = World(clock=clock)
    world.add_role(ACCOUNT, "demo-app", path="/workloads/", tags=TAGS)
    world.add_role(ACCOUNT, "kuma-aws-iam")
    world.add_role(OTHER_ACCOUNT, "reader", external_id="kuma-control-plane")
    world.add_account("777788889999", partition="aws-cn")
    world.add_role("777788889999", "demo-app")
    return world


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[Emulator]:
    with Emulator(world) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator, clock: MovableClock) -> Iterator[Emulator]:
    """The emulator of the module, without faults and without recorded calls."""
    running.calls.clear()
    yield running
    clock.fixed = None
    running.faults.clear()


@pytest.fixture
def credentials(emulator: Emulator) -> SessionCredentials:
    return emulator.issue(ACCOUNT, "demo-app", "task-1")


ClientFactory = Callable[..., Any]


@pytest.fixture
def client(emulator: Emulator) -> Iterator[ClientFactory]:
    """Make boto3 clients of the emulator, as a program with AWS_ENDPOINT_URL set has them."""
    made: list[Any] = []

    def make(
        service: str, credentials: SessionCredentials | UserCredentials, region: str = "eu-west-1", **options: Any
    ) -> Any:
        config = Config(retries={"total_max_attempts": 1}, proxies={}, **options)
        create: Any = boto3.Session(region_name=region, **credentials.boto3()).client
        made.append(create(service, endpoint_url=emulator.url, config=config))
        return made[-1]

    yield make
    for each in made:
        each.close()
