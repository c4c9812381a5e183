"""The templates agree with this repository and with each other. ``make lint`` checks them with cfn-lint."""

import json
import re
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from app.agent.dataplane_file import read_resource
from app.cli import main
from app.core.kuma_version import KumaVersion
from app.settings.environment import Settings
from app.settings.loading import load_settings
from app.settings.warnings import find_warnings
from tests.config.test_config_files import FARGATE_MEMORY
from tests.support.cloudformation import TASKS, Stack
from tests.support.keys import KeyFiles
from tests.support.tls import make_certificate

# What stock kuma-cp and kuma-dp read (kumahq/kuma: pkg/config/app/kuma-cp, pkg/config/app/kuma-dp).
KUMA_CP: Final = {
    "KUMA_ENVIRONMENT",
    "KUMA_MODE",
    "KUMA_MULTIZONE_ZONE_NAME",
    "KUMA_GENERAL_TLS_CERT_FILE",
    "KUMA_GENERAL_TLS_KEY_FILE",
    "KUMA_API_SERVER_HTTP_INTERFACE",
    "KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN",
    "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS",
    "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
    "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
    "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE",
    "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS",
    "KUMA_STORE_TYPE",
    "KUMA_STORE_POSTGRES_HOST",
    "KUMA_STORE_POSTGRES_PORT",
    "KUMA_STORE_POSTGRES_USER",
    "KUMA_STORE_POSTGRES_PASSWORD",
    "KUMA_STORE_POSTGRES_DB_NAME",
    "KUMA_STORE_POSTGRES_TLS_MODE",
    "KUMA_STORE_POSTGRES_TLS_CA_PATH",
}
KUMA_DP: Final = {
    "KUMA_CONTROL_PLANE_URL",
    "KUMA_CONTROL_PLANE_CA_CERT_FILE",
    "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH",
    "KUMA_DATAPLANE_PROXY_TYPE",
}
READS: Final = {
    "control-plane": KUMA_CP,
    "migration": KUMA_CP,
    "kuma-dp": KUMA_DP,
    "workload": {"WORKLOAD_NAME"},  # the default of WorkloadVariable
    "collector": {"AOT_CONFIG_CONTENT"},
}
SETTINGS: Final = {str(field.validation_alias) for field in Settings.model_fields.values()}
AGENT: Final = main.commands["agent"]
BALANCING: Final = "AWS::ElasticLoadBalancingV2"


def containers(name: str) -> dict[str, dict[str, Any]]:
    return ALL[name].containers()


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["Name"]: entry["Value"] for entry in container.get("Environment", [])}


# Every option that adds something is on, so that the tests check the additions too.
ALL: Final = {
    "control-plane.yaml": Stack.of(
        "control-plane.yaml",
        KumaVersion="2.14-or-earlier",
        ZoneKeySecret="the-zone-key",
        ZoneKeyId="zone-1",
        EcsExec="true",
        GlobalAddress="grpcs://global.example:5685",
        KmsKey="the-key",
        MetricsUrl="https://aps.example/api/v1/remote_write",
        ReaderRoles="arn:aws:iam::444455556666:role/kuma-reader",
        ReaderExternalId="the-external-id",
    ),
    "dataplane.yaml": Stack.of("dataplane.yaml", EcsExec="true", KmsKey="the-key", WorkloadTargetGroup="the-group"),
    "zone.yaml": Stack.of("zone.yaml", EcsExec="true", KmsKey="the-key", ProxyType="ingress"),
}
DEFAULT: Final = {name: Stack.of(name) for name in TASKS}
SERVICE: Final = containers("control-plane.yaml")["kuma-aws-iam"]
CONTROL_PLANE: Final = containers("control-plane.yaml")["control-plane"]
SIDECAR: Final = containers("dataplane.yaml")["agent"]
PROXY: Final = containers("dataplane.yaml")["kuma-dp"]
THREE, BEFORE = KumaVersion(3, 0), KumaVersion(2, 13)
AGENTS: Final = [("dataplane.yaml", "dataplane"), ("zone.yaml", "ingress"), ("zone.yaml", "egress")]


