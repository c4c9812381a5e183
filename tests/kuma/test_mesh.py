"""Two services of a real mesh: one calls the other with mTLS of the Mesh, and an impostor is refused (up to 2.14).

tests/kuma/test_mesh_identity.py is the same with MeshIdentity.

The test prints a transcript; ``make test-kuma T=tests/kuma/test_mesh.py`` shows it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.kuma.release import KUMA, until

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, Outbound, dataplane, free_port
from tests.support.kuma.echo import call_until, echo_server
from tests.support.kuma.stage import Stage, claims_of, open_stage

pytestmark = until(2, 14)
MTLS = {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]}
ALLOW_WEB = {
    "type": "MeshTrafficPermission",
    "mesh": "shop",
    "name": "web-calls-counter",
    "spec": {
        "targetRef": {"kind": "Mesh"},
        "from": [
            {
                "targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}},
                "default": {"action": "Allow"},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder) as stage:
        stage.control_plane.add_mesh("shop", mtls=MTLS)
        stage.control_plane.apply("/meshes/shop/meshtrafficpermissions/web-calls-counter", ALLOW_WEB)
        for service in ("web", "counter", "batch"):
            stage.add_role(service, type="dataplane", mesh="shop", service=service)
        yield stage


def say(text: str) -> None:
    print(text)  # noqa: T201 - the transcript


def test_one_service_calls_the_other_with_mtls_and_an_impostor_is_refused(stage: Stage) -> None:
    say(f"Kuma {KUMA.name}: kuma-cp is up, mesh shop with mTLS; only web may call counter")
    to_counter, from_batch = free_port(), free_port()
    with echo_server("counter") as port:
        counter = dataplane("counter-1", "counter", mesh="shop", service_port=port)
        web = dataplane("web-1", "web", mesh="shop", outbounds=[Outbound("counter", to_counter, port)])
        batch = dataplane("batch-1", "batch", mesh="shop", outbounds=[Outbound("counter", from_batch, port)])
        tokens = {
            each["name"]: stage.token_for(each["networking"]["inbound"][0]["tags"]["kuma.io/service"], each)
            for each in (counter, web, batch)
        }
        for name, token in tokens.items():
            say(f"{name}: the agent has a token for {json.dumps(claims_of(token)['Tags'])}")
        with (
            stage.proxy(counter, tokens["counter-1"]) as first,
            stage.proxy(web, tokens["web-1"]) as second,
            stage.proxy(batch, tokens["batch-1"]) as third,
        ):
            for name, program in (("counter-1", first), ("web-1", second), ("batch-1", third)):
                stage.control_plane.wait_until_online(name, program, "/meshes/shop/dataplanes")
                say(f"{name}: online")
            answer = call_until(to_counter, 200)
            certificate = answer.json()["headers"]["x-forwarded-client-cert"]
            caller = re.findall(r"URI=(spiffe:[^;]*)", certificate)
            say(f"web-1 -> counter-1: {answer.status_code}, served by {answer.json()['served_by']}")
            say(f"counter-1 saw the certificate of {' '.join(caller)}")
            assert caller == ["spiffe://shop/web"]
            refused = call_until(from_batch, 403)
            say(f"batch-1 -> counter-1: {refused.status_code} {refused.text}")
            plain = counter["networking"]["inbound"][0]["port"]
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{plain}/", trust_env=False)
            say("a client without a certificate -> counter-1: connection closed")
            impostor = dataplane("counter-2", "counter", mesh="shop")
            with stage.proxy(impostor, tokens["batch-1"]) as program:
                line = program.wait_for(REFUSED)
                say(f"counter-2, with the token of batch: {line}")
                assert "which is not allowed with this token" in line
            assert not stage.control_plane.is_online("counter-2", "/meshes/shop/dataplanes")
