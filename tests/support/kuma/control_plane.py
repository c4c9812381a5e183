"""An unmodified ``kuma-cp`` on loopback, with the memory store: its configuration, its API, and what it says of a proxy."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.kuma.program import Program, start, wait_until
from tests.support.kuma.release import KUMA
from tests.support.patience import PATIENCE
from tests.support.process import free_address

ZONE: Final = "zone-1"
DATAPLANES: Final = "/meshes/default/dataplanes"
_INSIGHTS: Final = ("dataplaneInsight", "zoneIngressInsight", "zoneEgressInsight")


def is_ready(api: httpx.Client) -> bool:
    """Whether a control plane answers, and has its default mesh."""
    with contextlib.suppress(httpx.TransportError):
        return api.get("/meshes/default").is_success
    return False


def is_online(api: httpx.Client, name: str, path: str = DATAPLANES) -> bool:
    """Whether the proxy's newest subscription has not ended, by which ``kumactl inspect`` calls a proxy online."""
    answer = api.get(f"{path}/{name}/_overview")
    if not answer.is_success:
        return False
    body = answer.json()
    insight: Mapping[str, Any] = next((body[key] for key in _INSIGHTS if key in body), {})
    subscriptions = insight.get("subscriptions", [])
    return bool(subscriptions) and "disconnectTime" not in subscriptions[-1]


@dataclass(slots=True)
class ControlPlane:
    """A control plane that can be restarted on the same ports; the memory store then loses everything.

    Attributes:
        port: of the DP server, to which proxies connect.
        program: the present process.
    """

    folder: Path
    port: int
    variables: Mapping[str, str]
    api: httpx.Client
    program: Program = field(init=False)

    def start(self) -> None:
        """Start the process, and wait until its API answers."""
        command = (KUMA.control_plane, "run", "--config-file", self.folder / "kuma-cp.yaml")
        self.program = start(self.folder, "kuma-cp", command, self.variables)
        try:
            self.wait_until_ready()
        except BaseException:
            self.program.stop()
            raise

    def wait_until_ready(self) -> None:
        """Wait until the API knows the default mesh."""
        wait_until(
            lambda: is_ready(self.api) or self.program.process.poll() is not None,
            lambda: f"kuma-cp does not answer; {self.program.tail()}",
        )
        assert self.program.process.poll() is None, f"kuma-cp ended; {self.program.tail()}"

    def restart(self) -> None:
        """End the process and start it again."""
        self.program.stop()
        self.start()

    def apply(self, path: str, resource: Mapping[str, Any]) -> None:
        """Create or replace a resource, as ``kumactl apply`` does."""
        answer = self.api.put(path, json=resource)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"

    def add_mesh(self, name: str, **specification: Any) -> None:
        """Create or replace a mesh."""
        self.apply(f"/meshes/{name}", {"type": "Mesh", "name": name, **specification})

    def revoke_by_secret(self, jti: str, mesh: str = "default") -> None:
        """Add a token's id to the Secret of the mesh that lists revoked tokens."""
        name = f"dataplane-token-revocations-{mesh}"
        secret = {"type": "Secret", "mesh": mesh, "name": name, "data": _encoded(jti)}
        self.apply(f"/meshes/{mesh}/secrets/{name}", secret)

    def revoke_by_global_secret(self, jti: str, name: str) -> None:
        """Add a token's id to a GlobalSecret that lists revoked tokens."""
        self.apply(f"/global-secrets/{name}", {"type": "GlobalSecret", "name": name, "data": _encoded(jti)})

    def is_online(self, name: str, path: str = DATAPLANES) -> bool:
        """Whether a proxy is online; see the function."""
        return is_online(self.api, name, path)

    def wait_until_online(self, name: str, program: Program, path: str = DATAPLANES) -> None:
        """Wait until a proxy is online; a failure shows the end of its log."""
        wait_until(
            lambda: self.is_online(name, path) or program.process.poll() is not None,
            lambda: f"{name} is not online; {program.tail()}\n{self.program.tail()}",
        )
        assert program.process.poll() is None, f"{name} ended; {program.tail()}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def local_variables(folder: Path) -> dict[str, str]:
    """Return what a control plane on a shared loopback needs: free ports, a folder, and an API that the tests may call."""
    ports = {name: str(_port(free_address())) for name in _PORTS}
    return {**_LOCAL, **ports, "KUMA_GENERAL_WORK_DIR": str(folder / "kuma-cp")}


def api_client(variables: Mapping[str, str]) -> httpx.Client:
    """Return a client of the API of a control plane with these variables."""
    base_url = f"http://127.0.0.1:{variables['KUMA_API_SERVER_HTTP_PORT']}"
    return httpx.Client(base_url=base_url, timeout=PATIENCE, trust_env=False)


@contextlib.contextmanager
def running_control_plane(
    folder: Path, configuration: str, certificate: tuple[Path, Path], **changes: str
) -> Iterator[ControlPlane]:
    """Run a control plane with a configuration file and a certificate; `changes` are further variables."""
    (folder / "kuma-cp.yaml").write_text(configuration, "utf-8")
    cert, key = certificate
    files = {"KUMA_GENERAL_TLS_CERT_FILE": str(cert), "KUMA_GENERAL_TLS_KEY_FILE": str(key)}
    variables = {**_SETTINGS, **local_variables(folder), **files, **changes}
    with api_client(variables) as api:
        control_plane = ControlPlane(folder, int(variables["KUMA_DP_SERVER_PORT"]), variables, api)
        control_plane.start()
        try:
            yield control_plane
        finally:
            control_plane.program.stop()


_PORTS: Final = (
    "KUMA_DP_SERVER_PORT",
    "KUMA_API_SERVER_HTTP_PORT",
    "KUMA_API_SERVER_HTTPS_PORT",
    "KUMA_DIAGNOSTICS_SERVER_PORT",
    "KUMA_MONITORING_ASSIGNMENT_SERVER_PORT",
    "KUMA_INTER_CP_SERVER_PORT",
    "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_PORT",
)
_LOCAL: Final = {
    "KUMA_REPORTS_ENABLED": "false",  # otherwise the program reports its use to its makers
    "KUMA_API_SERVER_HTTP_INTERFACE": "127.0.0.1",
    "KUMA_API_SERVER_HTTPS_INTERFACE": "127.0.0.1",
}
_SETTINGS: Final = {
    "KUMA_ENVIRONMENT": "universal",
    "KUMA_MODE": "zone",
    "KUMA_MULTIZONE_ZONE_NAME": ZONE,
    "KUMA_STORE_TYPE": "memory",
}