def stack_of(name: str, proxy_type: str) -> Stack:
    return Stack.of(name, **({"ProxyType": proxy_type} if name == "zone.yaml" else {}))


# Environments.


def known_variables(name: str, container: str) -> set[str]:
    if container == "kuma-aws-iam":
        return SETTINGS
    if container == "agent":
        options = [option for option in AGENT.params if isinstance(option, click.Option)]
        return {name for option in options for name in _variables_of(option)}
    if container == "files":
        # Its own secrets and variables, which it writes into files.
        return set(re.findall(r"\$([A-Z_]+)", "\n".join(containers(name)[container]["Command"])))
    return READS[container]


def _variables_of(option: click.Option) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


@pytest.mark.parametrize(("name", "container"), [(name, each) for name in TASKS for each in containers(name)])
def test_every_variable_is_one_that_the_container_reads(name: str, container: str) -> None:
    definition = containers(name)[container]
    given = {*environment(definition), *(secret["Name"] for secret in definition.get("Secrets", []))}
    assert given <= known_variables(name, container)
    if container == "files":
        assert given == known_variables(name, container)


def test_the_service_takes_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of the test replace those that the first container writes."""
    keys, certificate = KeyFiles.make(tmp_path), make_certificate(tmp_path)
    (tmp_path / "caller-token").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "caller-token").chmod(0o600)
    files = {
        "cert.pem": certificate.cert,
        "key.pem": certificate.key,
        "caller-token": tmp_path / "caller-token",
        "dataplane.keys": keys.dataplane,
        "zone.keys": keys.zone,
    }
    for name, value in environment(SERVICE).items():
        folder, _, file = value.rpartition("/")
        monkeypatch.setenv(name, str(files[file]) if folder == "/service-files" else value)
    settings = load_settings()
    assert settings.enabled_types == {"dataplane", "ingress", "egress"}
    assert settings.role_path_prefix == "/mesh/"
    assert settings.reader_role_name == "kuma-reader"
    assert list(find_warnings(settings)) == []
    written = set(re.findall(r"> (?:\$folder/)?([a-z.-]+)$", _script("control-plane.yaml"), flags=re.MULTILINE))
    assert files.keys() <= written


def test_no_line_of_the_service_is_dropped() -> None:
    """Only the audit line has the id of a token, by which the token is revoked."""
    options = SERVICE["LogConfiguration"]["Options"]
    assert options["mode"] == "blocking"
    assert "max-buffer-size" not in options


def _script(name: str) -> str:
    return "\n".join(containers(name)["files"]["Command"])


# The agent.


def agent_parameters(stack: Stack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """Return the options of the agent from its container's command and environment."""
    command, *arguments = stack.containers()["agent"]["Command"]
    assert command == "agent"
    for name, value in stack.environment("agent").items():
        monkeypatch.setenv(name, value)
    for name in ("ca.pem", "caller-token"):
        (folder / name).touch()
    (folder / "dataplane.yaml").write_text(resource_text(stack))
    texts = [argument.replace("/kuma-token/", f"{folder}/") for argument in arguments]
    parameters: dict[str, Any] = AGENT.make_context("agent", texts).params
    return parameters


def resource_text(stack: Stack) -> str:
    """Return the proxy's resource as the first container writes it in a task."""
    text = stack.environment("files")["DATAPLANE"]
    [written] = re.findall(
        r"> (/kuma-token/dataplane.yaml)$", "\n".join(stack.containers()["files"]["Command"]), re.MULTILINE
    )
    for container in ("agent", "kuma-dp"):
        command = stack.containers()[container]["Command"]
        assert command[command.index("--dataplane-file") + 1] == written
    return text.replace("{{ name }}", "ip-10-60-1-7").replace("{{ address }}", "10.60.1.7")


