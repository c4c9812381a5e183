import functools
import gc
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import hypothesis
import pytest
from botocore.loaders import JSONFileLoader
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.emulator import Emulator
from app.local.trust import client_context
from app.settings.environment import Settings
from app.settings.loading import load_settings
from tests.support.service import RunningService, running_service
from tests.support.world import Aws, make_world

# A busy machine generates and runs examples slowly. Neither is a fault.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the 680,000 objects of the collected tests from the garbage collector: each full collection took 0.4 s."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_FOREIGN = ("AWS_", "KMESH_", "KUMA_")


@pytest.fixture(autouse=True)
def _nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the AWS, proxy and control plane variables of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.upper() in _PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session", autouse=True)
def _botocores_data_is_parsed_once() -> Iterator[None]:
    """Each session of botocore parses megabytes of JSON. Over all services that the tests start, this takes minutes."""
    load = JSONFileLoader.load_file
    parsed = functools.cache(lambda path: load(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _loader, path: parsed(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def _keys_and_authorities_are_read_once() -> Iterator[None]:
    """OpenSSL checks an RSA key for 80 ms and parses certifi's file for 50 ms, in each of a thousand services."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialization, "load_pem_private_key", functools.cache(load_pem_private_key))
        patch.setattr("app.http.network.client_context", functools.cache(client_context))
        yield


@pytest.fixture(scope="session")
def running_aws() -> Iterator[Emulator]:
    with Emulator(make_world()) as emulator:
        yield emulator


@pytest.fixture
def aws(running_aws: Emulator) -> Iterator[Aws]:
    """The emulated AWS without faults and without recorded calls."""
    running_aws.calls.clear()
    stage = Aws(running_aws)
    yield stage
    stage.settle()
    stage.remove_roles()


LoadSettings = Callable[..., Settings]


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> LoadSettings:
    """Read settings from exactly the given variables. A variable that is None is left out."""
    given: list[str] = []

    def load(**variables: str | None) -> Settings:
        for name in given:
            monkeypatch.delenv(name)
        wanted = {name: value for name, value in variables.items() if value is not None}
        given[:] = wanted
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return load


class StartService(Protocol):
    def __call__(self, **variables: str | None) -> AbstractAsyncContextManager[RunningService]: ...


@pytest.fixture
def start_service(aws: Aws, settings_of: LoadSettings) -> StartService:
    """Start the service on the emulated AWS, with changes to some variables of its environment."""

    @asynccontextmanager
    async def start(**variables: str | None) -> AsyncIterator[RunningService]:
        settings = settings_of(**{**aws.service_environment(), **variables})
        async with running_service(aws, settings) as service:
            yield service

    return start


@pytest.fixture
async def service(start_service: StartService) -> AsyncIterator[RunningService]:
    """A service with the settings of `Aws.service_environment`."""
    async with start_service() as running:
        yield running
