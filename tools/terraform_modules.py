"""Write the parts of the Terraform modules that equal the CloudFormation templates: ``make templates``.

The variables of each module are the parameters of its template. Containers, trust policies, permissions and tags of the
tasks are written into ``task.tf`` as locals. So both shapes start the same containers with the same permissions. Everything
else in a module (``main.tf``, ``outputs.tf``) is written by hand.
"""

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.template_reading import FOLDER, read

MODULES: Final = FOLDER.parent / "terraform" / "modules"
TASKS: Final = ("control-plane", "dataplane", "zone")
# Templates without a module: users of Kong's old ECS controller have it, and its secrets, in CloudFormation stacks.
WITHOUT_MODULE: Final = ("controller", "secret-workload")
_HEAD: Final = (
    "# Written by `make templates` from config/cloudformation/{}.yaml, which has the comments. Change it there.\n"
)
_PSEUDO: Final = {
    "AWS::Region": "local.region",
    "AWS::Partition": "local.partition",
    "AWS::AccountId": "local.account_id",
    "AWS::StackName": "var.name",
}
# Parameters that a module does not need: it gets the outputs of the module network as one object.
_REPLACED: Final = {"NetworkStack": "network"}
_WIDTH: Final = 120


def snake(name: str) -> str:
    """Return the Terraform name of a CloudFormation name: LogGroup.Arn becomes log_group_arn."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.replace(".", "_"))
    return words.lower()


def quote(text: str) -> str:
    """Return the text as a string of HCL without interpolation."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'


