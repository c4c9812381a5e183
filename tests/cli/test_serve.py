"""``serve`` with exactly the variables that the docs tell an operator to set."""

import pytest

from tests.cli.conftest import Invoke
from tests.support.process import free_address, served, served_cold, socket_address
from tests.support.world import ACCOUNT, NEW_GENERATION, OLD_GENERATION, PROXY, Aws

GENERATIONS = pytest.mark.parametrize("generation", [OLD_GENERATION, NEW_GENERATION], ids=["2.0-2.6", "2.7"])


@GENERATIONS
def test_the_named_variables_are_all_that_is_needed(aws: Aws, generation: dict[str, str]) -> None:
    """Issue 2, "What it must show". The emulator's variables replace AWS, and a free port replaces the address."""
    address = free_address()
    with served_cold(address, **generation, **aws.environment()) as service:
        service.wait_for("own account")
        assert service.client.get("/ready").status_code == 200
        answer = service.client.post("/v1/authenticate", json={"credential": aws.credential(), "proxy": PROXY})
        assert (answer.status_code, answer.json().get("reason")) == (200, None)
        assert answer.json()["principal"]["account"] == ACCOUNT


@GENERATIONS
def test_without_one_of_them_it_does_not_serve_and_names_it(invoke: Invoke, generation: dict[str, str]) -> None:
    named = generation.keys() - {"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"}  # without it zone proxies are off
    for missing in named:
        without = {name: value for name, value in generation.items() if name != missing}
        if missing == "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE":
            del without["KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"]
        result = invoke("serve", **without)
        assert (result.exit_code, result.stdout) == (2, "")
        assert missing in result.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:5690", "[::]:5690"])
def test_it_does_not_listen_where_others_can_reach_it(invoke: Invoke, address: str) -> None:
    result = invoke("serve", **OLD_GENERATION, KMESH_AWSIAM_LISTEN=address)
    assert result.exit_code == 2
    assert "KMESH_AWSIAM_LISTEN" in result.stderr


def test_what_is_worth_a_second_thought_is_logged_at_the_start(aws: Aws) -> None:
    variables = {**OLD_GENERATION, **aws.environment(), "HTTPS_PROXY": "http://user:canary@127.0.0.1:9"}
    with socket_address() as address, served(address, **variables) as service:
        details = [event["detail"] for event in service.events() if event["event"] == "setting"]
        service.wait_for("own account")  # through no proxy
    assert [detail.split()[0] for detail in details] == [
        "KMESH_AWSIAM_AUDIENCE",
        "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_IAM",
        "HTTPS_PROXY",
    ]
    assert "canary" not in "".join(service.lines)
