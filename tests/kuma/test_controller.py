"""Real proxies join a real control plane with the tokens that the controller puts into secrets.

A proxy gets its token as ECS gives it: in the variable ``KUMA_DATAPLANE_RUNTIME_TOKEN``.
"""

import base64
import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml

from tests.support.kuma.release import KUMA, since

# isort: split
# After the import that skips this module if there is no Kuma.
from demos.controller.ecs_stand_in import CLUSTER, Ecs, ecs_stand_in
from demos.envoy.certificates import Authority
from tests.support.keys import public_pem, rsa_key
from tests.support.kuma.control_plane import ControlPlane, running_control_plane
from tests.support.kuma.dataplane import REFUSED, Resource, dataplane, variables
from tests.support.kuma.program import Program, start
from tests.support.kuma.stage import Keys, make_keys
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment

GROUP = "ecs-controller"


@dataclass(frozen=True)
class Deployed:
    """A control plane that issues tokens and also knows the public keys of the controller."""

    folder: Path
    ecs: Ecs
    keys: Keys
    authority: Authority
    control_plane: ControlPlane
    api_token: str

    @property
    def api_url(self) -> str:
        """The address of the API with TLS."""
        return f"https://localhost:{self.control_plane.variables['KUMA_API_SERVER_HTTPS_PORT']}"

    def run_controller(self, *arguments: str) -> list[dict[str, Any]]:
        """Make one pass. Return the log."""
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "app", "controller", *arguments, "--cluster", CLUSTER, "--once"],
            env=clean_environment(
                AWS_REGION="eu-west-1",
                AWS_ACCESS_KEY_ID="testing",
                AWS_SECRET_ACCESS_KEY="testing",
                AWS_ENDPOINT_URL_ECS=self.ecs.url,
                AWS_ENDPOINT_URL_SECRETS_MANAGER=self.ecs.url,
                KUMA_API_TOKEN=self.api_token,
                KUMA_API_CA_BYTES=base64.b64encode(self.authority.cert).decode(),
            ),
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextlib.contextmanager
    def proxy(self, resource: Resource, token: str) -> Iterator[Program]:
        """Run a proxy as the task definition does: the token is a variable, which ECS takes from the secret."""
        own = self.folder / resource["name"]
        own.mkdir(exist_ok=True)
        (own / "resource.yaml").write_text(json.dumps(resource), "utf-8")
        authority_file = self.folder / "ca.pem"
        with tempfile.TemporaryDirectory(prefix="kuma-dp-") as sockets:
            environment = variables(own, Path(sockets), self.control_plane.port, authority_file)
            environment["KUMA_DATAPLANE_RUNTIME_TOKEN"] = token
            command = [KUMA.dataplane, "run", "--dataplane-file", own / "resource.yaml"]
            program = start(own, resource["name"], command, environment)
            try:
                yield program
            finally:
                program.stop()


@pytest.fixture(scope="module")
def deployed(folder: Path) -> Iterator[Deployed]:
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.cert)
    certificate = folder / "server.pem", folder / "server.key"
    authority.issue("control plane").write(*certificate)
    keys = make_keys(folder / "keys")
    configuration = yaml.safe_load(keys.configuration)
    token = configuration["dpServer"]["authn"]["dpProxy"]["dpToken"]
    token["enableIssuer"] = token["validator"]["useSecrets"] = True
    users = [{"kid": "user-1", "key": public_pem(rsa_key(4))}]
    configuration["apiServer"] = {"authn": {"tokens": {"validator": {"useSecrets": True, "publicKeys": users}}}}
    with (
        ecs_stand_in() as ecs,
        running_control_plane(
            folder,
            yaml.safe_dump(configuration),
            certificate,
            # Otherwise every call from this host would have all rights, whatever its token says.
            KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN="false",
            KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN_GROUPS=f"mesh-system:admin,{GROUP}",
        ) as control_plane,
    ):
        yield Deployed(folder, ecs, keys, authority, control_plane, _user_token())