def asserted(stack: Stack, folder: Path, version: KumaVersion) -> dict[str, Any]:
    """Return what the agent tells the service about the proxy, in the form that this version of Kuma reads."""
    path = folder / "dataplane.yaml"
    path.write_text(resource_text(stack))
    return read_resource(path, {}, version)


def tags_of(stack: Stack) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in stack.resources("AWS::IAM::Role")["TaskRole"]["Tags"]}


def test_the_agents_command_is_one_that_it_understands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parameters = agent_parameters(DEFAULT["dataplane.yaml"], monkeypatch, tmp_path)
    assert parameters["mode"] == "token"
    assert str(parameters["service"]) == "https://control-plane.mesh.internal:5690"
    assert parameters["audience"] == environment(SERVICE)["KMESH_AWSIAM_AUDIENCE"]
    assert str(parameters["token_file"]) == "/kuma-token/token"


@pytest.mark.parametrize(("proxy_type", "port"), [("ingress", 10001), ("egress", 10002)])
def test_a_zone_proxy_is_a_dataplane_that_its_role_names(proxy_type: str, port: int, tmp_path: Path) -> None:
    stack = stack_of("zone.yaml", proxy_type)
    kind = f"Zone{proxy_type.capitalize()}"
    workload = f"zone-{proxy_type}"
    assert asserted(stack, tmp_path, THREE) == {
        "type": "dataplane",
        "mesh": "default",
        "name": "ip-10-60-1-7",
        "zone": None,
        "labels": {"kuma.io/workload": workload},
        "listeners": [kind],
    }
    assert tags_of(stack) == {
        "kuma.io/type": proxy_type,
        "kuma.io/zone": "default",
        "kuma.io/mesh": "default",
        "kuma.io/workload": workload,
    }
    [listener] = yaml.safe_load(resource_text(stack))["networking"]["listeners"]
    [mapping] = stack.containers()["kuma-dp"]["PortMappings"]
    assert (listener["port"], int(mapping["ContainerPort"])) == (port, port)
    assert stack.environment("kuma-dp")["KUMA_DATAPLANE_PROXY_TYPE"] == "dataplane"


@pytest.mark.parametrize("proxy_type", ["ingress", "egress"])
def test_before_3_0_a_zone_proxy_is_a_resource_of_its_own(proxy_type: str, tmp_path: Path) -> None:
    stack = Stack.of("zone.yaml", ProxyType=proxy_type, KumaVersion="2.14")
    resource = yaml.safe_load(resource_text(stack))
    assert asserted(stack, tmp_path, BEFORE) == {
        "type": proxy_type,
        "name": "ip-10-60-1-7",
        "mesh": None,
        "zone": "default",
    }
    assert tags_of(stack) == {"kuma.io/type": proxy_type, "kuma.io/zone": "default"}
    assert stack.environment("kuma-dp")["KUMA_DATAPLANE_PROXY_TYPE"] == proxy_type
    [port] = stack.containers()["kuma-dp"]["PortMappings"]
    assert port["ContainerPort"] == resource["networking"]["port"]


def test_the_health_check_is_one_that_it_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    cmd, program, command, *arguments = SIDECAR["HealthCheck"]["Command"]
    assert (cmd, program, command) == ("CMD", "kuma-aws-iam", "agent")
    monkeypatch.setenv("KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", environment(SIDECAR)["KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"])
    assert AGENT.make_context("agent", arguments).params["health"] is True


@pytest.mark.parametrize(("name", "proxy_type"), AGENTS)
def test_an_agent_that_cannot_renew_takes_no_proxy_with_it(name: str, proxy_type: str) -> None:
    found = stack_of(name, proxy_type).containers()
    assert found["agent"]["Essential"] is False
    assert found["agent"]["RestartPolicy"]["Enabled"] is True
    assert found["kuma-dp"]["Essential"] is True


