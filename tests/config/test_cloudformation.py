"""The templates: cfn-lint judges them in ``make lint``; here they are held to this repository, and to one another."""

import json
import re
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from app.cli import main
from app.settings.environment import Settings
from app.settings.loading import load_settings
from app.settings.warnings import find_warnings
from tests.config.test_config_files import FARGATE_MEMORY
from tests.support.keys import KeyFiles
from tests.support.tls import make_certificate

FOLDER: Final = Path(__file__).parents[2] / "config" / "cloudformation"
TEMPLATES: Final = sorted(path.name for path in FOLDER.glob("*.yaml"))
# Made-up values of what a stack is given, where a template names no default.
GIVEN: Final = {
    "Service": "demo-app",
    "WorkloadLabel": "demo-workload",
    "AWS::Region": "eu-west-1",
    "AWS::Partition": "aws",
    "AWS::AccountId": "111122223333",
}
# What stock kuma-cp and kuma-dp read (kumahq/kuma: pkg/config/app/kuma-cp, pkg/config/app/kuma-dp).
KUMA_CP: Final = {
    "KUMA_ENVIRONMENT",
    "KUMA_MODE",
    "KUMA_MULTIZONE_ZONE_NAME",
    "KUMA_GENERAL_TLS_CERT_FILE",
    "KUMA_GENERAL_TLS_KEY_FILE",
    "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
    "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE",
    "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS",
    "KUMA_STORE_TYPE",
    "KUMA_STORE_POSTGRES_HOST",
    "KUMA_STORE_POSTGRES_PORT",
    "KUMA_STORE_POSTGRES_USER",
    "KUMA_STORE_POSTGRES_PASSWORD",
    "KUMA_STORE_POSTGRES_DB_NAME",
}
KUMA_DP: Final = {
    "KUMA_CONTROL_PLANE_URL",
    "KUMA_CONTROL_PLANE_CA_CERT_FILE",
    "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH",
    "KUMA_DATAPLANE_RUNTIME_RESOURCE",
}
SETTINGS: Final = {str(field.validation_alias) for field in Settings.model_fields.values()}
AGENT: Final = main.commands["agent"]


class Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as the long ones."""


def _function(loader: Loader, name: str, node: Any) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {"Ref" if name == "Ref" else f"Fn::{name}": value}


Loader.add_multi_constructor("!", _function)


def load(name: str) -> dict[str, Any]:
    template: dict[str, Any] = yaml.load((FOLDER / name).read_text("utf-8"), Loader)  # noqa: S506 - a SafeLoader
    return template


def resolve(template: dict[str, Any], value: Any) -> Any:  # noqa: PLR0911 - one for each function
    """What CloudFormation makes of a value, where parameters have their defaults or a made-up value."""
    if isinstance(value, list):
        return [resolve(template, each) for each in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("Ref", str(name))]:
            return _parameter(template, name)
        case [("Fn::Sub", str(text))]:
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(_parameter(template, found[1])), text)
        case [("Fn::GetAtt", str(name))]:
            return f"the {name}"
        case [("Fn::Join", [str(glue), parts])]:
            return glue.join(resolve(template, parts))
        case [("Fn::If", [str(condition), yes, no])]:
            return resolve(template, yes if _holds(template, condition) else no)
    return {key: resolve(template, each) for key, each in value.items()}


def _holds(template: dict[str, Any], condition: str) -> bool:
    one, other = template["Conditions"][condition]["Fn::Equals"]
    return bool(resolve(template, one) == resolve(template, other))


def _parameter(template: dict[str, Any], name: str) -> Any:
    parameter = template["Parameters"].get(name, {})
    default = parameter.get("Default", GIVEN.get(name, f"the-{name}"))
    return str(default).split(",") if parameter.get("Type") == "CommaDelimitedList" else default


def resources(name: str, kind: str) -> dict[str, dict[str, Any]]:
    template = load(name)
    return {
        key: resolve(template, resource["Properties"])
        for key, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def task(name: str) -> dict[str, Any]:
    [definition] = resources(name, "AWS::ECS::TaskDefinition").values()
    return definition


def containers(name: str) -> dict[str, dict[str, Any]]:
    return {container["Name"]: container for container in task(name)["ContainerDefinitions"]}


def environment(container: dict[str, Any]) -> dict[str, str]:
    pairs = [(entry["Name"], entry["Value"]) for entry in container.get("Environment", [])]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


SERVICE: Final = containers("control-plane.yaml")["kuma-aws-iam"]
CONTROL_PLANE: Final = containers("control-plane.yaml")["control-plane"]
SIDECAR: Final = containers("dataplane.yaml")["kuma-aws-iam"]
PROXY: Final = containers("dataplane.yaml")["kuma-dp"]


def test_there_are_two_templates() -> None:
    assert TEMPLATES == ["control-plane.yaml", "dataplane.yaml"]


# Environments.


def known_variables(name: str, container: str) -> set[str]:
    if container == "kuma-aws-iam":
        options = [option for option in AGENT.params if isinstance(option, click.Option)]
        of_options = {name for option in options for name in _variables_of(option)}
        return SETTINGS if name == "control-plane.yaml" else of_options
    if container == "files":
        # Its own: it writes them into files.
        command = "\n".join(containers(name)[container]["Command"])
        return set(re.findall(r"\$([A-Z_]+)", command))
    return {"kuma-dp": KUMA_DP, "workload": set[str]()}.get(container, KUMA_CP)


def _variables_of(option: click.Option) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


@pytest.mark.parametrize(("name", "container"), [(name, each) for name in TEMPLATES for each in containers(name)])
def test_every_variable_is_one_that_the_container_reads(name: str, container: str) -> None:
    definition = containers(name)[container]
    given = {*environment(definition), *(secret["Name"] for secret in definition.get("Secrets", []))}
    assert given <= known_variables(name, container)
    if container == "files":
        assert given == known_variables(name, container)


def test_the_service_takes_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With files of its own in the places of those that the first container writes."""
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
    assert list(find_warnings(settings)) == []
    written = set(re.findall(r"> (?:\$folder/)?([a-z.-]+)$", _script("control-plane.yaml"), flags=re.MULTILINE))
    assert files.keys() <= written


