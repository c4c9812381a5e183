"""The resource of a proxy as kuma-dp reads it, and the files that the agent refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.agent.dataplane_file import MAX_RESOURCE_BYTES, ResourceError, fill_template, read_resource

DATAPLANE = """
type: Dataplane
mesh: default
name: demo-app-1
labels:
  kuma.io/workload: demo-app
  team: web
networking:
  address: 10.0.0.1
  inbound:
  - port: 5000
    tags:
      kuma.io/service: demo-app
      kuma.io/protocol: http
  outbound:
  - port: 8001
    tags:
      kuma.io/service: backend
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataplane.yaml"


def read(path: Path, text: str, **variables: str) -> dict[str, Any]:
    path.write_text(text)
    return read_resource(path, variables)


def test_the_identity_is_that_of_the_inbounds_and_not_of_what_it_calls(path: Path) -> None:
    assert read(path, DATAPLANE) == {
        "type": "dataplane",
        "mesh": "default",
        "name": "demo-app-1",
        "zone": None,
        "tags": {"kuma.io/service": ["demo-app"]},
        "labels": {"kuma.io/workload": "demo-app", "team": "web"},
    }


def test_services_are_those_of_all_inbounds_and_of_the_gateway(path: Path) -> None:
    inbounds = [{"port": port, "tags": {"kuma.io/service": name}} for port, name in ((1, "a"), (2, "b"), (3, "a"))]
    networking = {"inbound": [*inbounds, {"port": 4}], "gateway": {"tags": {"kuma.io/service": "edge"}}}
    resource = {"type": "Dataplane", "mesh": "default", "name": "a-1", "networking": networking}
    assert read(path, json.dumps(resource))["tags"] == {"kuma.io/service": ["a", "b", "edge"]}


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_like_yaml(path: Path, indent: int | str | None) -> None:
    networking = {"listeners": [{"type": "ZoneEgress", "port": 10002}, {"type": "ZoneEgress", "port": 10003}]}
    resource = {"type": "Dataplane", "mesh": "default", "name": "egress-1", "networking": networking}
    assert read(path, json.dumps(resource, indent=indent)) == {
        "type": "dataplane",
        "mesh": "default",
        "name": "egress-1",
        "zone": None,
        "listeners": ["ZoneEgress"],
    }


@pytest.mark.parametrize(("kind", "proxy_type"), [("ZoneIngress", "ingress"), ("ZoneEgress", "egress")])
def test_a_zone_proxy_of_its_own_resource_has_no_mesh(path: Path, kind: str, proxy_type: str) -> None:
    text = f"type: {kind}\nname: zone-proxy\nzone: east\nnetworking: {{address: 10.0.0.1, port: 10001}}"
    assert read(path, text) == {"type": proxy_type, "mesh": None, "name": "zone-proxy", "zone": "east"}


def test_variables_are_inserted(path: Path) -> None:
    text = DATAPLANE.replace("demo-app-1", "{{ name }}").replace("10.0.0.1", "{{address}}")
    assert read(path, text, name="demo-app-2")["name"] == "demo-app-2"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ x }}|{{x}}|{{ x\n }}", "&lt;&amp;&#34;&#39;&gt;|&lt;&amp;&#34;&#39;&gt;|&lt;&amp;&#34;&#39;&gt;"),
        ("{{{x}}}|{{{ x }}}", "<&\"'>|<&\"'>"),
        ("{{x}}}", "&lt;&amp;&#34;&#39;&gt;}"),
        ("{a: {{ a.b }}}", "{a: AB}"),
        ("{{missing}}|{{{missing}}}|{{! a comment }}|", "|||"),
        ("{{x-y}}", "dash"),
    ],
)
def test_a_template_becomes_what_kuma_dp_makes_of_it(template: str, expected: str) -> None:
    """Each expected text is the output of hoisie/mustache 6375acf62c69 for this template and these variables."""
    assert fill_template(template, {"x": "<&\"'>", "a.b": "AB", "x-y": "dash"}) == expected


@pytest.mark.parametrize(
    "template",
    ["{{x", "{{ x }", "{{}}", "{{#x}}in{{/x}}", "{{^x}}no{{/x}}", "{{>file}}", "{{=<% %>=}}", "{{&x}}", "{{a b}}"],
)
def test_a_template_that_needs_more_than_variables_is_rejected(template: str) -> None:
    with pytest.raises(ResourceError, match="its template has"):
        fill_template(template, {"x": "1"})


def test_a_template_takes_time_in_proportion_to_its_length() -> None:
    """A quadratic parser would take minutes."""
    for text in ("{{" * MAX_RESOURCE_BYTES, "{{x" * MAX_RESOURCE_BYTES, "{{ x" + " " * MAX_RESOURCE_BYTES):
        with pytest.raises(ResourceError):
            fill_template(text, {})


