"""The shipped CloudFormation templates run: control plane, service, agent and proxy, with the templates' own commands."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from app.emulator import Emulator
from demos.envoy.certificates import Authority
from tests.support.kuma.release import KUMA
from tests.support.task_definition import Task, Template

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.control_plane import DATAPLANES, ControlPlane, api_client, local_variables
from tests.support.kuma.dataplane import REFUSED, free_port, local_dataplane_variables
from tests.support.kuma.program import Program
from tests.support.kuma.stage import make_keys
from tests.support.kuma.task import Host
from tests.support.process import ROOT
from tests.support.world import ACCOUNT, SERVICE_ROLE, Aws, make_world

TEMPLATES: Final = ROOT / "config/cloudformation"
REGION: Final = "eu-west-1"
FORM: Final = "3.0-or-later" if KUMA.has_only_labels else "2.14" if KUMA.version >= (2, 14) else "2.13-or-earlier"
VALUES: Final = {
    "AuthorizedAccounts": ACCOUNT,
    "Zone": "zone-1",
    "DataplaneKeyId": "dataplane-1",
    **(
        {"KumaVersion": "3.0-or-later"}
        if KUMA.has_only_labels
        else {"KumaVersion": "2.14-or-earlier", "ZoneKeySecret": "the-secret", "ZoneKeyId": "zone-1"}
    ),
    "LocalhostIsAdmin": "true",  # the test looks at the control plane through its API
}
IMAGES: Final = {
    "KumaCpImage": "kuma-cp",
    "ServiceImage": "kuma-aws-iam",
    "KumaDpImage": "kuma-dp",
    "AgentImage": "kuma-aws-iam",
}


@dataclass(frozen=True)
class Deployed:
    """The stack of the control plane, and what the stacks of workloads need of it."""

    folder: Path
    aws: Aws
    control_plane: ControlPlane
    replacements: Mapping[str, str]
    secrets: Mapping[str, str]
    service: Program

    @contextlib.contextmanager
    def workload(self, service: str, file: str = "dataplane.yaml", **changes: str) -> Iterator["Workload"]:
        """Prepare the task of a workload or a zone proxy, with the role and tags of its template; stop it at the end."""
        values = {
            **IMAGES,
            "Service": service,
            "WorkloadLabel": service,
            "ControlPlaneHost": "localhost",
            "ProxyPort": str(free_port()),
            "WorkloadPort": str(free_port()),
            "KumaVersion": FORM,
            **changes,
        }
        template = Template(TEMPLATES / file, values)
        role = template.resolve(template.resources["TaskRole"]["Properties"])
        tags = {tag["Key"]: tag["Value"] for tag in role["Tags"]}
        name = self.aws.add_named_role(ACCOUNT, role["RoleName"], path=role["Path"], tags=tags).name
        own = self.folder / service
        sockets = self.folder / f"{service}.sock"
        sockets.mkdir()
        readiness = str(free_port())
        variables = {
            **self.aws.emulator.environment(ACCOUNT, name, REGION),
            **local_dataplane_variables(own, sockets),
            "KUMA_READINESS_PORT": readiness,
            "TASK_NAME": f"{service}-1",
            # As on ECS, another address than that of Envoy's admin interface. A zone proxy without traffic has only one
            # listener, for the admin interface on the task's address, and Envoy is not ready without a listener.
            "TASK_ADDRESS": "127.0.0.2",
        }
        replacements = {**self.replacements, "127.0.0.1:9902": f"127.0.0.1:{readiness}"}
        host = Host(own, replacements, variables, {}, self.secrets)
        host.prepare()
        programs: list[Program] = []
        try:
            yield Workload(host, template.task("kuma-dp"), programs)
        finally:
            for program in reversed(programs):
                program.stop()


@dataclass(frozen=True)
class Workload:
    """A workload's task."""

    host: Host
    task: Task
    programs: list[Program]

    def start(self, name: str) -> Program:
        program = self.host.start(self.task, name)
        self.programs.append(program)
        return program

    @property
    def agent(self) -> str:
        """The container that the proxy waits for."""
        (name,) = self.task.containers["kuma-dp"].after
        return name

    def run_files(self) -> None:
        """Run the container that writes files, to its end."""
        done = self.host.run(self.task, "files")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployed(folder: Path) -> Iterator[Deployed]:
    keys = make_keys(folder / "keys")
    authority = Authority()
    certificate = authority.issue("control plane")
    secrets = {
        "CONFIGURATION": keys.configuration,
        "DATAPLANE_KEY": (folder / "keys/dataplane-1.pem").read_text("ascii"),
        "ZONE_KEY": (folder / "keys/zone-1.pem").read_text("ascii"),
        "CERTIFICATE": certificate.cert.decode(),
        "CERTIFICATE_KEY": certificate.key.decode(),
        "CA_CERTIFICATE": authority.cert.decode(),
        "CALLER_TOKEN": "a-caller-token-of-at-least-32-characters",
        "KUMA_STORE_POSTGRES_PASSWORD": "unused",
        "DATABASE_AUTHORITY": "unused",
    }
    own = folder / "stack"
    own.mkdir()
    local = local_variables(own)
    service_port, diagnostics = free_port(), free_port()
    ports = {
        "localhost:5678": f"localhost:{local['KUMA_DP_SERVER_PORT']}",
        "localhost:5690": f"localhost:{service_port}",
        "0.0.0.0:5690": f"127.0.0.1:{service_port}",
        "127.0.0.1:5691": f"127.0.0.1:{diagnostics}",
        "0.0.0.0:5691": f"127.0.0.1:{diagnostics}",
        "127.0.0.1:5680": f"127.0.0.1:{local['KUMA_DIAGNOSTICS_SERVER_PORT']}",
        "127.0.0.1:9901": f"127.0.0.1:{local['KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_PORT']}",
    }
    task = Template(TEMPLATES / "control-plane.yaml", {**IMAGES, **VALUES}).task("control-plane")
    with contextlib.ExitStack() as stack:
        aws = Aws(stack.enter_context(Emulator(make_world())))
        api = stack.enter_context(api_client(local))
        variables = {**local, **aws.emulator.environment(ACCOUNT, SERVICE_ROLE, REGION)}
        # No PostgreSQL here: the container `migration` is not run, and the store is the memory.
        host = Host(own, ports, variables, {"KUMA_STORE_TYPE": "memory"}, secrets)
        host.prepare()
        done = host.run(task, "files")
        assert done.returncode == 0, done.stdout + done.stderr
        service = host.start(task, "kuma-aws-iam")
        stack.callback(service.stop)
        host.wait_until_healthy(task, "kuma-aws-iam", service)
        control_plane = ControlPlane(own, int(local["KUMA_DP_SERVER_PORT"]), local, api)
        control_plane.program = host.start(task, "control-plane")
        stack.callback(control_plane.program.stop)
        host.wait_until_healthy(task, "control-plane", control_plane.program)
        control_plane.wait_until_ready()
        yield Deployed(folder, aws, control_plane, ports, secrets, service)


