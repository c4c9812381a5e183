"""The probes under the names that Kuma uses, and Prometheus's metrics."""

from tests.api.conftest import Client
from tests.support.exposition import read_samples, value
from tests.support.world import Aws


async def test_healthy_says_that_the_process_serves(either: Client) -> None:
    response = await either.get("/healthy")
    assert (response.status_code, response.json()) == (200, {"status": "healthy"})


async def test_ready_says_so_and_what_aws_answered_last(live: Client, aws: Aws) -> None:
    before = await live.get("/ready")
    assert (before.status_code, before.json()["ready"], before.json()["detail"]) == (200, True, "ready")
    await live.post("/v1/authenticate", json={"credential": aws.credential()})
    assert (await live.get("/ready")).json()["upstreams"] == {"sts": "ok", "iam": "ok"}


async def test_ready_tells_of_an_aws_in_plain_http_and_is_no_less_ready(live: Client, client: Client) -> None:
    """`/ready` names the upstreams that are called over plain HTTP, here the emulator, and still answers 200."""
    response = await live.get("/ready")
    assert (response.status_code, response.json()["withoutTls"]) == (200, ["sts", "iam"])
    assert (await client.get("/ready")).json()["withoutTls"] == []


async def test_metrics_are_in_prometheus_text_format(client: Client) -> None:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert value(read_samples(response.text), "kuma_aws_iam_ready") == 1


async def test_no_metric_is_the_process_wide_registrys(client: Client) -> None:
    names = {name for name, _ in read_samples((await client.get("/metrics")).text)}
    assert all(name.startswith("kuma_aws_iam_") for name in names)
