"""Read what a proxy asserts from its resource: the file that ``kuma-dp run --dataplane-file`` reads.

The control plane compares a token with this resource. An agent that reads the same file asks for exactly that identity.
The rules are those of kumahq/kuma: app/kuma-dp/cmd/run.go and dataplane.go, pkg/util/template/render.go.
"""

import html
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from app.agent.resource_form import faults
from app.core.kuma_version import KumaVersion
from app.core.proxy import SERVICE_TAG, ProxyType, ZoneListener
from app.core.strict_json import MAX_NESTING, StrictJsonError, parse_object
from app.local.causes import explain_file

# A Dataplane with 600 outbounds has about 40 KiB. PyYAML reads 64 KiB in a second.
MAX_RESOURCE_BYTES: Final = 64 * 1024
_TYPES: Final = {
    "Dataplane": ProxyType.DATAPLANE,
    "ZoneIngress": ProxyType.INGRESS,
    "ZoneEgress": ProxyType.EGRESS,
}
# A tag of mustache: {{{ name }}} inserts the value as it is, {{ name }} inserts it with HTML entities.
_MUSTACHE: Final = re.compile(r"\{\{\{([^{}]*)\}\}\}|\{\{([^{}]*)\}\}")
_VARIABLE: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


class ResourceError(ValueError):
    """The resource cannot be used. The message is a sentence with the fault and the remedy."""


def read_resource(path: Path, variables: Mapping[str, str], version: KumaVersion | None = None) -> dict[str, Any]:
    """Read a resource as the member ``proxy`` of a call.

    Args:
        path: the file, YAML or JSON.
        variables: the values for the template, by their names.
        version: the version of the control plane; None to read the form of each version.

    Raises:
        ResourceError: the file cannot be read, is too large, describes no proxy, or has a field that a control plane of this
            version does not read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RESOURCE_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ResourceError(f"it cannot be read as UTF-8 text ({explain_file(error)})") from error
    if len(data) > MAX_RESOURCE_BYTES:
        raise ResourceError(f"it has over {MAX_RESOURCE_BYTES // 1024} KiB")
    resource = _parse(fill_template(text, variables))
    for fault in faults(resource, version) if version is not None else ():
        raise ResourceError(fault)
    return _assertion(resource)


def fill_template(text: str, variables: Mapping[str, str]) -> str:
    """Insert the variables as kuma-dp does: a name without a value becomes an empty text.

    kuma-dp uses mustache (hoisie/mustache of 2016). Variables and comments are what templates of a Dataplane consist of. All
    else, such as a section, is rejected: that library does not follow mustache's specification there.

    Raises:
        ResourceError: the template has a tag of another kind, or one without an end.
    """
    if any("{{" in part for part in _MUSTACHE.split(text)[::3]):
        raise ResourceError("its template has a {{ without a name and }} behind it")

    def value_of(match: re.Match[str]) -> str:
        raw, escaped = match.groups()
        name = (escaped if raw is None else raw).strip()
        if name.startswith("!"):
            return ""
        if not _VARIABLE.fullmatch(name):
            raise ResourceError(f"its template has {match[0]}; only {{{{ name }}}} is inserted")
        value = variables.get(name, "")
        # The entities of Go's html/template.
        return value if raw is not None else html.escape(value, quote=False).replace('"', "&#34;").replace("'", "&#39;")

    return _MUSTACHE.sub(value_of, text)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, without what makes a short text large, deep or ambiguous."""

    _nesting = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # An alias in a merge key (<<) can make a few lines as large as the memory.
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="an alias (*) is not read; write the value itself", problem_mark=self._mark()
            )
        if self._nesting == MAX_NESTING:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_NESTING} levels deep", problem_mark=self._mark())
        self._nesting += 1
        node = super().compose_node(parent, index)
        self._nesting -= 1
        return node

    def _mark(self) -> yaml.Mark:
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        return mark

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        key, times = keys.most_common(1)[0] if keys else ("", 0)
        if times > 1:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} occurs twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _parse(text: str) -> dict[str, Any]:
    # JSON may be indented by tabs, and YAML may not.
    if text.lstrip().startswith("{"):
        try:
            return parse_object(text)
        except StrictJsonError:
            pass  # either YAML that begins with a brace, or a fault that YAML's parser describes better
    try:
        resource = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ResourceError(f"{line}{error.problem}") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML raises errors of Python for a value that does not fit its tag, such as ``!!bool maybe``.
        raise ResourceError("it is neither YAML nor JSON, or a value does not fit its tag") from error
    return _mapping(resource, "it")


