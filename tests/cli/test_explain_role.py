"""``explain-role`` on the emulated AWS: each verdict equals the service's, and names the remedy."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from app.core.reasons import EXPLANATIONS, Reason
from app.emulator import FaultKind
from tests.cli.conftest import Invoke
from tests.support.keys import KeyFiles
from tests.support.process import Served
from tests.support.world import ACCOUNT, DATAPLANE, EGRESS, EXTERNAL_ID, INGRESS, OTHER_ACCOUNT, READER_ROLE, Aws

PROXY: Final = ("--type", "dataplane", "--mesh", "default", "--kuma-service", "demo-app")


def explain(invoke: Invoke, aws: Aws, *arguments: str, **variables: str | None) -> tuple[int, dict[str, Any]]:
    result = invoke("explain-role", "--json", *arguments, **{**aws.service_environment(), **variables})
    assert result.stderr == ""
    report: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, report


def printed(invoke: Invoke, aws: Aws, *arguments: str, **variables: str | None) -> str:
    return invoke("explain-role", *arguments, **{**aws.service_environment(), **variables}).stdout


def test_a_role_that_would_be_granted(invoke: Invoke, aws: Aws) -> None:
    status, report = explain(invoke, aws, f"{ACCOUNT}/demo-app")
    role = aws.emulator.world.find_role(ACCOUNT, "demo-app")
    assert role is not None
    assert (status, report["outcome"], report["problem"]) == (0, "allowed", None)
    assert (report["role"]["arn"], report["role"]["roleId"]) == (role.arn, role.role_id)
    assert report["role"]["path"] == "/workloads/"
    assert report["identity"] == {
        "type": "dataplane",
        "mesh": "default",
        "service": "demo-app",
        "workload": None,
        "zone": None,
        "labels": {},
    }
    text = printed(invoke, aws, f"{ACCOUNT}/demo-app", *PROXY)
    assert "\nallowed\n  identity  type=dataplane mesh=default service=demo-app\n" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("prefix", ["iam::{}:role/other/", "sts::{}:assumed-role/"])
def test_a_role_by_its_arn(invoke: Invoke, aws: Aws, prefix: str) -> None:
    arn = f"arn:aws:{prefix.format(ACCOUNT)}demo-app{'/task' if 'sts' in prefix else ''}"
    status, report = explain(invoke, aws, arn)
    assert status == 0
    assert any("under the path /workloads/, not /other/" in note for note in report["notes"]) is ("iam" in prefix)


CASES: Final[dict[str, tuple[dict[str, str], tuple[str, ...], dict[str, str], Reason | None]]] = {
    "good": ({}, PROXY, {}, None),
    "service-by-tag": ({}, ("--type", "dataplane", "--mesh", "default", "--tag", "kuma.io/service=demo-app"), {}, None),
    "no-type": ({"kuma.io/type": ""}, PROXY, {}, Reason.ROLE_TYPE_MISSING),
    "no-mesh": ({"kuma.io/mesh": ""}, PROXY, {}, Reason.ROLE_MESH_MISSING),
    "bad-mesh": ({"kuma.io/mesh": "Default"}, PROXY, {}, Reason.ROLE_TAG_INVALID),
    "case-twin": ({"KUMA.IO/mesh": "payments"}, PROXY, {}, Reason.ROLE_TAG_INVALID),
    "path": ({}, PROXY, {"KMESH_AWSIAM_ROLE_PATH_PREFIX": "/mesh/"}, Reason.ROLE_PATH_NOT_ALLOWED),
    "other-mesh": ({}, ("--type", "dataplane", "--mesh", "x"), {}, Reason.PROXY_MESH_MISMATCH),
    "other-service": ({}, (*PROXY, "--kuma-service", "x"), {}, Reason.PROXY_SERVICE_MISMATCH),
    "workload": ({}, (*PROXY, "--label", "kuma.io/workload=w"), {}, Reason.PROXY_WORKLOAD_MISMATCH),
    "listener": ({}, (*PROXY, "--listener", "ZoneIngress"), {}, Reason.PROXY_TYPE_MISMATCH),
    "zone-proxy": ({}, ("--type", "egress", "--zone", "z"), {}, Reason.PROXY_TYPE_MISMATCH),
    "require-workload": ({}, PROXY, {"KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "true"}, Reason.ROLE_WORKLOAD_MISSING),
    "account-mesh": (
        {},
        PROXY,
        {"KMESH_AWSIAM_ACCOUNT_MESHES": f"{ACCOUNT}=x,{OTHER_ACCOUNT}=*"},
        Reason.ACCOUNT_MESH_NOT_ALLOWED,
    ),
    "type-off": ({}, PROXY, {"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "dpToken"}, Reason.PROXY_TYPE_DISABLED),
}


@pytest.mark.parametrize(("tags", "proxy", "variables", "reason"), CASES.values(), ids=CASES)
def test_the_rule_that_denies_is_named_with_its_remedy(
    invoke: Invoke,
    aws: Aws,
    *,
    tags: dict[str, str],
    proxy: tuple[str, ...],
    variables: dict[str, str],
    reason: Reason | None,
) -> None:
    role = aws.add_role({key: value for key, value in {**DATAPLANE, **tags}.items() if value})
    status, report = explain(invoke, aws, f"{ACCOUNT}/{role.name}", *proxy, **variables)
    assert (report["problem"] or {}).get("reason") == reason
    assert status == int(reason is not None)
    assert (report["identity"] is None) is (reason is not None)
    if reason is not None:
        assert report["problem"]["detail"] == EXPLANATIONS[reason].detail


def test_a_running_service_decides_the_same(aws: Aws, live: Served, invoke: Invoke) -> None:
    for proxy in (
        {"type": "dataplane", "mesh": mesh, "tags": {"kuma.io/service": ["demo-app"]}} for mesh in ("default", "x")
    ):
        call = {"credential": aws.credential(), "proxy": proxy}
        answer = live.client.post("/v1/authenticate", json=call).json()
        options = ("--type", "dataplane", "--mesh", str(proxy["mesh"]), "--kuma-service", "demo-app")
        _, report = explain(invoke, aws, f"{ACCOUNT}/demo-app", *options)
        assert report["identity"] == answer.get("identity")
        assert (report["problem"] or {}).get("reason") == answer.get("reason")


def test_a_case_twin_is_named(invoke: Invoke, aws: Aws) -> None:
    role = aws.add_role((*DATAPLANE.items(), ("KUMA.IO/Mesh", "payments"), ("team", "x")))
    text = printed(invoke, aws, f"{ACCOUNT}/{role.name}")
    assert "KUMA.IO/Mesh" in text
    assert "differs from kuma.io/mesh only in case" in text
    assert "other tags, without effect: team" in text


def test_a_value_with_control_characters_is_escaped(invoke: Invoke, aws: Aws) -> None:
    role = aws.add_role({**DATAPLANE, "kuma.io/service": "\x1b[31mred"})
    assert "\x1b" not in printed(invoke, aws, f"{ACCOUNT}/{role.name}")


# The role cannot be read.


def test_an_account_that_is_not_listed_costs_no_call(invoke: Invoke, aws: Aws) -> None:
    status, report = explain(invoke, aws, "999988887777/demo-app")
    assert (status, report["problem"]["reason"], report["role"]) == (1, "account_not_authorized", None)
    assert len(aws.emulator.calls) == 0


def test_a_role_that_does_not_exist(invoke: Invoke, aws: Aws) -> None:
    status, report = explain(invoke, aws, f"{ACCOUNT}/not-there")
    assert (status, report["outcome"], report["problem"]["reason"]) == (1, "denied", "role_not_found")


def test_a_role_of_another_account_is_read_by_the_reader_role(invoke: Invoke, aws: Aws) -> None:
    status, report = explain(invoke, aws, f"{OTHER_ACCOUNT}/backend")
    assert (status, report["identity"]["service"]) == (0, "backend")


def test_no_reader_role(invoke: Invoke, aws: Aws) -> None:
    none = {"KMESH_AWSIAM_READER_ROLE_NAME": None, "KMESH_AWSIAM_READER_EXTERNAL_ID": None}
    status, report = explain(invoke, aws, f"{OTHER_ACCOUNT}/backend", **none)
    assert (status, report["outcome"], report["problem"]["reason"]) == (1, "undecided", "iam_access_denied")
    missing = report["missing_permission"]
    assert "KMESH_AWSIAM_READER_ROLE_NAME" in missing["remedy"]
    [statement] = missing["mending_policy"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "iam:GetRole",
        "Resource": f"arn:aws:iam::{OTHER_ACCOUNT}:role/*",
    }
    assert missing["attach_to"].startswith(f"the reader role to make in account {OTHER_ACCOUNT}")


def test_the_policy_of_a_new_reader_role_can_be_limited_to_the_path(invoke: Invoke, aws: Aws) -> None:
    none = {"KMESH_AWSIAM_READER_ROLE_NAME": None, "KMESH_AWSIAM_READER_EXTERNAL_ID": None}
    _, report = explain(invoke, aws, f"{OTHER_ACCOUNT}/backend", **none, KMESH_AWSIAM_ROLE_PATH_PREFIX="/mesh/")
    assert report["notes"] == ["With KMESH_AWSIAM_ROLE_PATH_PREFIX, the resource role/mesh/* is enough."]


def test_a_reader_role_that_refuses(invoke: Invoke, aws: Aws) -> None:
    _, report = explain(invoke, aws, f"{OTHER_ACCOUNT}/backend", KMESH_AWSIAM_READER_EXTERNAL_ID="canary")
    missing = report["missing_permission"]
    assert missing["operation"] == "AssumeRole"
    [statement] = missing["mending_policy"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Resource": f"arn:aws:iam::{OTHER_ACCOUNT}:role/{READER_ROLE}",
    }
    assert "canary" not in str(report)
    assert EXTERNAL_ID not in str(report)


def test_a_policy_that_is_limited_to_a_path(invoke: Invoke, aws: Aws) -> None:
    """For a role that does not exist, AWS then answers AccessDenied, not NoSuchEntity."""
    aws.add_named_role(ACCOUNT, "narrow", may_get_roles=(f"arn:aws:iam::{ACCOUNT}:role/mesh/*",))
    fence = {"KMESH_AWSIAM_ROLE_PATH_PREFIX": "/mesh/", **aws.emulator.environment(ACCOUNT, "narrow")}
    text = printed(invoke, aws, f"{ACCOUNT}/not-there", **fence)
    assert "undecided: iam_access_denied (503)" in text
    assert '"Action": "iam:GetRole"' in text
    assert "may be under another path or deleted" in " ".join(text.split())
    assert "role/mesh/*" in text


def test_iam_does_not_answer(invoke: Invoke, aws: Aws) -> None:
    aws.emulator.faults.iam.inject(FaultKind.RESET)
    status, report = explain(invoke, aws, f"{ACCOUNT}/demo-app")
    assert (status, report["outcome"], report["problem"]["reason"]) == (1, "undecided", "iam_unavailable")


def test_no_credentials_of_the_service_itself(invoke: Invoke, aws: Aws) -> None:
    status, report = explain(invoke, aws, f"{ACCOUNT}/demo-app", AWS_CONTAINER_CREDENTIALS_FULL_URI=None)
    assert (status, report["outcome"], report["problem"]["reason"]) == (1, "undecided", "own_credentials_unavailable")


# Zone proxies and tokens.


def test_a_zone_role_says_what_it_grants_in_a_dataplane_too(invoke: Invoke, aws: Aws) -> None:
    role = aws.add_role({**INGRESS, "kuma.io/mesh": "default", "kuma.io/workload": "in"})
    _, report = explain(invoke, aws, f"{ACCOUNT}/{role.name}")
    assert report["identity"]["type"] == "ingress"
    assert "A Dataplane with a zone listener: allowed, type=ingress mesh=default workload=in." in report["notes"]
    role = aws.add_role(EGRESS)
    _, report = explain(invoke, aws, f"{ACCOUNT}/{role.name}")
    assert any("denied, role_mesh_missing" in note for note in report["notes"])


def test_a_token_that_would_not_be_issued_is_told(invoke: Invoke, aws: Aws, tmp_path: Path) -> None:
    variables = {"KMESH_AWSIAM_ZONE_KEYS_FILE": str(KeyFiles.make(tmp_path).zone)}
    role = aws.add_role(INGRESS)
    status, report = explain(invoke, aws, f"{ACCOUNT}/{role.name}", **variables)
    assert status == 0
    assert any(note.startswith("/v1/token would answer role_zone_missing") for note in report["notes"])
    _, report = explain(invoke, aws, f"{ACCOUNT}/{role.name}", "--type", "ingress", "--zone", "z", **variables)
    assert not any("/v1/token" in note for note in report["notes"])
    _, report = explain(invoke, aws, f"{ACCOUNT}/demo-app", **variables)
    assert any(note.startswith("/v1/token would answer signing_key_missing") for note in report["notes"])


# Usage.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demo-app",), "write ACCOUNT/NAME"),
        ((f"{ACCOUNT}/demo-app", "--tag", "a=b"), "--type"),
        ((f"{ACCOUNT}/demo-app", *PROXY, "--tag", "a"), "KEY=VALUE"),
        ((f"{ACCOUNT}/demo-app", "--type", "egress", "--zone", "x" * 300), "proxy.zone"),
        (("arn:aws-cn:iam::111122223333:role/demo-app",), "KMESH_AWSIAM_PARTITION"),
    ],
)
def test_wrong_usage_is_told_before_any_call(invoke: Invoke, aws: Aws, arguments: tuple[str, ...], words: str) -> None:
    result = invoke("explain-role", *arguments, **aws.service_environment())
    assert (result.exit_code, words in result.stderr, len(aws.emulator.calls)) == (2, True, 0)


def test_invalid_settings_end_it(invoke: Invoke) -> None:
    result = invoke("explain-role", f"{ACCOUNT}/demo-app")
    assert result.exit_code == 2
    assert "problems in the environment" in result.stderr