@pytest.mark.parametrize(("name", "proxy_type"), AGENTS)
def test_the_proxy_starts_once_the_token_is_there_and_reads_it_from_the_agents_volume(
    name: str, proxy_type: str
) -> None:
    found = stack_of(name, proxy_type).containers()
    agent, proxy = found["agent"], found["kuma-dp"]
    variable = "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"
    assert environment(proxy)[variable] == environment(agent)[variable]
    assert proxy["DependsOn"] == [{"ContainerName": "agent", "Condition": "HEALTHY"}]
    assert proxy["User"] == agent["User"]
    [written], [read] = agent["MountPoints"], proxy["MountPoints"]
    assert read == {**written, "ReadOnly": True}
    assert environment(proxy)[variable].startswith(f"{written['ContainerPath']}/")


@pytest.mark.parametrize("version", ["3.0-or-later", "2.14", "2.13-or-earlier"])
def test_the_agent_asks_for_what_the_role_says(version: str, tmp_path: Path) -> None:
    """From 3.0 on the workload is the service. Before, the service is a tag."""
    stack = Stack.of("dataplane.yaml", KumaVersion=version)
    has_tags = version != "3.0-or-later"
    service, services = ({"kuma.io/service": "demo-app"}, ["demo-app"]) if has_tags else ({}, None)
    found = asserted(stack, tmp_path, BEFORE if has_tags else THREE)
    assert (found["type"], found["mesh"], found.get("tags", {}).get("kuma.io/service")) == (
        "dataplane",
        "default",
        services,
    )
    assert found["labels"] == {"kuma.io/workload": "demo-workload"}
    workload = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/workload": "demo-workload"}
    assert tags_of(stack) == {**workload, **service}


def test_a_workload_reaches_the_services_that_it_calls_on_loopback() -> None:
    """ECS has no transparent proxy, so each service that a workload calls needs an outbound."""
    assert dataplane()["networking"]["outbound"] == []
    calls = [{"port": 5051, "backendRef": {"kind": "MeshService", "name": "kv", "port": 8080}}]
    assert dataplane(Outbounds=json.dumps(calls))["networking"]["outbound"] == calls


def test_the_control_plane_learns_when_the_workload_takes_no_connections() -> None:
    [inbound] = dataplane()["networking"]["inbound"]
    assert inbound["serviceProbe"]["tcp"] == {}
    # ECS stops the workload first and the proxy afterwards. The probe fails before the workload's time to stop is
    # over.
    probe = inbound["serviceProbe"]
    failed = (int(probe["interval"][:-1]) + int(probe["timeout"][:-1])) * probe["unhealthyThreshold"]
    assert failed < containers("dataplane.yaml")["workload"]["StopTimeout"] < PROXY["StopTimeout"]


def dataplane(**values: str) -> dict[str, Any]:
    resource: dict[str, Any] = yaml.safe_load(resource_text(Stack.of("dataplane.yaml", **values)))
    return resource


@pytest.mark.parametrize("text", ["on", "true", "null", "y"])
def test_a_workload_stays_the_text_that_it_is(text: str) -> None:
    assert dataplane(WorkloadLabel=text)["labels"] == {"kuma.io/workload": text}


@pytest.mark.parametrize("text", ["", "Demo", "1demo", "demo-", "-demo", "demo.app", "a" * 64])
def test_a_workload_is_a_name_that_kuma_takes(text: str) -> None:
    """A DNS label of RFC 1035: Kuma's control plane makes a resource of this name (pkg/api-server, 2.13 and later)."""
    pattern = DEFAULT["dataplane.yaml"].template["Parameters"]["WorkloadLabel"]["AllowedPattern"]
    assert not re.fullmatch(pattern, text)
    assert re.fullmatch(pattern, "a" * 63)


