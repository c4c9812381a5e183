"""Reads the templates of ``config/cloudformation`` as CloudFormation does, with the values that a stack is given."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tools.template_reading import FOLDER, read

TEMPLATES: Final = sorted(path.name for path in FOLDER.glob("*.yaml"))
TASKS: Final = ("control-plane.yaml", "dataplane.yaml", "zone.yaml")
PSEUDO: Final = {
    "AWS::Region": "eu-west-1",
    "AWS::Partition": "aws",
    "AWS::AccountId": "111122223333",
    "AWS::StackName": "the-stack",
    "AWS::NoValue": None,
}
# Values for the parameters that have no default, where the value matters.
GIVEN: Final = {
    "Service": "demo-app",
    "WorkloadLabel": "demo-workload",
    "AuthorizedAccounts": "111122223333",
    "ProxyType": "ingress",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """A template with the values of its parameters: those given here, else the defaults, else made-up ones.

    Each value given here is checked against the parameter's AllowedValues and AllowedPattern, as CloudFormation does.
    """

    template: dict[str, Any]
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, **values: str) -> "Stack":
        template = read(name)
        for parameter, value in values.items():
            rules = template["Parameters"][parameter]
            assert value in rules.get("AllowedValues", [value])
            assert re.fullmatch(rules.get("AllowedPattern", "(?s:.*)"), value)
        return cls(template, values)

    def value(self, name: str) -> Any:
        """Return what Ref gives for a name: the value of a (pseudo) parameter, or a marker for a resource."""
        if name in PSEUDO:
            return PSEUDO[name]
        if name not in self.template["Parameters"]:
            return f"the-{name}"
        parameter = self.template["Parameters"][name]
        value = self.values.get(name, parameter.get("Default", GIVEN.get(name, f"the-{name}")))
        if parameter["Type"] == "CommaDelimitedList":
            return str(value).split(",")
        return str(value)

    def resolve(self, value: Any) -> Any:
        """Resolve the intrinsic functions of a value. Members with AWS::NoValue are left out."""
        if isinstance(value, list):
            return [each for each in map(self.resolve, value) if each is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref":
                return self.value(argument)
            if name.startswith("Fn::"):
                return self._call(name, argument)
        members = {key: self.resolve(each) for key, each in value.items()}
        return {key: each for key, each in members.items() if each is not None}

    def _call(self, function: str, argument: Any) -> Any:  # noqa: C901, PLR0911 - one for each function
        match function, argument:
            case "Fn::If", [condition, yes, no]:
                return self.resolve(yes if self.holds(condition) else no)
            case "Fn::Sub", [text, names]:
                return self._substitute(text, {key: self.resolve(each) for key, each in names.items()})
            case "Fn::Sub", text:
                return self._substitute(text, {})
            case "Fn::GetAtt", name:
                return f"the {name}"
            case "Fn::ImportValue", name:
                return f"imported {self.resolve(name)}"
            case "Fn::Join", [glue, parts]:
                return glue.join(self.resolve(parts))
            case "Fn::Split", [glue, text]:
                return self.resolve(text).split(glue)
            case "Fn::Select", [index, parts]:
                return f"number {index} of {self.resolve(parts)}"
            case (("Fn::GetAZs" | "Fn::Cidr"), _):
                return f"{function} {self.resolve(argument)}"
        raise NotImplementedError(function)

    def _substitute(self, text: str, names: Mapping[str, str]) -> str:
        def replacement(found: re.Match[str]) -> str:
            name = found[1]
            return names[name] if name in names else f"the {name}" if "." in name else str(self.value(name))

        return re.sub(r"\$\{([^}]+)\}", replacement, text)

    def holds(self, condition: str | Mapping[str, Any]) -> bool:
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        [(function, argument)] = condition.items()
        if function == "Condition":
            return self.holds(argument)
        if function == "Fn::Not":
            return not self.holds(argument[0])
        if function == "Fn::And":
            return all(self.holds(each) for each in argument)
        assert function == "Fn::Equals"
        one, other = self.resolve(argument)
        return bool(one == other)

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of each resource of a type that the stack creates, by logical id."""
        return {
            name: self.resolve(resource.get("Properties", {}))
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == kind and ("Condition" not in resource or self.holds(resource["Condition"]))
        }

    def task(self) -> dict[str, Any]:
        [definition] = self.resources("AWS::ECS::TaskDefinition").values()
        return definition

    def containers(self) -> dict[str, dict[str, Any]]:
        return {container["Name"]: container for container in self.task()["ContainerDefinitions"]}

    def environment(self, container: str) -> dict[str, str]:
        pairs = [(entry["Name"], entry["Value"]) for entry in self.containers()[container].get("Environment", [])]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)
