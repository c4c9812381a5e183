"""Everything that one test module needs: an emulated AWS, the service as a process, and a real control plane."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt

from app.emulator import Emulator
from demos.envoy.certificates import Authority
from tests.support.kuma.control_plane import ZONE, ControlPlane, running_control_plane
from tests.support.kuma.dataplane import Resource, proxy_type_of, running_dataplane, services_of
from tests.support.kuma.program import Program
from tests.support.process import ROOT, Served, clean_environment, free_address, run_cold, served_cold
from tests.support.world import ACCOUNT, Aws, make_world

AUDIENCE: Final = "real-kuma"
_VARIABLE: Final = re.compile(r"^#   ([A-Z_]+)=(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Keys:
    """What ``kuma-aws-iam keys generate`` made.

    Attributes:
        configuration: YAML for the control plane.
        settings: variables of the service.
    """

    configuration: str
    settings: Mapping[str, str]


def make_keys(folder: Path) -> Keys:
    """Make the keys of both kinds, as an operator does; what the command prints is used as it is.

    The ids of the keys are ``dataplane-1`` and ``zone-1``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = run_cold("keys", "generate", "--kind", "both", "--for", "2.x", "--kid", "1", "--out", str(folder))
    assert done.status == 0, done.err
    return Keys(done.out, dict(_VARIABLE.findall(done.out)))


@dataclass(frozen=True, slots=True)
class Stage:
    """A running set-up.

    Attributes:
        folder: has all logs.
        authority: issues certificates; `authority_file` has its PEM.
    """

    folder: Path
    aws: Aws
    authority: Authority
    authority_file: Path
    keys: Keys
    service: Served
    control_plane: ControlPlane

    def agent_command(self, token_file: Path, *options: str) -> list[str]:
        """Return the agent's command line in token mode."""
        url = f"http://{self.service.address}"
        agent = [sys.executable, "-m", "app", "agent", "--mode", "token", "--service-url", url]
        return [*agent, "--token-file", str(token_file), *options]

    def task_variables(self, role: str) -> dict[str, str]:
        """Return the variables of a task that has this role."""
        environment = self.aws.emulator.environment(ACCOUNT, role)
        return {**environment, "KMESH_AWSIAM_AUDIENCE": AUDIENCE, "PYTHONPATH": str(ROOT)}

    def add_role(self, name: str, **tags: str) -> str:
        """Add a role to the account; the names of the tags are without ``kuma.io/``."""
        self.aws.add_named_role(ACCOUNT, name, tags={f"kuma.io/{key}": value for key, value in tags.items()})
        return name

    def get_token(self, role: str, *assertion: str, name: str | None = None) -> Path:
        """Have an agent with this role write a token file, once; return the file."""
        path = self.folder / f"{name or role}.token"
        options = (*assertion, "--once", "--give-up-after", "0")
        done = subprocess.run(  # noqa: S603 - our own command
            self.agent_command(path, *options),
            env=clean_environment(**self.task_variables(role)),
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return path

    def token_for(self, role: str, resource: Resource) -> Path:
        """The same, with what the resource says about itself."""
        return self.get_token(role, *assertion_of(resource), name=resource["name"])

    @contextlib.contextmanager
    def proxy(
        self, resource: Resource, token_file: Path, *, port: int | None = None, options: Sequence[str] = ()
    ) -> Iterator[Program]:
        """Run a proxy of the release with this token file; `options` are further ones of `kuma-dp run`."""
        port = port or self.control_plane.port
        with running_dataplane(
            self.folder, resource, token_file, port=port, authority=self.authority_file, options=options
        ) as program:
            yield program


def assertion_of(resource: Resource) -> list[str]:
    """Return the agent's options that describe a resource."""
    kind = proxy_type_of(resource)
    options = ["--proxy-type", kind, "--name", resource["name"]]
    if kind != "dataplane":
        return [*options, "--zone", ZONE]
    options += ["--mesh", resource["mesh"]]
    for service in services_of(resource):
        options += ["--kuma-service", service]
    for listener in resource["networking"].get("listeners", ()):
        options += ["--listener", listener["type"]]
    for key, value in resource.get("labels", {}).items():
        options += ["--label", f"{key}={value}"]
    return options


def claims_of(token_file: Path) -> dict[str, Any]:
    """Return the claims of a token, without a check."""
    claims: dict[str, Any] = jwt.decode(token_file.read_text("ascii"), options={"verify_signature": False})
    return claims


@contextlib.contextmanager
def open_stage(folder: Path, *, control_plane: Mapping[str, str] | None = None, **settings: str) -> Iterator[Stage]:
    """Start everything in a folder. `settings` are further variables of the service."""
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.cert)
    certificate = folder / "server.pem", folder / "server.key"
    authority.issue("control plane").write(*certificate)
    keys = make_keys(folder / "keys")
    with contextlib.ExitStack() as stack:
        aws = Aws(stack.enter_context(Emulator(make_world())))
        variables = {
            **aws.service_environment(),
            **keys.settings,
            "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
            "KMESH_AWSIAM_ZONE": ZONE,
            **settings,
        }
        service = stack.enter_context(served_cold(free_address(), **variables))
        stack.callback(lambda: (folder / "service.log").write_text("".join(service.lines), "utf-8"))
        running = stack.enter_context(
            running_control_plane(folder, keys.configuration, certificate, **(control_plane or {}))
        )
        yield Stage(folder, aws, authority, folder / "ca.pem", keys, service, running)


def audit_lines(service: Served) -> list[dict[str, Any]]:
    """Return the service's decisions so far."""
    return [event for event in service.events() if event.get("event") == "decision"]