def _user_token() -> str:
    """Sign a token of a user that may only generate data plane tokens, as `kumactl generate user-token` does offline."""
    now = int(time.time())
    claims = {"Name": GROUP, "Groups": [GROUP], "jti": "1", "iat": now - 60, "nbf": now - 60, "exp": now + 3600}
    return jwt.encode(claims, rsa_key(4), algorithm="RS256", headers={"kid": "user-1"})


def arguments(deployed: Deployed, issuer: str) -> list[str]:
    if issuer == "api":
        return ["--api-server-url", deployed.api_url]
    return ["--signing-keys", str(deployed.folder / "keys" / "dataplane.keys")]


@pytest.mark.parametrize("issuer", ["api", "keys"])
def test_a_proxy_joins_with_the_token_of_its_secret(deployed: Deployed, issuer: str) -> None:
    service = f"web-{issuer}"
    deployed.ecs.add_task(service=service, status="PENDING")
    deployed.ecs.add_secret(service)
    lines = deployed.run_controller(*arguments(deployed, issuer))
    token = deployed.ecs.value(service)["token"]
    [put] = [line for line in lines if line["event"] == "token put" and line["service"] == service]
    assert put["token"]["jti"] == jwt.decode(token, options={"verify_signature": False})["jti"]
    with deployed.proxy(dataplane(f"{service}-1", service), token) as proxy:
        deployed.control_plane.wait_until_online(f"{service}-1", proxy)
    # The token is bound to its service.
    with deployed.proxy(dataplane(f"{service}-2", "admin"), token) as proxy:
        assert 'value "admin" which is not allowed' in proxy.wait_for(REFUSED).replace("\\", "")


@since(2, 13)
@pytest.mark.parametrize("issuer", ["api", "keys"])
def test_a_workload_is_bound(deployed: Deployed, issuer: str) -> None:
    service = f"job-{issuer}"
    deployed.ecs.add_task(service=service, workload="job")
    deployed.ecs.add_secret(service)
    deployed.run_controller(*arguments(deployed, issuer))
    token = deployed.ecs.value(service)["token"]
    labels = {"kuma.io/workload": "job"}
    with deployed.proxy(dataplane(f"{service}-1", service, labels=labels), token) as proxy:
        deployed.control_plane.wait_until_online(f"{service}-1", proxy)
    with deployed.proxy(dataplane(f"{service}-2", service, labels={"kuma.io/workload": "a"}), token) as proxy:
        proxy.wait_for(REFUSED)


def test_a_user_that_may_only_generate_these_tokens_is_enough(deployed: Deployed) -> None:
    """So no admin token needs to exist in the cluster."""
    headers = {"authorization": f"Bearer {deployed.api_token}"}
    trusted = ssl.create_default_context(cadata=deployed.authority.cert.decode())
    with httpx.Client(base_url=deployed.api_url, verify=trusted, trust_env=False) as client:
        assert client.get("/global-secrets", headers=headers).status_code == 403
        zone = {"zone": "east", "scope": ["ingress"], "validFor": "1h"}
        assert client.post("/tokens/zone", json=zone, headers=headers).status_code == 403


def test_a_replaced_token_stays_valid_and_a_running_proxy_stays_online(deployed: Deployed) -> None:
    deployed.ecs.add_task(service="renewed")
    deployed.ecs.add_secret("renewed")
    deployed.run_controller(*arguments(deployed, "keys"))
    first = deployed.ecs.value("renewed")["token"]
    with deployed.proxy(dataplane("renewed-1", "renewed"), first) as proxy:
        deployed.control_plane.wait_until_online("renewed-1", proxy)
        deployed.ecs.add_secret("renewed")
        deployed.run_controller(*arguments(deployed, "keys"))
        second = deployed.ecs.value("renewed")["token"]
        assert second != first
        with deployed.proxy(dataplane("renewed-2", "renewed"), second) as other:
            deployed.control_plane.wait_until_online("renewed-2", other)
        assert deployed.control_plane.is_online("renewed-1")
    with deployed.proxy(dataplane("renewed-3", "renewed"), first) as proxy:
        deployed.control_plane.wait_until_online("renewed-3", proxy)