def test_the_workload_of_the_template_comes_online_and_is_healthy(deployed: Deployed) -> None:
    with deployed.workload("demo-app") as workload:
        workload.run_files()
        agent = workload.start(workload.agent)
        workload.host.wait_until_healthy(workload.task, workload.agent, agent)
        proxy = workload.start("kuma-dp")
        workload.host.wait_until_healthy(workload.task, "kuma-dp", proxy)
        deployed.control_plane.wait_until_online("demo-app-1", proxy)
        resource = deployed.control_plane.api.get("/meshes/default/dataplanes/demo-app-1").json()
        declared: dict[str, Any] = yaml.safe_load(
            (workload.host.folder / "kuma-token/dataplane.yaml").read_text("utf-8")
        )
        if KUMA.version >= (2, 13):  # 2.7 does not keep the labels
            assert resource["labels"].items() >= declared["labels"].items()
        (inbound,), (own,) = resource["networking"]["inbound"], declared["networking"]["inbound"]
        assert inbound.get("tags", {}).items() >= own.get("tags", {}).items()


def test_the_health_check_fails_while_the_control_plane_refuses_the_proxy(deployed: Deployed) -> None:
    """The workload's container starts only after a proxy that is in the mesh: here the token is for another service."""
    with deployed.workload("accepted") as accepted, deployed.workload("refused") as refused:
        for workload in (accepted, refused):
            workload.run_files()
        agent = accepted.start(accepted.agent)
        accepted.host.wait_until_healthy(accepted.task, accepted.agent, agent)
        token = (accepted.host.folder / "kuma-token/token").read_bytes()
        (refused.host.folder / "kuma-token/token").write_bytes(token)
        proxy = refused.start("kuma-dp")
        proxy.wait_for(REFUSED)
        assert not refused.host.is_healthy(refused.task, "kuma-dp")
        assert not deployed.control_plane.is_online("refused-1")


def test_an_agent_whose_role_lost_its_tags_is_unhealthy(deployed: Deployed) -> None:
    """So the proxy is not started at all."""
    with deployed.workload("untagged") as workload:
        workload.run_files()
        (role,) = [role for role in deployed.aws.roles if role.name.endswith("untagged")]
        deployed.aws.emulator.world.set_role_tags(role.account, role.name, {})
        agent = workload.start(workload.agent)
        agent.wait_for('"event": ?"not renewed"')
        assert not workload.host.is_healthy(workload.task, workload.agent)


@pytest.mark.parametrize(("kind", "path"), [("ingress", "/zone-ingresses"), ("egress", "/zoneegresses")])
def test_the_zone_proxy_of_the_template_comes_online_and_is_healthy(deployed: Deployed, kind: str, path: str) -> None:
    values = {"ProxyType": kind, "Zone": "zone-1", "LoadBalancer.DNSName": "localhost"}
    with deployed.workload(kind, "zone.yaml", **values) as zone:
        zone.run_files()
        agent = zone.start(zone.agent)
        zone.host.wait_until_healthy(zone.task, zone.agent, agent)
        proxy = zone.start("kuma-dp")
        path = DATAPLANES if KUMA.has_only_labels else path
        deployed.control_plane.wait_until_online(f"{kind}-1", proxy, path)
        zone.host.wait_until_healthy(zone.task, "kuma-dp", proxy)
