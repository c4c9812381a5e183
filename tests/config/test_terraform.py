"""The Terraform modules: every reference resolves, and templates and modules start the same tasks with the same permissions.

``terraform validate`` needs the AWS provider, which the tests cannot download. So python-hcl2 parses every file, and where
terraform is installed it evaluates the generated locals, which need no provider.
"""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import hcl2
import pytest

from tests.support.cloudformation import TASKS, Stack
from tools.template_reading import read
from tools.terraform_modules import files, is_switch, same, snake

ROOT: Final = Path(__file__).parents[2] / "config" / "terraform"
MODULES: Final = [ROOT, *sorted(path for path in (ROOT / "modules").iterdir() if path.is_dir())]
IDS: Final = [path.name for path in MODULES]
TERRAFORM: Final = shutil.which("terraform")
NETWORK: Final = {
    name: f"imported mesh-network-{name}"
    for name in (
        "vpc",
        "cluster",
        "namespace",
        "dns_namespace",
        "proxy_security_group",
        "load_balancer_security_group",
        "control_plane_security_group",
        "database_security_group",
    )
}


@functools.cache
def parsed(module: Path) -> list[dict[str, Any]]:
    return [hcl2.loads(path.read_text("utf-8")) for path in sorted(module.glob("*.tf"))]


