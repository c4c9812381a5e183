"""The stage of the demo: the emulator in a thread, and the service in a separate process, as in a container."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx
from botocore.credentials import ReadOnlyCredentials

from app.emulator.example import EXAMPLE
from app.emulator.server import Emulator
from app.emulator.world import World

CONTROL_PLANE_ACCOUNT: Final = "111122223333"
OTHER_ACCOUNT: Final = "444455556666"
STRANGERS_ACCOUNT: Final = "999988887777"
AUDIENCE: Final = "demo-control-plane"

_START_SECONDS: Final = 90.0  # the processor may be busy with other work
_POLL_SECONDS: Final = 0.05


class StageError(Exception):
    """The service did not start; the message contains the output of the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running emulator, a running service, and a client of the service."""

    emulator: Emulator
    client: httpx.Client
    service_url: str
    service: subprocess.Popen[bytes]
    authorized_accounts: tuple[str, ...]

    def task_credentials(self, account: str, role: str) -> ReadOnlyCredentials:
        """Return the credentials of a role, as an ECS task gets them."""
        session = self.emulator.issue(account, role)
        return ReadOnlyCredentials(session.access_key_id, session.secret_access_key, session.session_token)

    def run(self, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this project to its end, with this role of the control plane's account, as in a task."""
        return subprocess.run(  # noqa: S603 - a command of ours
            [sys.executable, "-m", "app", *arguments],
            env={
                **_environment_without_aws(),
                **self.emulator.environment(CONTROL_PLANE_ACCOUNT, role),
                "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
            },
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
        )

    @staticmethod
    def wait(seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)


def exit_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, so that it stops the processes that it started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def open_stage(*, verbose: bool, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Stage]:
    """Start the emulator and the service, and stop both on exit. ``settings`` are added to the demo's own settings.

    Raises:
        StageError: the service did not become ready.
    """
    accounts = (CONTROL_PLANE_ACCOUNT, OTHER_ACCOUNT)
    with tempfile.TemporaryDirectory(prefix="kuma-aws-iam-demo-") as folder, Emulator(_world()) as emulator:
        socket_path = Path(folder) / "api.sock"
        environment = {
            **_environment_without_aws(),
            **emulator.environment(CONTROL_PLANE_ACCOUNT, "kuma-aws-iam"),
            "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
            "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE": "aws-iam",
            "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
            "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ",".join(accounts),
            "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
            "KMESH_AWSIAM_READER_ROLE_NAME": "kuma-aws-iam-reader",
            "KMESH_AWSIAM_READER_EXTERNAL_ID": "kuma-control-plane",
            "KMESH_AWSIAM_LISTEN": f"unix:{socket_path}",
            "KMESH_AWSIAM_LOG_FORMAT": "human",
            **settings,
        }
        log_path = Path(folder) / "service.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                env=environment,
                stdout=None if verbose else log,
                stderr=None if verbose else subprocess.STDOUT,
            )
        transport = httpx.HTTPTransport(uds=str(socket_path), trust_env=False)
        try:
            with httpx.Client(transport=transport, base_url="http://service", timeout=_START_SECONDS) as client:
                _wait_until_ready(client, process, log_path)
                yield Stage(
                    emulator=emulator,
                    client=client,
                    service_url=f"unix:{socket_path}",
                    service=process,
                    authorized_accounts=accounts,
                )
        finally:
            process.terminate()
            process.wait()


def _world() -> World:
    """Return the example world with the additional roles of the demo. The service must deny most of these roles."""
    world = World.from_text(EXAMPLE)
    world.add_account(STRANGERS_ACCOUNT)
    tags = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/workload": "demo-app"}
    world.add_role(STRANGERS_ACCOUNT, "demo-app", tags=tuple(tags.items()))
    world.add_role(CONTROL_PLANE_ACCOUNT, "case-twin", tags=(*tags.items(), ("KUMA.IO/mesh", "payments")))
    egress = {"kuma.io/type": "egress", "kuma.io/mesh": "default", "kuma.io/workload": "egress"}
    world.add_role(CONTROL_PLANE_ACCOUNT, "mesh-egress", tags=tuple(egress.items()))
    return world


def _environment_without_aws() -> dict[str, str]:
    """Return this process's environment without the variables that name another AWS or change the configuration."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMESH_", "KUMA_", "PYTEST"))
    }


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if client.get("/ready").is_success:
                return
        time.sleep(_POLL_SECONDS)
    raise StageError(f"the service did not become ready:\n{log_path.read_text(errors='replace')}")