def test_no_line_of_the_service_is_dropped() -> None:
    """A token's id, by which it is revoked, stands in the audit line alone."""
    options = SERVICE["LogConfiguration"]["Options"]
    assert options["mode"] == "blocking"
    assert "max-buffer-size" not in options


def _script(name: str) -> str:
    return "\n".join(containers(name)["files"]["Command"])


# The agent.


def test_the_agents_command_is_one_that_it_understands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command, *arguments = SIDECAR["Command"]
    assert command == "agent"
    for name, value in environment(SIDECAR).items():
        monkeypatch.setenv(name, value)
    for name in ("ca.pem", "caller-token"):
        (tmp_path / name).touch()
    parameters = AGENT.make_context(
        "agent", [argument.replace("/kuma-token/", f"{tmp_path}/") for argument in arguments]
    ).params
    assert parameters["mode"] == "token"
    assert str(parameters["service"]) == "https://control-plane.mesh.internal:5690"
    assert parameters["audience"] == environment(SERVICE)["KMESH_AWSIAM_AUDIENCE"]
    assert (parameters["proxy_type"], parameters["mesh"], parameters["services"]) == (
        "dataplane",
        "default",
        ("demo-app",),
    )
    assert parameters["labels"] == ("kuma.io/workload=demo-workload",)
    assert str(parameters["token_file"]) == "/kuma-token/token"


def test_the_health_check_is_one_that_it_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    cmd, program, command, *arguments = SIDECAR["HealthCheck"]["Command"]
    assert (cmd, program, command) == ("CMD", "kuma-aws-iam", "agent")
    monkeypatch.setenv("KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", environment(SIDECAR)["KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"])
    assert AGENT.make_context("agent", arguments).params["health"] is True


def test_an_agent_that_cannot_renew_takes_no_proxy_with_it() -> None:
    assert SIDECAR["Essential"] is False
    assert SIDECAR["RestartPolicy"]["Enabled"] is True
    assert PROXY["Essential"] is True


def test_the_proxy_starts_once_the_token_is_there_and_reads_it_from_the_agents_volume() -> None:
    name = "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"
    assert environment(PROXY)[name] == environment(SIDECAR)[name]
    assert PROXY["DependsOn"] == [{"ContainerName": "kuma-aws-iam", "Condition": "HEALTHY"}]
    assert PROXY["User"] == SIDECAR["User"]
    [written], [read] = SIDECAR["MountPoints"], PROXY["MountPoints"]
    assert read == {**written, "ReadOnly": True}
    assert environment(PROXY)[name].startswith(f"{written['ContainerPath']}/")