def blocks(module: Path, kind: str) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield each block of a kind with its labels: variable "x" {} gives ["x"] and the body."""
    for document in parsed(module):
        for block in document.get(kind, []):
            yield from _labelled(block, {"resource": 2, "data": 2, "ephemeral": 2}.get(kind, 1))


def _labelled(block: dict[str, Any], depth: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for label, body in block.items():
        if label.startswith("__"):
            continue
        if depth == 1:
            yield [label.strip('"')], body
        else:
            for labels, inner in _labelled(body, depth - 1):
                yield [label.strip('"'), *labels], inner


def names(module: Path, kind: str) -> set[str]:
    return {labels[0] for labels, _ in blocks(module, kind)}


def local_names(module: Path) -> set[str]:
    found = {name.strip('"') for document in parsed(module) for block in document.get("locals", []) for name in block}
    return {name for name in found if not name.startswith("__")}


def declared(module: Path) -> set[str]:
    """Return every address with which an expression of a module may begin."""
    own = {f"{labels[0]}.{labels[1]}" for labels, _ in blocks(module, "resource")}
    read_ones = {
        f"{kind}.{labels[0]}.{labels[1]}" for kind in ("data", "ephemeral") for labels, _ in blocks(module, kind)
    }
    variables = {f"var.{name}" for name in names(module, "variable")}
    return own | read_ones | variables | {f"local.{name}" for name in local_names(module)}


def source(module: Path) -> str:
    return "\n".join(
        re.sub(r"^\s*#.*$", "", path.read_text("utf-8"), flags=re.MULTILINE) for path in sorted(module.glob("*.tf"))
    )


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_every_reference_leads_to_something(module: Path) -> None:
    text = source(module)
    used = set(re.findall(r"\b(var\.\w+|local\.\w+|(?:data|ephemeral)\.aws_\w+\.\w+)", text))
    used |= set(re.findall(r"(?<![\w.\"])(aws_\w+\.\w+)", text))
    assert used <= declared(module)
    for call, output in re.findall(r"\bmodule\.(\w+)\.(\w+)", text):
        [(_, body)] = [each for each in blocks(module, "module") if each[0] == [call]]
        assert output in names(called(module, body), "output")


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_nothing_is_declared_that_nobody_uses(module: Path) -> None:
    text = source(module)
    for name in {f"var.{each}" for each in names(module, "variable")} | {
        f"local.{each}" for each in local_names(module)
    }:
        # The rule of a variable contains its name too.
        uses = [line for line in text.splitlines() if re.search(rf"\b{name}\b", line) and "condition     =" not in line]
        assert uses, name


def called(module: Path, body: dict[str, Any]) -> Path:
    path = (module / str(body["source"]).strip('"')).resolve()
    assert path in MODULES
    return path


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_a_call_gives_a_module_what_it_takes(module: Path) -> None:
    for _, body in blocks(module, "module"):
        given = {name for name in body if not name.startswith("__")} - {"source"}
        rules = {labels[0]: each for labels, each in blocks(called(module, body), "variable")}
        assert given <= rules.keys()
        assert {name for name, each in rules.items() if "default" not in each} <= given


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_a_variable_and_an_output_say_what_they_are(module: Path) -> None:
    for kind in ("variable", "output"):
        for labels, body in blocks(module, kind):
            assert len(str(body["description"])) > 15, labels
    assert (module / "versions.tf").read_text("utf-8") == (ROOT / "versions.tf").read_text("utf-8")


# Equal to the templates.


def test_there_is_a_module_for_each_template() -> None:
    assert {path.name for path in MODULES[1:]} == {path.parent.name for path in files()}


@pytest.mark.parametrize(("path", "text"), files().items(), ids=[f"{path.parent.name}/{path.name}" for path in files()])
def test_what_make_templates_writes_is_there(path: Path, text: str) -> None:
    assert same(path.read_text("utf-8"), text), "run `make templates`"


RESOURCES: Final = {
    "AWS::CloudWatch::Alarm": "aws_cloudwatch_metric_alarm",
    "AWS::ECS::Service": "aws_ecs_service",
    "AWS::ECS::TaskDefinition": "aws_ecs_task_definition",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "aws_lb",
    "AWS::Logs::MetricFilter": "aws_cloudwatch_log_metric_filter",
    "AWS::RDS::DBInstance": "aws_db_instance",
    "AWS::APS::Workspace": "aws_prometheus_workspace",
    "AWS::ECS::Cluster": "aws_ecs_cluster",
}


@pytest.mark.parametrize("module", MODULES[1:], ids=IDS[1:])
def test_a_module_makes_what_its_stack_makes(module: Path) -> None:
    of_stack = {each["Type"] for each in read(f"{module.name}.yaml")["Resources"].values()} & RESOURCES.keys()
    of_module = {labels[0] for labels, _ in blocks(module, "resource")} & set(RESOURCES.values())
    assert {RESOURCES[kind] for kind in of_stack} == of_module


@pytest.mark.parametrize("module", MODULES[1:], ids=IDS[1:])
def test_an_alarm_reads_what_that_of_the_stack_reads(module: Path) -> None:
    of_stack = {
        (each["Properties"]["MetricName"], each["Properties"]["ComparisonOperator"], str(each["Properties"]["Period"]))
        for each in read(f"{module.name}.yaml")["Resources"].values()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }
    of_module = {
        tuple(str(body[name]).strip('"') for name in ("metric_name", "comparison_operator", "period"))
        for labels, body in blocks(module, "resource")
        if labels[0] == "aws_cloudwatch_metric_alarm"
    }
    assert of_module == of_stack


def test_the_guard_and_the_reader_are_made_of_the_policy_files() -> None:
    for module, wanted in (("guard", "guard-*.json"), ("reader-account", "reader-role-*.json")):
        text = source(ROOT / "modules" / module)
        assert "${path.module}/../../../iam" in text
        for path in (ROOT.parent / "iam").glob(wanted):
            assert path.name in text


def test_no_secret_is_in_a_state() -> None:
    """A write-only argument is in no plan and no state (Terraform 1.11). A data source of a secret would be in both."""
    for module in MODULES:
        text = source(module)
        assert not re.search(r"^\s*(password|master_password|secret_string)\s*=", text, flags=re.MULTILINE)
        assert 'random_password" "' not in text.replace('aws_secretsmanager_random_password" "', "")
        assert "aws_secretsmanager_secret_version" not in {labels[0] for labels, _ in blocks(module, "data")}


@pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed: its format is not checked")
def test_the_files_have_terraforms_format(tmp_path: Path) -> None:
    assert run_terraform(tmp_path, "fmt", "-check", "-recursive", str(ROOT)).returncode == 0


# Evaluated by Terraform.

OPTIONS: Final = {
    "control-plane.yaml": {
        "EcsExec": "true",
        "GlobalAddress": "grpcs://global.example:5685",
        "KmsKey": "the-key",
        "MetricsUrl": "https://aps.example/api/v1/remote_write",
        "MetricsWorkspace": "ws-0",
        "ReaderRoles": "arn:aws:iam::444455556666:role/kuma-reader",
        "ReaderExternalId": "the-external-id",
    },
    "dataplane.yaml": {
        "EcsExec": "true",
        "KmsKey": "the-key",
        "KumaVersion": "2.13-or-earlier",
        "Outbounds": '[{"port":5051,"tags":{"kuma.io/service":"kv"}}]',
    },
    "zone.yaml": {"EcsExec": "true", "KmsKey": "the-key", "ProxyType": "egress", "KumaVersion": "2.14"},
}
CASES: Final = [
    *((name, {"ProxyType": "ingress"} if name == "zone.yaml" else {}) for name in TASKS),
    *OPTIONS.items(),
]


@pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed: the modules' locals are not evaluated")
@pytest.mark.parametrize(("name", "values"), CASES, ids=[f"{name}-{len(values)}" for name, values in CASES])
def test_terraform_makes_of_a_module_what_cloudformation_makes_of_the_template(
    name: str, values: dict[str, str], tmp_path: Path
) -> None:
    stack = Stack.of(name, **values)
    made = evaluated(stack, name.removesuffix(".yaml"), tmp_path)
    task = stack.resources("AWS::IAM::Role")["TaskRole"]
    execution = stack.resources("AWS::IAM::Role")["ExecutionRole"]
    attached = stack.resources("AWS::IAM::RolePolicy").values()
    documents = [each["PolicyDocument"] for each in (*task.get("Policies", []), *attached)]
    assert made["container_definitions"] == camel(stack.task()["ContainerDefinitions"])
    assert made["task_trust"] == task["AssumeRolePolicyDocument"]
    assert made["task_statements"] == [statement for document in documents for statement in document["Statement"]]
    assert made["execution_trust"] == execution["AssumeRolePolicyDocument"]
    assert made["execution_policy"] == execution["Policies"][0]["PolicyDocument"]
    if "Tags" in task:
        assert made["role_tags"] == {tag["Key"]: tag["Value"] for tag in task["Tags"]}


def camel(value: Any) -> Any:
    """Convert to the names of ECS's API: Name becomes name."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    members = {key[0].lower() + key[1:]: camel(each) for key, each in value.items()}
    if "containerPort" in members:  # CloudFormation's parameters are texts. The API wants a number here
        members["containerPort"] = int(members["containerPort"])
    return members


