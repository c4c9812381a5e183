"""A real proxy joins a real control plane through the shipped Envoy configuration, with its AWS credential."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.core.signed_request import CredentialForm
from tests.support.kuma.release import KUMA

# isort: split
# After the import that skips this module if there is no Kuma.
from demos.envoy.envoy import Upstreams, running_envoy
from tests.support.kuma.dataplane import REFUSED, Resource, dataplane, free_port
from tests.support.kuma.program import Program, wait_until
from tests.support.kuma.stage import AUDIENCE, Stage, audit_lines, open_stage
from tests.support.process import ROOT, clean_environment
from tests.support.world import recipe_of

CLOSED = r"closed: \d+, [^\n]*"


@dataclass(frozen=True)
class Front:
    """A stage with Envoy in front of its DP server; `port` is Envoy's."""

    stage: Stage
    port: int

    def credential_file(self, role: str) -> Path:
        """Have an agent write a credential once."""
        path = self.stage.folder / f"{role}.credential"
        options = ("--mode", "credential", "--token-file", str(path), "--once")
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "app", "agent", *options],
            env=clean_environment(**self.stage.task_variables(role)),
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return path

    def proxy(self, resource: Resource, file: Path) -> contextlib.AbstractContextManager[Program]:
        """Run a proxy that connects to Envoy."""
        return self.stage.proxy(resource, file, port=self.port)


@pytest.fixture(scope="module")
def front_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stage(folder: Path, front_port: int) -> Iterator[Stage]:
    with open_stage(folder, control_plane={"KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT": str(front_port)}) as stage:
        stage.add_role("web", type="dataplane", mesh="default", service="web")
        stage.add_role("untagged")
        yield stage


@pytest.fixture
async def front(stage: Stage, front_port: int, tmp_path: Path) -> AsyncIterator[Front]:
    port = stage.control_plane.port
    upstreams = Upstreams(service=stage.service.address, streams_port=port, bootstrap_port=port)
    listener = (
        r"(name: dp_server\n\s+address: \{ socket_address: \{ address: 127\.0\.0\.1, port_value: )0",
        rf"\g<1>{front_port}",
    )
    async with running_envoy(tmp_path, stage.authority, upstreams, (listener,)):
        yield Front(stage, front_port)


async def test_a_proxy_joins_with_its_credential(front: Front) -> None:
    resource = dataplane("web-1", "web")
    with front.proxy(resource, front.credential_file("web")) as proxy:
        front.stage.control_plane.wait_until_online("web-1", proxy)
    assert any(line["outcome"] == "allowed" for line in audit_lines(front.stage.service))


async def test_the_control_plane_learns_by_hds_whether_the_workload_answers(front: Front) -> None:
    """The second stream of a proxy, which passes through Envoy as the first one does."""
    resource = dataplane("web-2", "web")
    inbound = resource["networking"]["inbound"][0]
    inbound["serviceProbe"] = {"interval": "1s", "timeout": "1s", "healthyThreshold": 1, "tcp": {}}

    def is_ready() -> Any:
        answer = front.stage.control_plane.api.get("/meshes/default/dataplanes/web-2")
        found = answer.json()["networking"]["inbound"][0] if answer.is_success else {}
        return found.get("state") == "Ready" or found.get("health", {}).get("ready")

    with front.proxy(resource, front.credential_file("web")) as proxy:
        front.stage.control_plane.wait_until_online("web-2", proxy)
        assert not is_ready()
        with socket.create_server(("127.0.0.1", inbound["servicePort"])):
            wait_until(is_ready, lambda: f"{KUMA.name}: the inbound never became ready; {proxy.tail()}")


async def test_another_service_is_refused_by_the_control_plane(front: Front) -> None:
    """Envoy does not know the Dataplane, so the control plane compares it with the token."""
    with front.proxy(dataplane("web-3", "admin"), front.credential_file("web")) as proxy:
        assert "which is not allowed with this token" in proxy.wait_for(REFUSED)


async def test_a_role_without_tags_is_denied_by_the_service(front: Front) -> None:
    """PERMISSION_DENIED (7), with the problem document of the service."""
    with front.proxy(dataplane("web-4", "web"), front.credential_file("untagged")) as proxy:
        line = proxy.wait_for(CLOSED)
    assert line.startswith("closed: 7, ")
    assert "role_type_missing" in line


async def test_an_expired_credential_is_rejected_by_the_service(front: Front, tmp_path: Path) -> None:
    """UNAUTHENTICATED (16), with the problem document of the service."""
    recipe = recipe_of(front.stage.aws.task("web"), CredentialForm.JWT, now=datetime.now(UTC) - timedelta(minutes=20))
    path = tmp_path / "expired"
    path.write_text(replace(recipe, audience=AUDIENCE).credential(), "ascii")
    with front.proxy(dataplane("web-5", "web"), path) as proxy:
        line = proxy.wait_for(CLOSED)
    assert line.startswith("closed: 16, ")
    assert "credential_expired" in line