def test_the_dataplane_is_what_the_agent_asks_for_and_what_the_role_says() -> None:
    resource = yaml.safe_load(environment(PROXY)["KUMA_DATAPLANE_RUNTIME_RESOURCE"])
    [inbound] = resource["networking"]["inbound"]
    [role] = [role for role in resources("dataplane.yaml", "AWS::IAM::Role").values() if "Tags" in role]
    tags = {tag["Key"]: tag["Value"] for tag in role["Tags"]}
    assert tags == {
        "kuma.io/type": "dataplane",
        "kuma.io/mesh": resource["mesh"],
        "kuma.io/service": inbound["tags"]["kuma.io/service"],
        # From Kuma 2.13 on the label can be the SPIFFE id, and a role without the tag lets no proxy have one.
        "kuma.io/workload": resource["labels"]["kuma.io/workload"],
    }
    assert set(tags.values()) == {"dataplane", "default", "demo-app", "demo-workload"}
    variables = set(re.findall(r"{{ (\w+) }}", environment(PROXY)["KUMA_DATAPLANE_RUNTIME_RESOURCE"]))
    assert variables == set(re.findall(r'--dataplane-var "(\w+)=', "".join(PROXY["Command"])))


@pytest.mark.parametrize("text", ["on", "true", "null", "y"])
def test_a_workload_stays_the_text_that_it_is(text: str) -> None:
    resource = yaml.safe_load(
        environment(proxy_of(with_parameters(WorkloadLabel=text)))["KUMA_DATAPLANE_RUNTIME_RESOURCE"]
    )
    assert resource["labels"] == {"kuma.io/workload": text}


@pytest.mark.parametrize("text", ["", "Demo", "1demo", "demo-", "-demo", "demo.app", "a" * 64])
def test_a_workload_is_a_name_that_kuma_takes(text: str) -> None:
    """A DNS label of RFC 1035: Kuma's control plane makes a resource of this name (pkg/api-server, 2.13 and later)."""
    pattern = load("dataplane.yaml")["Parameters"]["WorkloadLabel"]["AllowedPattern"]
    assert not re.fullmatch(pattern, text)
    assert re.fullmatch(pattern, "a" * 63)


@pytest.mark.parametrize(
    ("version", "port"), [(None, 9902), ("2.14-or-later", 9902), ("2.13-or-earlier", 9901)], ids=str
)
def test_the_health_check_asks_where_this_version_says_whether_it_is_ready(version: str | None, port: int) -> None:
    """Measured: on 2.14 nothing listens on 9901, and on 2.12 a refused proxy is 200 on 9902."""
    template = with_parameters(**({} if version is None else {"KumaVersion": version}))
    *_, url = proxy_of(template)["HealthCheck"]["Command"]
    assert url == f"http://127.0.0.1:{port}/ready"
    parameter = template["Parameters"]["KumaVersion"]
    assert parameter["AllowedValues"] == ["2.13-or-earlier", "2.14-or-later"]
    assert all(words in parameter["Description"] for words in ("9901", "9902", "2.13", "2.14"))


def test_the_documented_command_gives_every_parameter_that_has_no_default() -> None:
    page = (FOLDER.parents[1] / "docs" / "how-to" / "run-the-agent-on-ecs.md").read_text("utf-8")
    for name in TEMPLATES:
        [command] = re.findall(rf"^aws cloudformation deploy .*/{name} .*$", page, flags=re.MULTILINE)
        given = set(re.findall(r" ([A-Z][A-Za-z]+)=", command))
        parameters = load(name)["Parameters"]
        assert {each for each, parameter in parameters.items() if "Default" not in parameter} <= given
        assert given <= parameters.keys()


@pytest.mark.parametrize("text", ["123", "on", "true", "null", "1e3", "0x1f"])
def test_a_mesh_or_a_service_stays_the_text_that_it_is(text: str) -> None:
    """The resource is YAML, in which these are no texts unless they are quoted."""
    template = with_parameters(Mesh=text, Service=text)
    resource = yaml.safe_load(environment(proxy_of(template))["KUMA_DATAPLANE_RUNTIME_RESOURCE"])
    assert resource["mesh"] == text
    assert resource["networking"]["inbound"][0]["tags"]["kuma.io/service"] == text