class Module:
    """A template, and the Terraform expressions for its values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.template = read(f"{name}.yaml")
        self.parameters: dict[str, dict[str, Any]] = self.template["Parameters"]

    # Expressions.

    def reference(self, name: str) -> str:
        """Return the Terraform expression for Ref of this name."""
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self.parameters:
            return f"tostring(var.{snake(name)})" if is_switch(self.parameters[name]) else f"var.{snake(name)}"
        return f"local.{snake(name)}"

    def condition(self, value: str | Mapping[str, Any]) -> str:
        """Return a condition of the template as an expression. An empty text of CloudFormation is null in Terraform."""
        if isinstance(value, str):
            return self.condition(self.template["Conditions"][value])
        match next(iter(value.items())):
            case "Fn::Not", [{"Fn::Equals": [{"Ref": name}, ""]}]:
                return f"var.{snake(name)} != null"
            case "Fn::Not", [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": name}]}, ""]}]:
                return f"length(var.{snake(name)}) > 0"
            case "Fn::Not", [{"Fn::Equals": [{"Ref": name}, text]}]:
                return f"var.{snake(name)} != {quote(text)}"
            case "Fn::Equals", [{"Ref": name}, "true"]:
                return f"var.{snake(name)}"
            case "Fn::Equals", [{"Ref": name}, text]:
                return f"var.{snake(name)} == {quote(text)}"
        raise NotImplementedError(value)

    def expression(self, value: Any, indent: int = 0, *, camel: bool = False) -> str:
        """Return the HCL of a value; with ``camel`` the members of objects get ECS's own names (Name becomes name)."""
        if isinstance(value, list):
            return self._list(value, indent, camel=camel)
        if not isinstance(value, dict):
            return scalar(value) if "\n" not in str(value) else self._text(value.replace("${", "${!"), {}, indent)
        if len(value) == 1:
            [(function, argument)] = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, argument, indent, camel=camel)
        pad = "  " * (indent + 1)
        members = [
            f"{pad}{_key(key, camel=camel)} = {self.expression(each, indent + 1, camel=camel)}"
            for key, each in value.items()
        ]
        return "\n".join(["{", *members, "  " * indent + "}"])

    def _call(self, function: str, argument: Any, indent: int, *, camel: bool) -> str:  # noqa: PLR0911
        match function, argument:
            case "Ref", name:
                return self.reference(name)
            case "Fn::Sub", [text, names]:
                return self._text(text, {key: self.expression(each, indent) for key, each in names.items()}, indent)
            case "Fn::Sub", text:
                return self._text(text, {}, indent)
            case "Fn::GetAtt", name:
                return f"local.{snake(name)}"
            case "Fn::ImportValue", {"Fn::Sub": text}:
                return f"var.network.{snake(text.removeprefix('${NetworkStack}-'))}"
            case "Fn::Join", [glue, {"Ref": name}]:
                return f"join({quote(glue)}, var.{snake(name)})"
            case "Fn::If", [condition, yes, no]:
                parts = [self.expression(each, indent, camel=camel) for each in (yes, no)]
                return f"{self.condition(condition)} ? {parts[0]} : {parts[1]}"
        raise NotImplementedError(function)

    def _text(self, text: str, names: Mapping[str, str], indent: int) -> str:
        """Return a template. A text of several lines becomes a list of lines, so that indentation has no meaning."""
        if "\n" in text:
            pad = "  " * (indent + 1)
            lines = [f"{pad}{self._text(line, names, indent)}," for line in text.split("\n")]
            return "\n".join(['join("\\n", [', *lines, "  " * indent + "])"])
        pieces = re.split(r"\$\{([^}]+)\}", text)
        written = [
            quote(piece)[1:-1] if number % 2 == 0 else "${" + names.get(piece, self._named(piece)) + "}"
            for number, piece in enumerate(pieces)
        ]
        return '"' + "".join(written) + '"'

    def _named(self, name: str) -> str:
        if name.startswith("!"):
            raise NotImplementedError(name)
        return f"local.{snake(name)}" if "." in name else self.reference(name)

    def _list(self, values: list[Any], indent: int, *, camel: bool) -> str:
        pad = "  " * (indent + 1)
        if all(not isinstance(each, dict | list) and "\n" not in str(each) for each in values):
            line = "[" + ", ".join(map(scalar, values)) + "]"
            if len(line) < _WIDTH - 2 * indent:
                return line
        optional = any(_is_optional(each) for each in values)
        items = [f"{pad}{self._item(each, indent + 1, camel=camel)}," for each in values]
        head, tail = ("[for each in [", "] : each if each != null]") if optional else ("[", "]")
        return "\n".join([head, *items, "  " * indent + tail])

    def _item(self, value: Any, indent: int, *, camel: bool) -> str:
        if not _is_optional(value):
            return self.expression(value, indent, camel=camel)
        condition, yes, _ = value["Fn::If"]
        return f"{self.condition(condition)} ? {self.expression(yes, indent, camel=camel)} : null"

    # Files.

    def variables(self) -> str:
        """Return ``variables.tf``."""
        blocks = [_HEAD.format(self.name)]
        if self.name in NAMED:
            blocks.append(NAME)
        for name, rules in self.parameters.items():
            if name in _REPLACED:
                blocks.append(NETWORK)
            else:
                blocks.append(self._variable(name, rules))
        return "\n".join(blocks)

    def _variable(self, name: str, rules: Mapping[str, Any]) -> str:
        kind = "bool" if is_switch(rules) else _TYPES[rules["Type"]]
        lines = [f'variable "{snake(name)}" {{', f"type = {kind}"]
        lines.append(f"description = {quote(described(rules['Description']))}")
        if "Default" in rules:
            lines.append(f"default = {default(rules)}")
        check = _check(snake(name), rules)
        if check:
            guard = f"var.{snake(name)} == null || " if default(rules) == "null" else ""
            lines.append(
                f"validation {{\n    condition = {guard}{check}\n"
                f"    error_message = {quote(f'{snake(name)} must {_rule(rules)}.')}\n  }}"
            )
        return "\n  ".join(lines) + "\n}\n"

    def task(self) -> str:
        """Return ``task.tf``: the containers and the permissions of the tasks."""
        resources = self.template["Resources"]
        role, execution = resources["TaskRole"]["Properties"], resources["ExecutionRole"]["Properties"]
        [policy] = execution["Policies"]
        entries = {
            "task_trust": self.expression(role["AssumeRolePolicyDocument"], 1),
            "task_statements": self._list([*self._statements(role)], 1, camel=False),
            "execution_trust": self.expression(execution["AssumeRolePolicyDocument"], 1),
            "execution_policy": self.expression(policy["PolicyDocument"], 1),
            "container_definitions": self.expression(
                resources["TaskDefinition"]["Properties"]["ContainerDefinitions"], 1, camel=True
            ),
        }
        if "Tags" in role:
            entries["role_tags"] = self._tags(role["Tags"])
        body = "\n\n".join(f"  {name} = {text}" for name, text in entries.items())
        return f"{_HEAD.format(self.name)}\nlocals {{\n{body}\n}}\n"

    def _tags(self, tags: Sequence[dict[str, Any]]) -> str:
        """Return the tags as an object. One that depends on a condition is left out where the condition is false."""
        lines, is_optional = [], False
        for tag in tags:
            if _is_optional(tag):
                condition, own, _ = tag["Fn::If"]
                value = f"{self.condition(condition)} ? {self.expression(own['Value'], 2)} : null"
                is_optional = True
            else:
                own, value = tag, self.expression(tag["Value"], 2)
            lines.append(f"    {quote(own['Key'])} = {value}")
        text = "\n".join(["{", *lines, "  }"])
        return f"{{ for key, value in {text} : key => value if value != null }}" if is_optional else text

    def _statements(self, role: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield every statement of the task's role. One that depends on a condition is optional."""
        for policy in role.get("Policies", []):
            yield from policy["PolicyDocument"]["Statement"]
        for resource in self.template["Resources"].values():
            if resource["Type"] == "AWS::IAM::RolePolicy":
                for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                    yield {"Fn::If": [resource["Condition"], statement, {"Ref": "AWS::NoValue"}]}


_TYPES: Final = {"String": "string", "Number": "number", "CommaDelimitedList": "list(string)"}
# Modules that derive the names of their resources from a name, as a stack does.
NAMED: Final = frozenset({"network", "database", "monitoring", "control-plane", "dataplane", "zone", "demo"})
NAME: Final = """variable "name" {
  type = string
  description = "The name of what this module makes, as a stack has one"
}
"""
NETWORK: Final = """variable "network" {
  type = object({
    vpc = string
    subnets = list(string)
    cluster = string
    namespace = string
    dns_namespace = string
    proxy_security_group = string
    load_balancer_security_group = string
    control_plane_security_group = string
    database_security_group = string
    exec_log_group_arn = string
  })
  description = "The outputs of the module network"
}
"""


def is_switch(rules: Mapping[str, Any]) -> bool:
    """Return whether the parameter is a boolean, which CloudFormation writes as a text."""
    return rules.get("AllowedValues") == ["true", "false"]


def described(text: str) -> str:
    """Return a parameter's description for Terraform: files become modules, and parameters become variables."""
    text = re.sub(r"\b([a-z-]+)\.yaml\b", r"module \1", text.strip()).replace("stack", "module")
    for name in _names():
        text = re.sub(rf"\b{name}\b", snake(name), text)
    return text


@functools.cache
def _names() -> list[str]:
    """Return every name of a parameter or an output that is no ordinary word, the longest first."""
    templates = [read(file.name) for file in FOLDER.glob("*.yaml")]
    names = {each for template in templates for part in ("Parameters", "Outputs") for each in template.get(part, {})}
    return sorted((each for each in names if re.search(r"[a-z][A-Z]", each)), key=len, reverse=True)


def default(rules: Mapping[str, Any]) -> str:
    """Return the default of a variable as HCL, or an empty text if it has none."""
    if "Default" not in rules:
        return ""
    value = rules["Default"]
    if is_switch(rules) or rules["Type"] == "Number":
        return str(value)
    if rules["Type"] == "CommaDelimitedList":
        return "[" + ", ".join(quote(each) for each in str(value).split(",") if each) + "]"
    # The environment variable of a workload is the one parameter whose value may be an empty text.
    return quote(value) if value != "" or rules["Description"].startswith("The value") else "null"


def _check(name: str, rules: Mapping[str, Any]) -> str:
    if "AllowedValues" in rules and not is_switch(rules):
        return f"contains([{', '.join(map(quote, rules['AllowedValues']))}], var.{name})"
    if "AllowedPattern" in rules:
        return f"can(regex({quote('^(' + rules['AllowedPattern'] + ')$')}, var.{name}))"
    return ""


def _rule(rules: Mapping[str, Any]) -> str:
    if "AllowedValues" in rules:
        return "be " + " or ".join(rules["AllowedValues"])
    return f"match {rules['AllowedPattern']}"


def _key(key: str, *, camel: bool) -> str:
    if camel and key[0].isupper():
        key = key[0].lower() + key[1:]
    return key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", key) else quote(key)


def _is_optional(value: Any) -> bool:
    return isinstance(value, dict) and "Fn::If" in value and value["Fn::If"][2] == {"Ref": "AWS::NoValue"}


def scalar(value: Any) -> str:
    """Return a text of one line, a number or a boolean as HCL."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return quote(value)


def files() -> dict[Path, str]:
    """Return every file that is generated, and its text before ``terraform fmt``."""
    found = {}
    for path in sorted(path for path in FOLDER.glob("*.yaml") if path.stem not in WITHOUT_MODULE):
        module = Module(path.stem)
        found[MODULES / path.stem / "variables.tf"] = module.variables()
        if path.stem in TASKS:
            found[MODULES / path.stem / "task.tf"] = module.task()
    return found


def same(one: str, other: str) -> bool:
    """Return whether two texts differ only in the blanks that ``terraform fmt`` sets."""
    return re.sub(r"[ \t]+", " ", one).replace("\n ", "\n") == re.sub(r"[ \t]+", " ", other).replace("\n ", "\n")


def main() -> int:
    """Write the files that differ, and let Terraform format them."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or not same(path.read_text("utf-8"), text):
            path.write_text(text, "utf-8")
    terraform = shutil.which("terraform")
    if terraform is None:
        print("terraform is not installed: run `terraform fmt -recursive config/terraform` before you commit.")
        return 0
    return subprocess.run([terraform, "fmt", "-recursive", str(MODULES.parent)], check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
