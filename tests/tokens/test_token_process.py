"""A service process with keys of ``keys generate`` issues tokens, and Kuma's rules accept them."""

import signal
from pathlib import Path
from typing import Any

import yaml

from demos.kuma.validator import DataplaneResource, KumaValidator
from tests.support.process import Served, run, served, socket_address
from tests.support.tokens import claims_of
from tests.support.world import PROXY, Aws


def exchange(service: Served, credential: str) -> str:
    answer = service.client.post("/v1/token", json={"credential": credential, "proxy": PROXY})
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


def test_a_generated_key_serves_both_sides_and_sighup_ends_the_reuse(aws: Aws, tmp_path: Path) -> None:
    printed = run(
        "keys", "generate", "--kind", "dataplane", "--mesh", "default", "--kid", "default-1", "--out", str(tmp_path)
    )
    assert printed.status == 0, printed.err
    configuration: dict[str, Any] = yaml.safe_load(printed.out)
    keys = tmp_path / "dataplane.keys"
    keys.write_text(printed.out.splitlines()[1].removeprefix("#   "))
    credential = aws.credential()
    variables = {**aws.service_environment(), "KMESH_AWSIAM_DATAPLANE_KEYS_FILE": str(keys)}
    with socket_address() as address, served(address, **variables) as service:
        service.wait_for("own account")
        token = exchange(service, credential)
        assert exchange(service, credential) == token
        claims = claims_of(token)
        resource = DataplaneResource(mesh="default", name="demo-app-1", tags={"kuma.io/service": {"demo-app"}})
        KumaValidator(configuration).check_dataplane(token, resource, claims["exp"] - 1)
        service.process.send_signal(signal.SIGHUP)
        service.wait_for("reloaded")
        fresh = exchange(service, credential)
        assert claims_of(fresh)["jti"] != claims["jti"]
        assert service.stop() == 0
        lines = [event for event in service.events() if event["event"] == "decision"]
    assert [line["token"]["origin"] for line in lines] == ["fresh", "reused", "fresh"]
    assert [line["token"]["jti"] for line in lines] == [claims["jti"], claims["jti"], claims_of(fresh)["jti"]]
    private = (tmp_path / "default-1.pem").read_text().splitlines()[1]
    assert not any(secret in "".join(service.lines) for secret in (private, token, fresh))
