"""The containers of a CloudFormation template: each `AWS::ECS::TaskDefinition`, with given values for its parameters.

cfn-lint reads the YAML with its short tags (``!Sub``, ``!Ref``). This module replaces the intrinsic functions by values, as
far as container definitions use them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cfnlint.decode import cfn_yaml

_VARIABLE: Final = re.compile(r"\$\{([^}!][^}]*)\}")
_NO_VALUE: Final = object()


class Template:
    """A template with values for its parameters.

    Args:
        path: of the YAML file.
        values: by the name of a parameter, of a pseudo parameter (``AWS::Region``) or of a resource. A parameter without a
            value has its default; a resource without a value is its own name, and so is an attribute (``Queue.Arn``).
    """

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._template = cfn_yaml.load(str(path))
        declared = self._template.get("Parameters", {})
        defaults = {name: each["Default"] for name, each in declared.items() if "Default" in each}
        pseudo = {"AWS::Region": "eu-west-1", "AWS::AccountId": "111122223333", "AWS::Partition": "aws"}
        self._values: dict[str, Any] = {**pseudo, "AWS::StackName": path.stem, **defaults, **values}

    @property
    def resources(self) -> Mapping[str, Any]:
        """Return the resources as they are written."""
        resources: Mapping[str, Any] = self._template["Resources"]
        return resources

    def task(self, container: str) -> "Task":
        """Return the first task that has a container of this name.

        Raises:
            KeyError: no task has such a container.
        """
        for resource in self.resources.values():
            if resource["Type"] == "AWS::ECS::TaskDefinition":
                task = _task(self.resolve(resource["Properties"]))
                if container in task.containers:
                    return task
        raise KeyError(container)

    def resolve(self, node: Any) -> Any:
        """Replace every intrinsic function below a node by its value."""
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not _NO_VALUE]
        if not isinstance(node, dict):
            return str(node) if isinstance(node, str) else node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in self._functions():
                return self._functions()[name](argument)
        resolved = {str(key): self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not _NO_VALUE}

    def _functions(self) -> Mapping[str, Callable[[Any], Any]]:
        return {
            "Ref": self._ref,
            "Fn::Sub": self._sub,
            "Fn::GetAtt": lambda argument: self._ref(".".join(argument) if isinstance(argument, list) else argument),
            "Fn::ImportValue": lambda argument: self._ref(self.resolve(argument)),
            "Fn::If": self._if,
            "Fn::Equals": lambda argument: self.resolve(argument[0]) == self.resolve(argument[1]),
            "Fn::Not": lambda argument: not self._condition(argument[0]),
            "Fn::And": lambda argument: all(map(self._condition, argument)),
            "Fn::Or": lambda argument: any(map(self._condition, argument)),
            "Condition": self._condition,
            "Fn::Join": lambda argument: argument[0].join(map(str, self._list(argument[1]))),
            "Fn::Split": lambda argument: self.resolve(argument[1]).split(argument[0]),
            "Fn::Select": lambda argument: self._list(argument[1])[int(self.resolve(argument[0]))],
        }

    def _list(self, node: Any) -> list[Any]:
        """Resolve a list; the value of a parameter that is a list is a text with commas."""
        resolved = self.resolve(node)
        return resolved.split(",") if isinstance(resolved, str) else resolved

    def _ref(self, name: str) -> Any:
        return _NO_VALUE if name == "AWS::NoValue" else self._values.get(str(name), str(name))

    def _sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        values = {name: self.resolve(value) for name, value in own.items()}
        replaced = _VARIABLE.sub(lambda found: str(values.get(found[1], self._ref(found[1]))), text)
        return replaced.replace("${!", "${")

    def _if(self, argument: Sequence[Any]) -> Any:
        condition, then, otherwise = argument
        return self.resolve(then if self._condition(condition) else otherwise)

    def _condition(self, argument: Any) -> bool:
        if isinstance(argument, str):
            argument = self._template["Conditions"][argument]
        return bool(self.resolve(argument))


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container definition without intrinsic functions.

    Attributes:
        secrets: variable to the ``ValueFrom`` that ECS resolves.
        mounts: container path to the name of the volume.
        health_check: the command, with ``CMD`` or ``CMD-SHELL`` first; empty without a health check.
        after: container that must be ready before, to the condition.
    """

    name: str
    image: str
    entry_point: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    health_check: Sequence[str] = ()
    after: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """The containers of a task by their names, in the template's order."""

    containers: Mapping[str, Container]


def _task(properties: Mapping[str, Any]) -> Task:
    containers = [_container(each) for each in properties["ContainerDefinitions"]]
    return Task({each.name: each for each in containers})


def _container(definition: Mapping[str, Any]) -> Container:
    return Container(
        name=definition["Name"],
        image=definition["Image"],
        entry_point=definition.get("EntryPoint", ()),
        command=[str(part) for part in definition.get("Command", ())],
        environment={each["Name"]: str(each["Value"]) for each in definition.get("Environment", ())},
        secrets={each["Name"]: each["ValueFrom"] for each in definition.get("Secrets", ())},
        mounts={each["ContainerPath"]: each["SourceVolume"] for each in definition.get("MountPoints", ())},
        health_check=definition.get("HealthCheck", {}).get("Command", ()),
        after={each["ContainerName"]: each["Condition"] for each in definition.get("DependsOn", ())},
    )
