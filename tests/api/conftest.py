import contextlib
from collections.abc import AsyncIterator
from typing import NoReturn

import httpx
import pytest
from starlette.types import ASGIApp

from app.api.application import build_api
from app.api.authenticate import AuthenticateEndpoint
from app.api.known_calls import KnownCalls
from app.core.proxy import ProxyType
from app.decision.authenticator import Authenticator, DecisionPolicy
from app.local.clock import utc_now
from app.settings.accounts import FixedAccounts
from app.sts.known_credentials import KnownCredentials
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from tests.support.introductions import new_introductions
from tests.support.service import RunningService, listening
from tests.support.signing import default_policy
from tests.support.world import ACCOUNT

Client = httpx.AsyncClient


class _Nobody:
    """Stands for STS and IAM in calls that must not reach them."""

    async def identify(self, *_: object) -> NoReturn:
        raise AssertionError("STS is asked")

    async def fetch_role(self, *_: object) -> NoReturn:
        raise AssertionError("IAM is asked")


@pytest.fixture
def api() -> ASGIApp:
    """The API without STS and IAM. It answers every call that is decided without AWS."""
    policy = DecisionPolicy(
        request=default_policy(), accounts=FixedAccounts(frozenset({ACCOUNT})), enabled_types=frozenset(ProxyType)
    )
    metrics = Metrics()
    readiness = Readiness(credentials_obtained=True)
    known = KnownCredentials(utc_now)
    introductions = new_introductions(_Nobody(), known, policy.accounts, utc_now)
    authenticator = Authenticator(policy, known, introductions, _Nobody(), utc_now)
    endpoint = AuthenticateEndpoint(authenticator, KnownCalls(known), metrics, readiness, 10.0)
    return build_api(endpoint, metrics, readiness, with_probes=True)


@pytest.fixture
async def client(api: ASGIApp) -> AsyncIterator[Client]:
    """A client of that API, in the same process."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://service") as own:
        yield own


@contextlib.asynccontextmanager
async def over_tcp(app: ASGIApp) -> AsyncIterator[Client]:
    """A client over loopback, through the server that the service uses."""
    async with listening(app) as (host, port):
        transport = httpx.AsyncHTTPTransport()
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:{port}", trust_env=False) as own:
            yield own


@pytest.fixture(params=["asgi", "tcp"])
async def either(request: pytest.FixtureRequest, api: ASGIApp, client: Client) -> AsyncIterator[Client]:
    """A client of the API without STS and IAM: in the process, and over loopback."""
    if request.param == "asgi":
        yield client
    else:
        async with over_tcp(api) as own:
            yield own


@pytest.fixture(params=["asgi", "tcp"])
async def live(request: pytest.FixtureRequest, service: RunningService) -> AsyncIterator[Client]:
    """A client of the whole service: in the process, and over loopback."""
    if request.param == "asgi":
        yield service.client
    else:
        async with over_tcp(service.service.api) as own:
            yield own
