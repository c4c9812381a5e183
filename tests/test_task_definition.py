"""The content of the shipped templates, read by the module that the tests with a real Kuma use."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import main
from tests.support.process import ROOT
from tests.support.task_definition import Template

TEMPLATES = sorted((ROOT / "config/cloudformation").glob("*.yaml"))
EXAMPLE = """
Parameters:
  Name: { Type: String }
  Size: { Type: Number, Default: 2 }
  Hosts: { Type: CommaDelimitedList, Default: "a,b" }
Conditions:
  IsLarge: !Equals [!Ref Size, 3]
  IsSmall: !Not [!Condition IsLarge]
  IsNamed: !And [!Condition IsSmall, !Equals [!Ref Name, web]]
Resources:
  Queue: { Type: AWS::SQS::Queue }
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: app
          Image: !Ref Name
          EntryPoint: !If [IsLarge, [big], [small]]
          Command:
            - !Sub "${Name}-${AWS::Region}-${!Kept}-${Queue.Arn}"
            - !Sub ["${Name}/${Own}", { Own: !Join [".", !Ref Hosts] }]
            - !If [IsLarge, gone, !Ref AWS::NoValue]
            - !Select [1, !Split [",", !Join [",", !Ref Hosts]]]
            - !If [IsNamed, named, !GetAtt Queue.Arn]
          Environment:
            - { Name: SIZE, Value: !Ref Size }
          Secrets:
            - { Name: KEY, ValueFrom: !Ref Queue }
          MountPoints:
            - { ContainerPath: /files, SourceVolume: files }
          HealthCheck: { Command: [CMD, check] }
          DependsOn:
            - { ContainerName: files, Condition: SUCCESS }
"""


def test_every_function_of_a_container_definition_is_resolved(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(EXAMPLE, "utf-8")
    app = Template(path, {"Name": "web", "Queue.Arn": "arn:queue"}).task("app").containers["app"]
    assert (app.image, app.entry_point) == ("web", ["small"])
    assert app.command == ["web-eu-west-1-${Kept}-arn:queue", "web/a.b", "b", "named"]
    assert (app.environment, app.secrets, app.mounts) == ({"SIZE": "2"}, {"KEY": "Queue"}, {"/files": "files"})
    assert (app.health_check, app.after) == (["CMD", "check"], {"files": "SUCCESS"})


def test_a_container_that_no_task_has_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(EXAMPLE, "utf-8")
    with pytest.raises(KeyError):
        Template(path, {}).task("other")


def dataplane_task(kuma_version: str) -> tuple[list[str], dict[str, Any]]:
    """The agent's command and the Dataplane of the workload's template."""
    values = {"Service": "web", "WorkloadLabel": "web-label", "Mesh": "shop", "KumaVersion": kuma_version}
    containers = Template(ROOT / "config/cloudformation/dataplane.yaml", values).task("kuma-dp").containers
    return list(containers["agent"].command), yaml.safe_load(containers["files"].environment["DATAPLANE"])


@pytest.mark.parametrize(
    ("kuma_version", "fields"),
    [
        ("3.0-or-later", {"protocol": "http"}),
        ("2.14", {"tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}}),
        ("2.13-or-earlier", {"tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}}),
    ],
)
def test_the_dataplane_of_the_template_has_the_form_of_its_kuma(kuma_version: str, fields: dict[str, Any]) -> None:
    _, resource = dataplane_task(kuma_version)
    assert (resource["mesh"], resource["labels"]["kuma.io/workload"]) == ("shop", "web-label")
    (inbound,) = resource["networking"]["inbound"]
    assert {key: inbound[key] for key in ("protocol", "tags") if key in inbound} == fields


def test_the_command_of_the_agent_has_options_that_the_agent_knows() -> None:
    command, _ = dataplane_task("3.0-or-later")
    agent = main.commands["agent"]
    known = {option for parameter in agent.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert command[0] == "agent"
    assert {word for word in command if word.startswith("--")} <= known


@pytest.mark.parametrize("path", TEMPLATES, ids=[path.name for path in TEMPLATES])
def test_every_container_that_another_one_waits_for_exists(path: Path) -> None:
    template = Template(path, {})
    for resource in template.resources.values():
        if resource["Type"] == "AWS::ECS::TaskDefinition":
            definitions = template.resolve(resource["Properties"])["ContainerDefinitions"]
            names = {each["Name"] for each in definitions}
            waited_for = {wait["ContainerName"] for each in definitions for wait in each.get("DependsOn", ())}
            assert waited_for <= names
