"""The stacks fit together: each import has an export, and the policies equal those of ``config/iam``."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from app.cli import main
from app.settings.loading import load_role_settings
from tests.support.cloudformation import TASKS, TEMPLATES, Stack
from tools.template_reading import FOLDER, read

CONFIG: Final = Path(__file__).parents[2] / "config"
GUIDE: Final = CONFIG.parent / "docs" / "how-to" / "deploy-on-ecs.md"
CONTROLLER_GUIDE: Final = GUIDE.with_name("replace-kongs-ecs-controller.md")
# The stacks in the order of their creation.
ORDER: Final = [
    "network.yaml",
    "database.yaml",
    "monitoring.yaml",
    "control-plane.yaml",
    "dataplane.yaml",
    "zone.yaml",
    "demo.yaml",
    "controller.yaml",
    "secret-workload.yaml",
    "reader-account.yaml",
    "guard.yaml",
]
ALARM: Final = "AWS::CloudWatch::Alarm"


def policy(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIG / "iam" / name).read_text("utf-8"))
    return loaded


def parts(value: Any) -> Any:
    """Yield every mapping and text within a value."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each)
    else:
        yield value


def test_the_order_has_every_template() -> None:
    assert sorted(ORDER) == TEMPLATES


# Parameters.


@pytest.mark.parametrize("name", ORDER)
def test_every_parameter_says_what_it_is_and_is_used(name: str) -> None:
    template = read(name)
    text = (FOLDER / name).read_text("utf-8")
    for parameter, rules in template["Parameters"].items():
        assert len(rules["Description"]) > 15, parameter
        body = text.replace(f"  {parameter}:\n    Type", "")
        assert re.search(rf"(!Ref |[$]{{|IsZone|Has){parameter}\b", body), f"{parameter} is not used"


@pytest.mark.parametrize("name", ORDER)
def test_images_name_no_registry(name: str) -> None:
    for parameter, rules in read(name)["Parameters"].items():
        if parameter.endswith("Image") and "Default" in rules:
            first, slash, _ = rules["Default"].partition("/")
            assert not slash or not re.search(r"[.:]", first)


@pytest.mark.parametrize("name", ORDER)
def test_the_documented_command_gives_every_parameter_that_has_no_default(name: str) -> None:
    page = (CONTROLLER_GUIDE if name in {"controller.yaml", "secret-workload.yaml"} else GUIDE).read_text("utf-8")
    file = "demo-packaged.yaml" if name == "demo.yaml" else f"config/cloudformation/{name}"
    commands = re.findall(rf"^aws cloudformation deploy .*--template-file {file}(?: .*)?$", page, flags=re.MULTILINE)
    parameters = read(name)["Parameters"]
    assert commands
    for command in commands:
        given = set(re.findall(r" ([A-Z][A-Za-z]+)=", command))
        assert {each for each, rules in parameters.items() if "Default" not in rules} <= given
        assert given <= parameters.keys()
        roles = {role for each in read(name)["Resources"].values() if (role := _role_name(each)) is not None}
        if any(roles):
            assert "CAPABILITY_NAMED_IAM" in command
        elif roles:
            assert "CAPABILITY_" in command


def _role_name(resource: dict[str, Any]) -> bool | None:
    """Whether the resource is a role with a fixed name, or a nested stack; None for any other resource."""
    if resource["Type"] == "AWS::CloudFormation::Stack":
        return True
    return "RoleName" in resource["Properties"] if resource["Type"] == "AWS::IAM::Role" else None


# Imports and outputs.


@pytest.mark.parametrize("name", ORDER)
def test_what_a_stack_imports_is_exported(name: str) -> None:
    exported = {export["Export"]["Name"]["Fn::Sub"] for export in read("network.yaml")["Outputs"].values()}
    for part in parts(read(name)):
        if isinstance(part, dict) and "Fn::ImportValue" in part:
            wanted = part["Fn::ImportValue"]["Fn::Sub"]
            assert wanted.replace("${NetworkStack}", "${AWS::StackName}") in exported


@pytest.mark.parametrize("name", ORDER)
def test_an_output_that_a_description_names_is_there(name: str) -> None:
    for rules in read(name)["Parameters"].values():
        for output, template in re.findall(r"output (\w+) of ([\w-]+\.yaml)", rules["Description"]):
            assert output in read(template)["Outputs"]


