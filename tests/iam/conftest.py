import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.aws.own_endpoints import find_own_endpoint
from app.decision.record import DecisionRecord
from app.http.network import NetworkOptions
from app.iam import client, own_account, reader_roles
from app.iam.client import IamRoles
from app.local.clock import Timer
from app.telemetry.metrics import Metrics
from tests.support.iam_client import iam_options, open_roles
from tests.support.passing_time import LONG
from tests.support.world import EXTERNAL_ID, READER_ROLE, Aws

OpenIam = Callable[..., Awaitable[IamRoles]]
_NETWORK = frozenset({"proxy_url", "ca_file"})


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def open_iam(aws: Aws, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenIam]:
    """Open the client as the service's own role, with a reader role for other accounts and some changed options.

    An attempt has `LONG`, and each of the client's own calls ten times as much.
    """
    for module, name in ((own_account, "ASK_SECONDS"), (reader_roles, "ASSUME_SECONDS"), (client, "OWN_SECONDS")):
        monkeypatch.setattr(module, name, 10 * LONG)
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    reader = {"reader_role_name": READER_ROLE, "reader_external_id": EXTERNAL_ID}
    async with contextlib.AsyncExitStack() as stack:

        async def opened(timer: Timer = time.monotonic, **options: object) -> IamRoles:
            limits = {"connect_timeout": LONG, "total_timeout": LONG}
            network = NetworkOptions(**{**limits, **{name: options.pop(name) for name in _NETWORK & options.keys()}})  # type: ignore[arg-type]
            for service in ("sts", "iam"):
                if f"{service}_url" in options:
                    url = options.pop(f"{service}_url")
                    options[service] = find_own_endpoint(service, "us-east-1", url=None if url is None else str(url))
            return await stack.enter_async_context(
                open_roles(iam_options(aws.emulator.url, **{**reader, **options}), network, metrics, timer)
            )

        yield opened
        aws.emulator.faults.clear()


@pytest.fixture
async def iam(open_iam: OpenIam) -> IamRoles:
    return await open_iam()


def new_trail() -> DecisionRecord:
    return DecisionRecord(request_id="request-1")


def soon(seconds: float = 10 * LONG) -> float:
    return asyncio.get_running_loop().time() + seconds
