import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from app.adapters.iam import IamRoles
from app.adapters.iam_clients import IamOptions
from app.metrics import Metrics
from app.trail import Trail
from tests.support.world import EXTERNAL_ID, READER_ROLE, Aws

OpenIam = Callable[..., IamRoles]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def open_iam(aws: Aws, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenIam]:
    """Make the adapter as the service's own role, with a reader role for other accounts, and some options changed."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    defaults = IamOptions(
        partition="aws",
        region="us-east-1",
        sts_url=aws.emulator.url,
        iam_url=aws.emulator.url,
        reader_role_name=READER_ROLE,
        reader_external_id=EXTERNAL_ID,
    )
    with contextlib.ExitStack() as stack:

        def make(**options: object) -> IamRoles:
            roles = IamRoles(replace(defaults, **options), metrics)  # type: ignore[arg-type]
            stack.callback(roles.close)
            return roles

        yield make
        aws.emulator.faults.clear()  # what hangs is let go before the threads are waited for


@pytest.fixture
def iam(open_iam: OpenIam) -> IamRoles:
    return open_iam()


def new_trail(seconds: float = 10.0) -> Trail:
    return Trail(request_id="request-1", deadline=asyncio.get_running_loop().time() + seconds)
