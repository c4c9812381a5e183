from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.emulator import Emulator
from tests.support.process import Served, served, socket_address
from tests.support.world import Aws

Invoke = Callable[..., Result]


@pytest.fixture
def invoke() -> Invoke:
    """Run a command in this process. An exception that the command does not handle fails the test."""

    def run(*arguments: str, stdin: str | bytes | None = None, **variables: str | None) -> Result:
        return CliRunner().invoke(main, arguments, input=stdin, env=variables, catch_exceptions=False)

    return run


@pytest.fixture(scope="session")
def live(running_aws: Emulator) -> Iterator[Served]:
    """A service in a process of its own, on a Unix socket."""
    with socket_address() as address, served(address, **Aws(running_aws).service_environment()) as service:
        service.wait_for("own account")
        yield service
