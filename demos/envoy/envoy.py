"""A real Envoy with the configuration that this repository ships: nothing of it is another but addresses and files."""

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from demos.envoy.certificates import NAME, Authority, Certificate

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = ROOT / "config/envoy/envoy.yaml"
CERTIFICATE: Final = ROOT / "config/envoy/listener-certificate.yaml"
REMEDY: Final = "there is no Envoy here; install it: make install-envoy"

_START_SECONDS: Final = 90.0  # the processor may be busy with other work


class EnvoyError(Exception):
    """It did not start; the message holds what it printed, or what is missing."""


def find_envoy() -> Path | None:
    """Find the program: the one of this virtual environment, else of the search path."""
    beside = Path(sys.executable).with_name("envoy")
    found = shutil.which("envoy")
    return beside if beside.exists() else Path(found) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Where the service is, by its own word for it (``unix:`` too), and the control plane's two ports on loopback."""

    service: str
    streams_port: int
    bootstrap_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Envoy:
    """One that runs.

    Attributes:
        port: of its listener.
        statistics_port: of its statistics.
        authority: of all certificates.
        admin: a client of its admin interface.
        folder: its files.
    """

    port: int
    statistics_port: int
    authority: Authority
    admin: httpx.AsyncClient
    folder: Path

    def log(self) -> str:
        """Return what it printed so far, its access log among it."""
        return (self.folder / "log").read_text("utf-8", errors="replace")

    def renew(self, certificate: Certificate) -> None:
        """Replace the certificate of its listener, as an operator does."""
        certificate.write(self.folder / "tls/tls.crt", self.folder / "tls/tls.key")


def configuration(folder: Path, upstreams: Upstreams, changes: Iterable[tuple[str, str]] = ()) -> str:
    """Return the shipped configuration with the addresses and files of this stage, and with further changes.

    Raises:
        EnvoyError: something that is to be changed is not there.
    """
    text = SHIPPED.read_text("utf-8")
    for pattern, replacement in (
        (r"address: 0\.0\.0\.0, port_value: 5678", "address: 127.0.0.1, port_value: 0"),
        (r"port_value: 9910", "port_value: 0"),
        (r"/run/envoy/admin\.sock", str(folder / "admin.sock")),
        (r"/etc/envoy/", f"{folder}/"),
        (r"control-plane\.internal", NAME),
        (r"\{ socket_address: \{ address: 127\.0\.0\.1, port_value: 5690 \} \}", _address(upstreams.service)),
        (r"(cluster_name: dp_server_streams\n(?:.*\n)*?.*port_value: )5679", rf"\g<1>{upstreams.streams_port}"),
        (r"(cluster_name: dp_server_bootstrap\n(?:.*\n)*?.*port_value: )5679", rf"\g<1>{upstreams.bootstrap_port}"),
        *changes,
    ):
        text, times = re.subn(pattern, replacement, text)
        if not times:
            raise EnvoyError(f"the shipped configuration has no {pattern}")
    return text


def _address(listen: str) -> str:
    if listen.startswith("unix:"):
        return f"{{ pipe: {{ path: {listen.removeprefix('unix:')} }} }}"
    host, _, port = listen.rpartition(":")
    return f"{{ socket_address: {{ address: {host}, port_value: {port} }} }}"


@contextlib.asynccontextmanager
async def running_envoy(
    folder: Path, authority: Authority, upstreams: Upstreams, changes: Iterable[tuple[str, str]] = (), **variables: str
) -> AsyncIterator[Envoy]:
    """Start it in a folder; comes back once it takes connections.

    Raises:
        EnvoyError: it does not start.
    """
    program = find_envoy()
    if program is None:
        raise EnvoyError(REMEDY)
    (folder / "tls").mkdir()
    (folder / "tls/dp-server-ca.pem").write_bytes(authority.cert)
    authority.issue("front").write(folder / "tls/tls.crt", folder / "tls/tls.key")
    shipped = CERTIFICATE.read_text("utf-8")
    (folder / "listener-certificate.yaml").write_text(shipped.replace("/etc/envoy/", f"{folder}/"), "utf-8")
    (folder / "envoy.yaml").write_text(configuration(folder, upstreams, changes), "utf-8")
    arguments = (
        "--disable-hot-restart",
        "--concurrency",
        "2",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "50",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - it is at once; and the program that was found
            [program, "-c", folder / "envoy.yaml", *arguments], stdout=log, stderr=subprocess.STDOUT, env=variables
        )
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "admin.sock"), trust_env=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as admin:
            ports = await _ports(process, admin, folder)
            yield Envoy(
                port=ports["dp_server"],
                statistics_port=ports["statistics"],
                authority=authority,
                admin=admin,
                folder=folder,
            )
    finally:
        process.kill()
        process.wait()


async def _ports(process: "subprocess.Popen[bytes]", admin: httpx.AsyncClient, folder: Path) -> dict[str, int]:
    """Wait until it is ready, and ask where it listens."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_SECONDS):
            while process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await admin.get("/ready")).is_success:
                        return _listeners((await admin.get("/listeners?format=json")).json())
                await asyncio.sleep(0.02)
    raise EnvoyError(f"Envoy did not start:\n{(folder / 'log').read_text('utf-8', errors='replace')}")


def _listeners(answer: dict[str, Any]) -> dict[str, int]:
    return {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in answer["listener_statuses"]}