def _assertion(resource: dict[str, Any]) -> dict[str, Any]:
    proxy_type = _TYPES.get(str(resource.get("type")))
    if proxy_type is None:
        raise ResourceError("its type must be Dataplane, ZoneIngress or ZoneEgress, in the form of kuma-dp (universal)")
    is_dataplane = proxy_type is ProxyType.DATAPLANE
    assertion: dict[str, Any] = {
        "type": proxy_type.value,
        "mesh": _required(resource, "mesh") if is_dataplane else None,
        "name": _required(resource, "name"),
        "zone": None if is_dataplane else _text(resource, "zone"),
    }
    if not is_dataplane:
        return assertion
    networking = _mapping(resource.get("networking"), "networking")
    services = _services(networking)
    if services:
        assertion["tags"] = {SERVICE_TAG: services}
    labels = _labels(resource)
    label = labels.get(SERVICE_TAG)
    if services and label is not None and services != [label]:
        raise ResourceError(
            f"labels.{SERVICE_TAG} is {label}, and the tags of its inbounds and gateway say {', '.join(services)}; Kuma 3.0 "
            "reads the label, and earlier versions read the tags, so write one service"
        )
    # A role can pin each label, and the agent does not know which.
    if labels:
        assertion["labels"] = labels
    listeners = _listeners(networking)
    if listeners:
        assertion["listeners"] = listeners
    return assertion


def _labels(resource: dict[str, Any]) -> dict[str, str]:
    labels = _mapping(resource.get("labels"), "labels")
    for key in labels:
        if not isinstance(key, str):
            raise ResourceError(f"the key {key!r} of its labels is no text; write it in quotes")
    return {key: value for key in labels if (value := _text(labels, key, "labels.")) is not None}


def _services(networking: dict[str, Any]) -> list[str]:
    """Return the services of all inbounds and of the gateway, as Kuma's ``TagSet()`` collects them."""
    holders = [*_mappings(networking, "inbound"), _mapping(networking.get("gateway"), "gateway")]
    values = (_text(_mapping(holder.get("tags"), "tags"), SERVICE_TAG) for holder in holders)
    return list(dict.fromkeys(value for value in values if value is not None))


def _listeners(networking: dict[str, Any]) -> list[str]:
    kinds = [_text(listener, "type") for listener in _mappings(networking, "listeners")]
    if not set(kinds) <= set(ZoneListener):
        raise ResourceError("the type of each of its listeners must be ZoneIngress or ZoneEgress")
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def _mappings(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key) or []
    if not isinstance(value, list):
        raise ResourceError(f"{key} must be a list")
    return [_mapping(each, f"each entry of {key}") for each in value]


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None and what != "it":
        return {}
    if not isinstance(value, dict):
        raise ResourceError(f"{what} must be a mapping of names to values")
    return value


def _text(holder: dict[str, Any], key: str, place: str = "") -> str | None:
    value = holder.get(key)
    if value is not None and not isinstance(value, str):
        try:
            shown = repr(value)
        except ValueError:  # Python writes no integer of over 4300 digits
            shown = "a very large number"
        remedy = "write one value" if isinstance(value, list | dict) else "write it in quotes"
        raise ResourceError(f"{place}{key} is {shown} and no text; {remedy}")
    return value or None


def _required(resource: dict[str, Any], key: str) -> str:
    value = _text(resource, key)
    if value is None:
        raise ResourceError(f"it has no {key}; write one, or give the --dataplane-var that its template needs")
    return value