def test_the_network_can_be_one_that_exists() -> None:
    stack = Stack.of("network.yaml", ExistingVpc="vpc-0", ExistingSubnets="subnet-1,subnet-2")
    made = {
        resource["Type"]
        for resource in stack.template["Resources"].values()
        if "Condition" not in resource or stack.holds(resource["Condition"])
    }
    assert made == {
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::ECS::Cluster",
        "AWS::Logs::LogGroup",
        "AWS::ServiceDiscovery::PrivateDnsNamespace",
    }
    outputs = stack.resolve(stack.template["Outputs"])
    assert (outputs["Vpc"]["Value"], outputs["Subnets"]["Value"]) == ("vpc-0", "subnet-1,subnet-2")


@pytest.mark.parametrize("name", ORDER)
def test_nobody_on_the_internet_reaches_anything(name: str) -> None:
    for resource in read(name)["Resources"].values():
        properties = resource.get("Properties", {})
        rules = properties.get("SecurityGroupIngress", [])
        if resource["Type"] == "AWS::EC2::SecurityGroupIngress":
            rules = [properties]
        assert all(rule.get("CidrIp") != "0.0.0.0/0" for rule in rules)
        assert properties.get("MapPublicIpOnLaunch", False) is False
        assert properties.get("PubliclyAccessible", False) is False
        if resource["Type"].endswith("V2::LoadBalancer"):
            assert properties["Scheme"] == "internal"


def test_proxies_reach_one_another_where_the_templates_let_them_listen() -> None:
    group = {"Ref": "ProxySecurityGroup"}
    rules = [
        each["Properties"]
        for each in read("network.yaml")["Resources"].values()
        if each["Type"] == "AWS::EC2::SecurityGroupIngress" and each["Properties"]["GroupId"] == group
    ]
    assert all(rule["SourceSecurityGroupId"] == group for rule in rules)
    let_in = {port for rule in rules for port in range(rule["FromPort"], rule["ToPort"] + 1)}
    listening = [Stack.of("zone.yaml", ProxyType=kind) for kind in ("ingress", "egress")]
    ports = {stack.containers()["kuma-dp"]["PortMappings"][0]["ContainerPort"] for stack in listening}
    assert let_in == ports | {int(read("dataplane.yaml")["Parameters"]["ProxyPort"]["Default"])}


# The database.


def test_the_database_takes_no_connection_without_tls_and_keeps_its_password_to_itself() -> None:
    stack = Stack.of("database.yaml")
    [parameters] = stack.resources("AWS::RDS::DBParameterGroup").values()
    assert parameters["Parameters"]["rds.force_ssl"] == "1"
    [database] = stack.resources("AWS::RDS::DBInstance").values()
    assert database["MasterUserPassword"] == "{{resolve:secretsmanager:the-Password:SecretString}}"
    assert database["StorageEncrypted"] is True
    assert database["DeletionProtection"] == "true"
    resource = stack.template["Resources"]["Database"]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Snapshot"


def test_no_secret_rotates_behind_the_control_planes_back() -> None:
    """The control plane reads its password only when it starts."""
    assert "RotationSchedule" not in (FOLDER / "database.yaml").read_text("utf-8")
    assert "ManageMasterUserPassword" not in read("database.yaml")["Resources"]["Database"]["Properties"]


def test_the_database_is_the_one_that_the_control_plane_looks_for() -> None:
    database = Stack.of("database.yaml").resources("AWS::RDS::DBInstance")["Database"]
    variables = Stack.of("control-plane.yaml").environment("control-plane")
    assert variables["KUMA_STORE_POSTGRES_USER"] == database["MasterUsername"]
    assert variables["KUMA_STORE_POSTGRES_DB_NAME"] == database["DBName"]


# Logs, alarms and keys.


@pytest.mark.parametrize("name", ORDER)
def test_logs_end_and_have_the_key_that_is_given(name: str) -> None:
    for group, resource in read(name)["Resources"].items():
        if resource["Type"] == "AWS::Logs::LogGroup":
            properties = resource["Properties"]
            assert properties["RetentionInDays"]["Ref"].endswith("LogRetention"), group
            assert "KmsKeyId" in properties, group


