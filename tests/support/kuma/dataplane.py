"""An unmodified ``kuma-dp`` with a real Envoy on loopback, and the resources that it is started with."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.kuma.program import Program, start
from tests.support.kuma.release import KUMA
from tests.support.process import free_address

REFUSED: Final = r"authentication failed: [^\n]*"
"""What a proxy's Envoy logs if the control plane refuses its stream."""

Resource = dict[str, Any]


def free_port() -> int:
    """Return a loopback port on which nobody listens at this moment."""
    return int(free_address().rpartition(":")[2])


def dataplane(
    name: str,
    service: str = "demo-app",
    *,
    mesh: str = "default",
    labels: Mapping[str, str] | None = None,
    port: int | None = None,
    service_port: int | None = None,
    outbounds: Mapping[str, int] | None = None,
) -> Resource:
    """Return a ``Dataplane`` with one inbound, and one outbound for each service in `outbounds` (service to port)."""
    inbound: Resource = {
        "port": port or free_port(),
        "servicePort": service_port or free_port(),
        "tags": {"kuma.io/service": service, "kuma.io/protocol": "http"},
    }
    networking: Resource = {"address": "127.0.0.1", "inbound": [inbound], "admin": {"port": free_port()}}
    if outbounds:
        networking["outbound"] = [
            {"port": each, "tags": {"kuma.io/service": service}} for service, each in outbounds.items()
        ]
    resource: Resource = {"type": "Dataplane", "mesh": mesh, "name": name, "networking": networking}
    return resource | ({"labels": dict(labels)} if labels else {})


def zone_proxy(kind: str, name: str) -> Resource:
    """Return a ``ZoneIngress`` or ``ZoneEgress``."""
    networking: Resource = {"address": "127.0.0.1", "port": free_port(), "admin": {"port": free_port()}}
    if kind == "ZoneIngress":
        networking |= {"advertisedAddress": "127.0.0.1", "advertisedPort": networking["port"]}
    return {"type": kind, "name": name, "networking": networking}


def command(resource_file: Path, token_file: Path, *options: str) -> Sequence[str | Path]:
    """Return the command line of ``kuma-dp run`` as the documentation gives it."""
    return [KUMA.dataplane, "run", "--dataplane-file", resource_file, "--dataplane-token-file", token_file, *options]


def local_dataplane_variables(folder: Path, sockets: Path) -> dict[str, str]:
    """Return what a proxy on a shared loopback needs beside its command: free ports, folders, and Envoy's path."""
    return {
        "KUMA_DATAPLANE_RUNTIME_BINARY_PATH": str(KUMA.envoy),
        "KUMA_DATAPLANE_RUNTIME_CONFIG_DIR": str(folder),
        "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR": str(sockets),
        "KUMA_DATAPLANE_DRAIN_TIME": "1s",
        "KUMA_DNS_ENABLED": "false",
        "KUMA_READINESS_PORT": str(free_port()),
        "KUMA_APPLICATION_PROBE_PROXY_PORT": "0",
    }


def variables(folder: Path, sockets: Path, port: int, authority: Path) -> dict[str, str]:
    """The same, with the address of the DP server and the authority of its certificate."""
    return {
        **local_dataplane_variables(folder, sockets),
        "KUMA_CONTROL_PLANE_URL": f"https://localhost:{port}",
        "KUMA_CONTROL_PLANE_CA_CERT_FILE": str(authority),
    }


def proxy_type_of(resource: Resource) -> str:
    """Return kuma-dp's word for the kind of a resource."""
    return {"Dataplane": "dataplane", "ZoneIngress": "ingress", "ZoneEgress": "egress"}[resource["type"]]


@contextlib.contextmanager
def running_dataplane(
    folder: Path,
    resource: Resource,
    token_file: Path,
    *,
    port: int,
    authority: Path,
    options: Sequence[str] = (),
) -> Iterator[Program]:
    """Run a proxy with a token file against the DP server on a port, until the end of the block."""
    name = resource["name"]
    own = folder / name
    own.mkdir(exist_ok=True)
    resource_file = own / "resource.yaml"
    resource_file.write_text(json.dumps(resource), "utf-8")  # JSON is YAML
    # A socket's path has at most 107 bytes, which the folder of a test can exceed.
    with tempfile.TemporaryDirectory(prefix="kuma-dp-") as sockets:
        environment = variables(own, Path(sockets), port, authority)
        line = command(resource_file, token_file, "--proxy-type", proxy_type_of(resource), *options)
        program = start(own, name, line, environment)
        try:
            yield program
        finally:
            program.stop()
