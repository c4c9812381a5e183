"""An unmodified ``kuma-dp`` with a real Envoy on loopback, and the resources that it is started with."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.support.kuma.program import Program, start
from tests.support.kuma.release import KUMA
from tests.support.process import free_address

REFUSED: Final = r"authentication failed: [^\n]*"
"""What a proxy's Envoy logs if the control plane refuses its stream."""

Resource = dict[str, Any]


class Outbound(NamedTuple):
    """Where a workload calls a service.

    Attributes:
        service: up to 2.14 the tag ``kuma.io/service``, from 3.0 on the name of the resource in ``backendRef``.
        port: of this proxy, on loopback.
        destination_port: the port of the service's inbounds, or of the MeshExternalService.
        kind: of ``backendRef``.
    """

    service: str
    port: int
    destination_port: int
    kind: str = "MeshService"

    def resource(self) -> Resource:
        """Return it in the form of the release."""
        if not KUMA.has_only_labels:
            return {"port": self.port, "tags": {"kuma.io/service": self.service}}
        backend = {"kind": self.kind, "name": self.service, "port": self.destination_port}
        return {"port": self.port, "backendRef": backend}


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
    outbounds: Sequence[Outbound] = (),
) -> Resource:
    """Return a ``Dataplane`` with one inbound, in the form of the release.

    Args:
        name: of the resource.
        service: the inbound's tag ``kuma.io/service`` up to 2.14, the label of that name from 3.0 on.
        mesh: of the resource.
        labels: further labels.
        port: of the inbound; a free one without it.
        service_port: of the workload; a free one without it.
        outbounds: the services that the workload calls.
    """
    inbound: Resource = {"port": port or free_port(), "servicePort": service_port or free_port()}
    networking: Resource = {"address": "127.0.0.1", "inbound": [inbound], "admin": {"port": free_port()}}
    own: dict[str, str] = {}
    if KUMA.has_only_labels:
        inbound["protocol"] = "http"
        own["kuma.io/service"] = service
    else:
        inbound["tags"] = {"kuma.io/service": service, "kuma.io/protocol": "http"}
    if outbounds:
        networking["outbound"] = [outbound.resource() for outbound in outbounds]
    own |= labels or {}
    resource: Resource = {"type": "Dataplane", "mesh": mesh, "name": name, "networking": networking}
    return resource | ({"labels": own} if own else {})


def services_of(resource: Resource) -> list[str]:
    """Return each value of ``kuma.io/service`` in the inbounds' tags."""
    inbounds = resource["networking"].get("inbound", ())
    return [inbound["tags"]["kuma.io/service"] for inbound in inbounds if "tags" in inbound]


def zone_dataplane(kind: str, name: str, mesh: str = "default", **labels: str) -> Resource:
    """Return a ``Dataplane`` with a zone listener (2.14 and later); its workload is its name."""
    listener = {"type": kind, "address": "127.0.0.1", "port": free_port(), "name": kind.lower()}
    return {
        "type": "Dataplane",
        "mesh": mesh,
        "name": name,
        "labels": {"kuma.io/workload": name, **labels},
        "networking": {"address": "127.0.0.1", "admin": {"port": free_port()}, "listeners": [listener]},
    }


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