@pytest.mark.parametrize(
    ("version", "port"), [(None, 9902), ("3.0-or-later", 9902), ("2.14", 9902), ("2.13-or-earlier", 9901)], ids=str
)
def test_the_health_check_asks_where_this_version_says_whether_it_is_ready(version: str | None, port: int) -> None:
    """Measured: on 2.14 nothing listens on 9901, and on 2.12 a refused proxy is 200 on 9902."""
    for name in ("dataplane.yaml", "zone.yaml"):
        stack = Stack.of(name, **({} if version is None else {"KumaVersion": version}))
        *_, url = stack.containers()["kuma-dp"]["HealthCheck"]["Command"]
        assert url == f"http://127.0.0.1:{port}/ready"
    parameter = DEFAULT["dataplane.yaml"].template["Parameters"]["KumaVersion"]
    assert parameter["AllowedValues"] == ["3.0-or-later", "2.14", "2.13-or-earlier"]
    assert all(words in parameter["Description"] for words in ("9901", "9902", "2.13", "2.14"))


@pytest.mark.parametrize("text", ["123", "on", "true", "null", "1e3", "0x1f"])
def test_a_mesh_or_a_service_stays_the_text_that_it_is(text: str) -> None:
    """The resource is YAML, which reads some texts as other types unless they are quoted."""
    assert dataplane(Mesh=text)["mesh"] == text
    resource = dataplane(Service=text, KumaVersion="2.14")
    assert resource["networking"]["inbound"][0]["tags"]["kuma.io/service"] == text


# Roles.


def test_the_longest_mesh_and_service_fit_into_names() -> None:
    """The name of an IAM role has at most 64 characters.

    A family of ECS must not contain a dot, so the family is the stack's name.
    """
    rules = DEFAULT["dataplane.yaml"].template["Parameters"]
    longest = {
        name: "a" * int(re.search(r"{1,(\d+)}$", rules[name]["AllowedPattern"])[1])  # type: ignore[index]
        for name in ("Mesh", "Service")
    }
    for name, value in longest.items():
        assert not re.fullmatch(rules[name]["AllowedPattern"], value + "a")
    role = Stack.of("dataplane.yaml", **longest).resources("AWS::IAM::Role")["TaskRole"]
    assert re.fullmatch(r"[\w+=,.@-]{1,64}", role["RoleName"])
    definition = DEFAULT["dataplane.yaml"].template["Resources"]["TaskDefinition"]
    assert definition["Properties"]["Family"] == {"Ref": "AWS::StackName"}


def policies(stack: Stack, role: str) -> list[dict[str, Any]]:
    """Return every statement of a role, inline or attached."""
    properties = stack.resources("AWS::IAM::Role")[role]
    assert "ManagedPolicyArns" not in properties
    attached = [each for each in stack.resources("AWS::IAM::RolePolicy").values() if each["RoleName"] == f"the-{role}"]
    documents = [each["PolicyDocument"] for each in (*properties.get("Policies", []), *attached)]
    return [statement for document in documents for statement in document["Statement"]]


@pytest.mark.parametrize(("name", "proxy_type"), AGENTS)
def test_a_workloads_role_needs_no_permission(name: str, proxy_type: str) -> None:
    assert policies(stack_of(name, proxy_type), "TaskRole") == []


def test_the_service_may_read_the_roles_of_workloads_and_nothing_else() -> None:
    [statement] = policies(DEFAULT["control-plane.yaml"], "TaskRole")
    assert statement["Action"] == "iam:GetRole"
    assert statement["Resource"] == "arn:aws:iam::111122223333:role/mesh/*"
    assert DEFAULT["dataplane.yaml"].resources("AWS::IAM::Role")["TaskRole"]["Path"] == "/mesh/"


def test_each_further_permission_of_the_service_belongs_to_a_parameter() -> None:
    actions = {statement["Sid"]: statement["Action"] for statement in policies(ALL["control-plane.yaml"], "TaskRole")}
    assert actions == {
        "ReadMeshRoleTags": "iam:GetRole",
        "AssumeReaderRoles": "sts:AssumeRole",
        "WriteMetrics": "aps:RemoteWrite",
        "EcsExec": [f"ssmmessages:{verb}{kind}Channel" for verb in ("Create", "Open") for kind in ("Control", "Data")],
        "EcsExecLog": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
        "EcsExecLogGroups": "logs:DescribeLogGroups",
    }