# Each line has nine times as many keys as the line before it.
BOMB = "a: &a {x: y}\nb: &b {<<: [*a, *a, *a, *a, *a, *a, *a, *a, *a]}\nc: {<<: [*b, *b, *b, *b, *b, *b, *b, *b, *b]}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it must be a mapping"),
        ("- a", "it must be a mapping"),
        ("name: a-1\nmesh: default", "its type must be Dataplane"),
        ("kind: Dataplane\nmetadata: {name: a-1}", "its type must be Dataplane"),
        ("type: Mesh\nname: default", "its type must be Dataplane"),
        ("type: [Dataplane]", "its type must be Dataplane"),
        (DATAPLANE.replace("mesh: default", ""), "it has no mesh"),
        (DATAPLANE.replace("demo-app-1", "{{ name }}"), "it has no name; write one, or give the --dataplane-var"),
        (DATAPLANE.replace("mesh: default", "mesh: on"), "mesh is True and no text; write it in quotes"),
        (DATAPLANE.replace("service: demo-app", "service: 7"), "kuma.io/service is 7 and no text"),
        (DATAPLANE.replace("workload: demo-app", "workload: 2026-11-27"), "and no text"),
        (DATAPLANE.replace("workload: demo-app", "workload: 2026-13-27"), "neither YAML nor JSON"),
        (DATAPLANE.replace("mesh: default", "mesh: 0x" + "f" * 5_000), "mesh is a very large number and no text"),
        (DATAPLANE.replace("mesh: default", "mesh: !!bool maybe"), "or a value does not fit its tag"),
        (DATAPLANE.replace("mesh: default", "mesh: !!int ''"), "or a value does not fit its tag"),
        (DATAPLANE.replace("mesh: default", "mesh: !!timestamp now"), "or a value does not fit its tag"),
        (DATAPLANE + "---\n" + DATAPLANE, "line 19: but found another document"),
        (DATAPLANE + "mesh: payments\n", "the key 'mesh' occurs twice"),
        ('{"type": "Dataplane", "mesh": "a", "mesh": "b"}', "the key 'mesh' occurs twice"),
        (DATAPLANE + "name: !!python/name:os.system\n", "occurs twice"),
        (DATAPLANE + "x: !!python/name:os.system\n", "could not determine a constructor"),
        (DATAPLANE + BOMB, "an alias (*) is not read"),
        ("[" * 5_000, "nested more than 16 levels deep"),
        ("{a: " * 5_000, "nested more than 16 levels deep"),
        ("type: Dataplane\n\tmesh: default", "line 2"),
        (DATAPLANE.replace("  inbound:\n  -", "  inbound:\n   "), "inbound must be a list"),
        (
            DATAPLANE.replace("  inbound:\n  - port: 5000\n", "  inbound:\n  - 5000\n  - port: 5000\n"),
            "each entry of inbound",
        ),
        (
            DATAPLANE.replace("  address: 10.0.0.1", "  listeners: [{type: Gateway}]"),
            "the type of each of its listeners",
        ),
        (DATAPLANE.replace("  address: 10.0.0.1", "  listeners: [{port: 1}]"), "the type of each of its listeners"),
        ("#" * (MAX_RESOURCE_BYTES + 1), "it has over 64 KiB"),
        (DATAPLANE.replace("team: web", "team: [web]"), "labels.team is ['web'] and no text; write one value"),
        (DATAPLANE.replace("team: web", "team: {a: b}"), "labels.team is {'a': 'b'} and no text; write one value"),
        (DATAPLANE.replace("team: web", "team: 7"), "labels.team is 7 and no text; write it in quotes"),
        (DATAPLANE.replace("team: web", "7: web"), "the key 7 of its labels is no text"),
        (
            DATAPLANE.replace("team: web", "kuma.io/service: payments"),
            "labels.kuma.io/service is payments, and the tags of its inbounds and gateway say demo-app",
        ),
    ],
)
def test_what_is_no_resource_is_told(path: Path, text: str, words: str) -> None:
    with pytest.raises(ResourceError) as caught:
        read(path, text)
    assert words in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_told(path: Path) -> None:
    with pytest.raises(ResourceError, match="no such file or directory"):
        read_resource(path, {})
    path.write_bytes(b"\xff")
    with pytest.raises(ResourceError, match="it is not UTF-8 text"):
        read_resource(path, {})


def test_the_largest_file_is_read(path: Path) -> None:
    outbound = "  - {{port: {}, tags: {{kuma.io/service: backend-{}}}}}\n"
    text = DATAPLANE + "".join(outbound.format(number, number) for number in range(1000, 2100))
    assert len(text) < MAX_RESOURCE_BYTES
    assert read(path, text)["name"] == "demo-app-1"