@pytest.mark.parametrize("name", [name for name in ORDER if "AlarmTopic" in read(name)["Parameters"]])
def test_alarms_go_to_the_topic_if_there_is_one(name: str) -> None:
    given = {"ProxyType": "egress"} if name == "zone.yaml" else {}
    silent, loud = Stack.of(name, **given), Stack.of(name, AlarmTopic="the-topic", **given)
    assert len(loud.resources(ALARM)) >= 2
    for alarm in silent.resources(ALARM).values():
        assert "AlarmActions" not in alarm
    for alarm in loud.resources(ALARM).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["the-topic"]


@pytest.mark.parametrize("name", TASKS)
def test_a_metric_that_an_alarm_reads_from_a_log_is_one_that_a_filter_writes(name: str) -> None:
    stack = Stack.of(name)
    written = {
        (one["MetricNamespace"], one["MetricName"])
        for each in stack.resources("AWS::Logs::MetricFilter").values()
        for one in each["MetricTransformations"]
    }
    alarms = stack.resources(ALARM).values()
    assert {
        (each["Namespace"], each["MetricName"]) for each in alarms if each["Namespace"].startswith("Mesh/")
    } == written


# Policies.


def test_the_guard_is_that_of_the_policy_files() -> None:
    guard = read("guard.yaml")["Resources"]
    assert guard["GuardTags"]["Properties"]["Content"] == policy("guard-tags-scp.json")
    assert guard["GuardSessionTags"]["Properties"]["Content"] == policy("guard-session-tags-rcp.json")
    kinds = [each["Properties"]["Type"] for each in guard.values()]
    assert kinds == ["SERVICE_CONTROL_POLICY", "RESOURCE_CONTROL_POLICY"]


def test_the_reader_role_is_that_of_the_policy_files() -> None:
    stack = Stack.of(
        "reader-account.yaml",
        ServiceRoleArn="arn:aws:iam::111122223333:role/kuma-aws-iam",
        ExternalId="mesh-production",
        OrganizationId="o-exampleorgid",
        RolePath="/",
    )
    [role] = stack.resources("AWS::IAM::Role").values()
    assert role["AssumeRolePolicyDocument"] == policy("reader-role-trust.json")
    [given] = [each["PolicyDocument"] for each in role["Policies"]]
    assert json.dumps(given).replace("111122223333", "444455556666") == json.dumps(policy("reader-role-policy.json"))
    assert role["RoleName"] == read("control-plane.yaml")["Parameters"]["ReaderRoleName"]["Default"]


def test_the_roles_of_tasks_are_those_of_the_policy_files() -> None:
    control_plane = Stack.of(
        "control-plane.yaml",
        ReaderRoles="arn:aws:iam::444455556666:role/kuma-reader,arn:aws:iam::777788889999:role/kuma-reader",
    )
    role = control_plane.resources("AWS::IAM::Role")["TaskRole"]
    assert role["AssumeRolePolicyDocument"] == policy("service-role-trust.json")
    [reading] = [each["PolicyDocument"] for each in role["Policies"]]
    assert reading == policy("service-role-policy-path-scoped.json")
    [assuming] = control_plane.resources("AWS::IAM::RolePolicy").values()
    assert assuming["PolicyDocument"] == policy("service-role-policy-cross-account.json")
    wanted = json.dumps(policy("workload-role-trust.json")).replace("444455556666", "111122223333")
    for name in ("dataplane.yaml", "zone.yaml"):
        role = Stack.of(name).resources("AWS::IAM::Role")["TaskRole"]
        assert json.dumps(role["AssumeRolePolicyDocument"]) == wanted


def test_the_role_of_the_controller_is_that_of_the_policy_files() -> None:
    stack = Stack.of("controller.yaml", AuthorizedAccounts="111122223333", SigningKeySecret="the-key")
    role = stack.resources("AWS::IAM::Role")["TaskRole"]
    assert role["AssumeRolePolicyDocument"] == policy("service-role-trust.json")
    [given] = [each["PolicyDocument"] for each in role["Policies"]]
    assert json.dumps(given).replace("imported mesh-network-Cluster", "mesh") == json.dumps(
        policy("controller-role-policy.json")
    )