def with_parameters(**values: str) -> dict[str, Any]:
    """The template, where these parameters are given; each has to be one that it takes."""
    template = load("dataplane.yaml")
    for name, value in values.items():
        parameter = template["Parameters"][name]
        if "AllowedValues" in parameter:
            assert value in parameter["AllowedValues"]
        else:
            assert re.fullmatch(parameter["AllowedPattern"], value)
        parameter["Default"] = value
    return template


def proxy_of(template: dict[str, Any]) -> dict[str, Any]:
    [definition] = [each for each in template["Resources"].values() if each["Type"] == "AWS::ECS::TaskDefinition"]
    [proxy] = [each for each in definition["Properties"]["ContainerDefinitions"] if each["Name"] == "kuma-dp"]
    resolved: dict[str, Any] = resolve(template, proxy)
    return resolved


# Roles.


def test_the_longest_mesh_and_service_fit_into_names() -> None:
    """IAM gives a role's name 64 characters. ECS takes no dot in a family's, so that is the stack's."""
    longest = {
        name: "a" * int(re.search(r"{1,(\d+)}$", load("dataplane.yaml")["Parameters"][name]["AllowedPattern"])[1])  # type: ignore[index]
        for name in ("Mesh", "Service")
    }
    template = with_parameters(**longest)
    for name, value in longest.items():
        assert not re.fullmatch(template["Parameters"][name]["AllowedPattern"], value + "a")
    role = resolve(template, template["Resources"]["TaskRole"]["Properties"])
    assert re.fullmatch(r"[\w+=,.@-]{1,64}", role["RoleName"])
    assert load("dataplane.yaml")["Resources"]["TaskDefinition"]["Properties"]["Family"] == {"Ref": "AWS::StackName"}


def policies(name: str, role: str) -> list[dict[str, Any]]:
    properties = resources(name, "AWS::IAM::Role")[role]
    assert "ManagedPolicyArns" not in properties
    return [
        statement for policy in properties.get("Policies", []) for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_a_workloads_role_needs_no_permission() -> None:
    assert policies("dataplane.yaml", "TaskRole") == []


def test_the_service_may_read_the_roles_of_workloads_and_nothing_else() -> None:
    [statement] = policies("control-plane.yaml", "TaskRole")
    assert statement["Action"] == "iam:GetRole"
    assert statement["Resource"] == "arn:aws:iam::111122223333:role/mesh/*"
    assert resources("dataplane.yaml", "AWS::IAM::Role")["TaskRole"]["Path"] == "/mesh/"


@pytest.mark.parametrize("name", TEMPLATES)
def test_ecs_may_do_what_it_needs_for_the_start_and_on_what(name: str) -> None:
    secrets: set[str] = set()
    for statement in policies(name, "ExecutionRole"):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions)
        if statement["Resource"] == "*":
            assert actions == ["ecr:GetAuthorizationToken"]  # IAM knows no resource for it
        if actions in (["secretsmanager:GetSecretValue"], ["ssm:GetParameters"]):
            listed = statement["Resource"]
            secrets |= set(listed if isinstance(listed, list) else [listed])
    used = {secret["ValueFrom"] for each in containers(name).values() for secret in each.get("Secrets", [])}
    assert secrets == used


@pytest.mark.parametrize("name", TEMPLATES)
def test_ecs_tasks_of_this_account_alone_may_have_a_role(name: str) -> None:
    for role in resources(name, "AWS::IAM::Role").values():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "111122223333"}


# Tasks.


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_task_fits_fargate(name: str) -> None:
    definition = task(name)
    assert int(definition["Memory"]) in FARGATE_MEMORY[definition["Cpu"]]
    assert sum(each.get("Cpu", 0) for each in containers(name).values()) <= int(definition["Cpu"])


@pytest.mark.parametrize("container", [SERVICE, SIDECAR], ids=["service", "agent"])
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


@pytest.mark.parametrize("name", TEMPLATES)
def test_images_name_no_registry(name: str) -> None:
    for container in containers(name).values():
        first, slash, _ = container["Image"].partition("/")
        assert not slash or not re.search(r"[.:]", first)