@pytest.mark.parametrize("name", TASKS)
def test_ecs_may_do_what_it_needs_for_the_start_and_on_what(name: str) -> None:
    secrets: set[str] = set()
    for statement in policies(ALL[name], "ExecutionRole"):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions)
        if statement["Resource"] == "*":
            assert actions == ["ecr:GetAuthorizationToken"]  # IAM has no resource type for this action
        if actions == ["kms:Decrypt"]:
            assert statement["Resource"] == "the-key"
        if actions in (["secretsmanager:GetSecretValue"], ["ssm:GetParameters"]):
            listed = statement["Resource"]
            secrets |= set(listed if isinstance(listed, list) else [listed])
    used = {secret["ValueFrom"] for each in containers(name).values() for secret in each.get("Secrets", [])}
    assert secrets == used


@pytest.mark.parametrize("name", TASKS)
def test_ecs_tasks_of_this_account_alone_may_have_a_role(name: str) -> None:
    for role in ALL[name].resources("AWS::IAM::Role").values():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "111122223333"}


# Tasks.


@pytest.mark.parametrize("name", TASKS)
def test_a_task_fits_fargate(name: str) -> None:
    definition = ALL[name].task()
    assert int(definition["Memory"]) in FARGATE_MEMORY[definition["Cpu"]]
    assert sum(each.get("Cpu", 0) for each in containers(name).values()) <= int(definition["Cpu"])


@pytest.mark.parametrize(
    "container", [SERVICE, SIDECAR, containers("zone.yaml")["agent"]], ids=["service", "agent", "zone agent"]
)
def test_our_container_is_closed(container: dict[str, Any]) -> None:
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "65532:65532"
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert "Secrets" not in container
    assert container["DependsOn"] == [{"ContainerName": "files", "Condition": "SUCCESS"}]


def test_the_signing_keys_reach_the_service_alone() -> None:
    mounts = {
        name: {mount["SourceVolume"] for mount in container.get("MountPoints", [])}
        for name, container in containers("control-plane.yaml").items()
    }
    assert {name for name, volumes in mounts.items() if "service-files" in volumes} == {"files", "kuma-aws-iam"}
    for name, container in containers("control-plane.yaml").items():
        if name != "files":
            assert "KeySecret" not in json.dumps(container.get("Secrets", []))


def test_the_control_plane_is_a_stock_one_that_checks_tokens() -> None:
    assert environment(CONTROL_PLANE).items() >= {
        ("KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", "dpToken"),
        ("KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", "zoneToken"),
        ("KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", "true"),
    }
    *_, configuration = CONTROL_PLANE["Command"]
    assert f"> {configuration}" in _script("control-plane.yaml")


@pytest.mark.parametrize("container", ["migration", "control-plane"])
def test_the_database_has_to_prove_its_name(container: str) -> None:
    """Kuma's verifyFull is PostgreSQL's verify-full: it checks the certificate's chain and the host name."""
    variables = DEFAULT["control-plane.yaml"].environment(container)
    assert variables["KUMA_STORE_POSTGRES_TLS_MODE"] == "verifyFull"
    bundle = variables["KUMA_STORE_POSTGRES_TLS_CA_PATH"]
    assert f'"$DATABASE_AUTHORITY" > {bundle}' in _script("control-plane.yaml")
    definition = containers("control-plane.yaml")[container]
    assert {"ContainerName": "files", "Condition": "SUCCESS"} in definition["DependsOn"]
    assert any(bundle.startswith(f"{mount['ContainerPath']}/") for mount in definition["MountPoints"])


def test_nobody_administers_the_control_plane_without_a_token() -> None:
    variables = DEFAULT["control-plane.yaml"].environment("control-plane")
    assert variables["KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN"] == "false"
    assert variables["KUMA_API_SERVER_HTTP_INTERFACE"] == "127.0.0.1"