def test_the_secret_of_a_workload_is_the_one_that_the_controller_may_write() -> None:
    workload = Stack.of("secret-workload.yaml", Service="demo-app", WorkloadLabel="demo-app")
    [secret] = workload.resources("AWS::SecretsManager::Secret").values()
    assert secret["SecretString"] == "{}"
    prefix = read("controller.yaml")["Parameters"]["SecretNamePrefix"]["Default"]
    assert secret["Name"] == f"{prefix}demo-app"
    [token] = [each for each in workload.containers()["kuma-dp"]["Secrets"] if each["Name"].endswith("_TOKEN")]
    assert token == {"Name": "KUMA_DATAPLANE_RUNTIME_TOKEN", "ValueFrom": "the-TokenSecret:token::"}
    [service] = workload.resources("AWS::ECS::Service").values()
    role = workload.resources("AWS::IAM::Role")["TaskRole"]
    assert service["PropagateTags"] == "SERVICE"
    # Both modes of the controller find the same identity.
    assert [each for each in role["Tags"] if each["Key"] != "kuma.io/type"] == sorted(
        service["Tags"], key=lambda tag: [each["Key"] for each in role["Tags"]].index(tag["Key"])
    )


@pytest.mark.parametrize("values", [{"SigningKeySecret": "the-key"}, {"ApiTokenSecret": "t", "ApiCaSecret": "c"}])
def test_the_controllers_command_is_one_that_it_understands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, values: dict[str, str]
) -> None:
    stack = Stack.of("controller.yaml", AuthorizedAccounts="", **values)
    container = stack.containers()["controller"]
    for name in ("KUMA_API_TOKEN", "KUMA_API_CA_BYTES"):
        monkeypatch.delenv(name, raising=False)
    for entry in container["Environment"]:
        monkeypatch.setenv(entry["Name"], entry["Value"])
    (tmp_path / "dataplane.keys").touch()
    command, *arguments = [each.replace("/controller-files", str(tmp_path)) for each in container["Command"]]
    parameters = main.commands[command].make_context(command, arguments).params
    assert (parameters["identity"], parameters["prefix"], parameters["region"]) == (
        "role",
        "kong-mesh-ecs/",
        "eu-west-1",
    )
    assert (parameters["signing_keys"] is None) == ("SigningKeySecret" not in values)
    settings = load_role_settings()
    assert (settings.role_path_prefix, settings.authorized_accounts) == ("/mesh/", frozenset({"111122223333"}))
    names = {each["Name"] for each in container.get("Secrets", [])}
    assert names == (set() if "SigningKeySecret" in values else {"KUMA_API_TOKEN", "KUMA_API_CA_BYTES"})


def test_the_guard_covers_the_path_of_the_templates_roles() -> None:
    [passing] = [
        each for each in policy("guard-tags-scp.json")["Statement"] if each["Sid"] == "DeployersPassWorkloadRoles"
    ]
    for name in TASKS:
        path = read(name)["Parameters"]["RolePath"]["Default"]
        assert passing["Resource"] == f"arn:aws:iam::*:role{path}*"


# The demo.


def test_the_page_calls_the_counter_where_its_proxy_listens() -> None:
    stack = Stack.of("demo.yaml")
    nested = stack.resources("AWS::CloudFormation::Stack")
    assert {each["TemplateURL"] for each in nested.values()} == {"dataplane.yaml"}
    rules = read("dataplane.yaml")["Parameters"]
    for each in nested.values():
        assert each["Parameters"].keys() <= rules.keys()
        assert {name for name, rule in rules.items() if "Default" not in rule} <= each["Parameters"].keys()
        Stack.of("dataplane.yaml", **each["Parameters"])  # checks each value against the rules of its parameter
    page, counter = nested["Page"]["Parameters"], nested["Counter"]["Parameters"]
    [outbound] = json.loads(page["Outbounds"])
    proxy_port = rules["ProxyPort"]["Default"]
    assert outbound["backendRef"] == {"kind": "MeshService", "name": counter["WorkloadLabel"], "port": proxy_port}
    [before] = json.loads(
        Stack.of("demo.yaml", KumaVersion="2.14").resources("AWS::CloudFormation::Stack")["Page"]["Parameters"][
            "Outbounds"
        ]
    )
    assert before["tags"] == {"kuma.io/service": counter["Service"]}
    assert (page["WorkloadVariable"], page["WorkloadValue"]) == ("KV_URL", f"http://127.0.0.1:{outbound['port']}")
    # Only a proxy with mTLS reaches the counter.
    assert (counter["WorkloadVariable"], counter["WorkloadValue"]) == ("ADDRESS", "127.0.0.1")
    [targets] = stack.resources("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    assert str(targets["Port"]) == page["WorkloadPort"]
