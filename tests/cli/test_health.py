"""``health``: for a HEALTHCHECK without a shell."""

import pytest

from tests.cli.conftest import Invoke
from tests.support.process import Served, free_address, run_cold, served
from tests.support.world import OLD_GENERATION, Aws


@pytest.mark.parametrize("variable", ["KMESH_AWSIAM_LISTEN", "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"])
def test_it_finds_the_service_by_the_services_own_variables(invoke: Invoke, live: Served, variable: str) -> None:
    result = invoke("health", **{variable: live.address})
    assert (result.exit_code, result.stdout) == (0, '{"status":"healthy"}\n')


def test_it_asks_the_diagnostics_before_the_api(invoke: Invoke, live: Served) -> None:
    variables = {"KMESH_AWSIAM_LISTEN": free_address(), "KMESH_AWSIAM_DIAGNOSTICS_LISTEN": live.address}
    assert invoke("health", **variables).exit_code == 0


def test_it_asks_where_it_is_told(invoke: Invoke, live: Served) -> None:
    assert invoke("health", "--service", live.address, KMESH_AWSIAM_LISTEN=free_address()).exit_code == 0


def test_it_asks_whether_calls_should_be_sent(invoke: Invoke, live: Served) -> None:
    result = invoke("health", "--ready", "--service", live.address)
    assert result.exit_code == 0
    assert '"ready":true' in result.stdout


def test_alive_and_not_ready_are_told_apart_over_tcp(invoke: Invoke, aws: Aws) -> None:
    """A service without AWS is alive, and a restart would not help."""
    assert aws.emulator.url
    address = free_address()
    with served(address, **OLD_GENERATION):
        assert invoke("health", "--service", address).exit_code == 0
        result = invoke("health", "--ready", "--service", address)
        assert result.exit_code == 1
        assert "503" in result.stderr
        assert "task role" in result.stderr


def test_no_service_is_a_failure_with_a_sentence(invoke: Invoke) -> None:
    address = free_address()
    result = invoke("health", "--service", address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert address in result.stderr
    assert "refuses the connection; nothing listens there" in result.stderr


@pytest.mark.parametrize("host", ["iam..mesh", f"{'a' * 64}.mesh"], ids=["empty-label", "long-label"])
def test_a_host_that_can_be_no_name_in_dns_is_a_failure_with_a_sentence(invoke: Invoke, host: str) -> None:
    result = invoke("health", "--service", f"{host}:5690")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{host}:5690 is no host name that DNS can have" in result.stderr


def test_no_socket_is_a_failure_with_a_sentence() -> None:
    done = run_cold("health", "--service", "unix:/nowhere/api.sock")
    assert (done.status, done.out) == (1, "")
    assert "unix:/nowhere/api.sock" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("address", ["5690", "unix:api.sock", "localhost:99999"])
def test_an_address_that_is_none_is_a_usage_error(invoke: Invoke, address: str) -> None:
    assert invoke("health", "--service", address).exit_code == 2


def test_proxies_of_the_environment_are_not_used(invoke: Invoke, live: Served) -> None:
    proxy = f"http://{free_address()}"
    result = invoke("health", "--service", live.address, HTTP_PROXY=proxy, http_proxy=proxy, ALL_PROXY=proxy)
    assert result.exit_code == 0