@pytest.mark.parametrize("name", TASKS)
def test_what_is_off_by_default_is_off(name: str) -> None:
    stack = DEFAULT[name]
    [service] = stack.resources("AWS::ECS::Service").values()
    assert service["EnableExecuteCommand"] == "false"
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert stack.resources("AWS::IAM::RolePolicy") == {}
    assert "collector" not in stack.containers()
    assert all(each["Scheme"] == "internal" for each in stack.resources(f"{BALANCING}::LoadBalancer").values())


@pytest.mark.parametrize("name", TASKS)
def test_no_container_gets_a_secret_as_plain_text(name: str) -> None:
    for container, definition in containers(name).items():
        for variable in environment(definition):
            assert not re.search(r"PASSWORD|SECRET|_KEY$|TOKEN$", variable), f"{container} has {variable}"


# Draining and health.


@pytest.mark.parametrize("name", TASKS)
def test_a_target_gets_time_to_end_what_it_does(name: str) -> None:
    for group in ALL[name].resources(f"{BALANCING}::TargetGroup").values():
        attributes = {each["Key"]: each["Value"] for each in group["TargetGroupAttributes"]}
        assert int(attributes["deregistration_delay.timeout_seconds"]) >= 30
        assert attributes["deregistration_delay.connection_termination.enabled"] == "true"


def test_the_load_balancer_asks_each_container_where_it_answers() -> None:
    stack = DEFAULT["control-plane.yaml"]
    [service] = stack.resources("AWS::ECS::Service").values()
    groups = stack.resources(f"{BALANCING}::TargetGroup")
    asked = {}
    for target in service["LoadBalancers"]:
        group = groups[target["TargetGroupArn"].removeprefix("the-")]
        assert group["Port"] == target["ContainerPort"]
        asked[target["ContainerPort"]] = (target["ContainerName"], int(group["HealthCheckPort"]))
    assert asked == {5678: ("control-plane", 5680), 5682: ("control-plane", 5680), 5690: ("kuma-aws-iam", 5691)}
    for name, port in asked.values():
        assert port in {each["ContainerPort"] for each in stack.containers()[name]["PortMappings"]}
    assert stack.environment("kuma-aws-iam")["KMESH_AWSIAM_DIAGNOSTICS_LISTEN"] == "0.0.0.0:5691"


@pytest.mark.parametrize("name", TASKS)
def test_a_container_that_runs_on_has_a_health_check_and_a_log(name: str) -> None:
    for container, definition in containers(name).items():
        assert definition["LogConfiguration"]["LogDriver"] == "awslogs"
        if container not in {"files", "migration", "workload"}:
            command = definition["HealthCheck"]["Command"]
            assert command[0] == "CMD", "these images have no shell"


def test_the_collector_scrapes_what_the_alerts_read() -> None:
    """The samples have the names that the service gives them, and each task is a separate instance."""
    stack = ALL["control-plane.yaml"]
    configuration = yaml.safe_load(stack.environment("collector")["AOT_CONFIG_CONTENT"])
    scraped = {
        each["job_name"]: each["static_configs"][0]["targets"]
        for each in configuration["receivers"]["prometheus"]["config"]["scrape_configs"]
    }
    assert scraped == {"kuma-aws-iam": ["127.0.0.1:5691"], "kuma-cp": ["127.0.0.1:5680"]}
    pipeline = configuration["service"]["pipelines"]["metrics"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == configuration[kind].keys()
    assert set(configuration["service"]["extensions"]) == configuration["extensions"].keys()
    exporter = configuration["exporters"]["prometheusremotewrite"]
    assert exporter["add_metric_suffixes"] is False
    assert exporter["auth"]["authenticator"] in configuration["extensions"]
    [attribute] = configuration["processors"]["resource"]["attributes"]
    assert (attribute["key"], attribute["from_attribute"]) == ("service.instance.id", "aws.ecs.task.arn")


@pytest.mark.parametrize("name", TASKS)
def test_images_name_no_registry(name: str) -> None:
    for container in containers(name).values():
        first, slash, _ = container["Image"].partition("/")
        assert not slash or not re.search(r"[.:]", first)