def evaluated(stack: Stack, module: str, folder: Path) -> dict[str, Any]:
    """Evaluate the locals of task.tf, with the values of the stack for variables and other locals."""
    for name in ("variables.tf", "task.tf"):
        shutil.copy(ROOT / "modules" / module / name, folder)
    marks = {"LogGroup": "the-{}", "AuditLogGroup": "the-{}", "LogGroup.Arn": "the {}", "AuditLogGroup.Arn": "the {}"}
    marks["LoadBalancer.DNSName"] = "the {}"
    others = {snake(name): mark.format(name) for name, mark in marks.items()}
    others |= {"region": "eu-west-1", "partition": "aws", "account_id": "111122223333"}
    (folder / "others.tf.json").write_text(json.dumps({"locals": others}))
    network: dict[str, Any] = dict(NETWORK, subnets=[], exec_log_group_arn="imported mesh-network-ExecLogGroupArn")
    variables: dict[str, Any] = {"name": "the-stack", "network": network}
    for parameter, rules in stack.template["Parameters"].items():
        value = stack.value(parameter)
        if parameter != "NetworkStack" and not ("Default" in rules and rules["Default"] in (value, ",".join(value))):
            variables[snake(parameter)] = value == "true" if is_switch(rules) else value
    (folder / "terraform.tfvars.json").write_text(json.dumps(variables))
    wanted = local_names(ROOT / "modules" / module) & set(
        re.findall(r"^  (\w+) +=", (folder / "task.tf").read_text("utf-8"), flags=re.MULTILINE)
    )
    question = "jsonencode({" + ", ".join(f"{name} = local.{name}" for name in sorted(wanted)) + "})"
    answer = run_terraform(folder, "console", given=question)
    assert answer.returncode == 0, answer.stderr
    made: dict[str, Any] = json.loads(json.loads(answer.stdout.splitlines()[-1]))
    return made


def run_terraform(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    assert TERRAFORM is not None
    return subprocess.run(  # noqa: S603 - terraform itself
        [TERRAFORM, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "CHECKPOINT_DISABLE": "1"},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
