"""The example environment and the ECS task agree with the contract, with AWS's own models, and with each other."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest

from app.settings.environment import Settings
from app.settings.loading import load_settings

CONFIG = Path(__file__).parents[2] / "config"


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIG / name).read_text("utf-8"))
    return loaded


# ---- example.env ----------------------------------------------------------------------------------------------------

UNSET = "unset"
# Every variable of contract section 2 and of the SDK, with the default that its comment names.
VARIABLES = {
    "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": UNSET,
    "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE": UNSET,
    "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": UNSET,
    "KUMA_DP_SERVER_AUTH_TYPE": UNSET,
    "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH": UNSET,
    "KMESH_AWSIAM_KUMA_VERSION": UNSET,
    "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": "none",
    "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE": UNSET,
    "KMESH_AWSIAM_ACCOUNT_MESHES": UNSET,
    "KMESH_AWSIAM_AUDIENCE": "kuma-control-plane",
    "KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS": "false",
    "KMESH_AWSIAM_CREDENTIAL_FORMS": UNSET,
    "KMESH_AWSIAM_EXTRA_REGIONS": UNSET,
    "KMESH_AWSIAM_REGIONS": "empty",
    "KMESH_AWSIAM_PARTITION": "aws",
    "KMESH_AWSIAM_REQUIRE_SERVICE_TAG": "false",
    "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "false",
    "KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS": "false",
    "KMESH_AWSIAM_ROLE_PATH_PREFIX": UNSET,
    "KMESH_AWSIAM_ZONE": UNSET,
    "KMESH_AWSIAM_CANDIDATE_POLICY_FILE": UNSET,
    "KMESH_AWSIAM_READER_ROLE_NAME": UNSET,
    "KMESH_AWSIAM_READER_EXTERNAL_ID": UNSET,
    "KMESH_AWSIAM_ROLE_TTL": "300",
    "KMESH_AWSIAM_ROLE_MAX_STALE": "3600",
    "KMESH_AWSIAM_STS_RATE": "500",
    "KMESH_AWSIAM_IAM_RATE": "8",
    "KMESH_AWSIAM_ROLE_PREFETCH": "false",
    "KMESH_AWSIAM_LISTEN": "127.0.0.1:5690",
    "KMESH_AWSIAM_DIAGNOSTICS_LISTEN": UNSET,
    "KMESH_AWSIAM_DECISIONS_PAGE": "false",
    "KMESH_AWSIAM_TLS_CERT_FILE": UNSET,
    "KMESH_AWSIAM_TLS_KEY_FILE": UNSET,
    "KMESH_AWSIAM_TLS_CLIENT_CA_FILE": UNSET,
    "KMESH_AWSIAM_CALLER_TOKEN_FILE": UNSET,
    "KMESH_AWSIAM_SOCKET_MODE": "0660",
    "KMESH_AWSIAM_SOCKET_GROUP": UNSET,
    "KMESH_AWSIAM_WORKERS": "1",
    "KMESH_AWSIAM_DECISION_TIMEOUT": "10",
    "KMESH_AWSIAM_STORE": UNSET,
    "KMESH_AWSIAM_STORE_KEY_FILE": UNSET,
    "KMESH_AWSIAM_STORE_CA_FILE": UNSET,
    "KMESH_AWSIAM_DATAPLANE_KEYS_FILE": UNSET,
    "KMESH_AWSIAM_ZONE_KEYS_FILE": UNSET,
    "KMESH_AWSIAM_TOKEN_VALIDITY": "3600",
    "KMESH_AWSIAM_TOKEN_NAMES": "false",
    "KMESH_AWSIAM_LOG_LEVEL": "info",
    "KMESH_AWSIAM_LOG_FORMAT": "json",
    "KMESH_AWSIAM_TRACING": "false",
    "KMESH_AWSIAM_HTTPS_PROXY": UNSET,
    "AWS_REGION": UNSET,
    "AWS_DEFAULT_REGION": UNSET,
    "AWS_ENDPOINT_URL_STS": UNSET,
    "AWS_ENDPOINT_URL_IAM": UNSET,
    "AWS_ENDPOINT_URL": UNSET,
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
    "AWS_USE_FIPS_ENDPOINT": "false",
    "AWS_USE_DUALSTACK_ENDPOINT": "false",
    "AWS_CA_BUNDLE": UNSET,
}
NEWER = {
    "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
    "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE": "aws-iam",
    "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
}
OLDER = {"KUMA_DP_SERVER_AUTH_TYPE": "aws-iam", "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH": "true"}

LINES = (CONFIG / "example.env").read_text("utf-8").splitlines()
ASSIGNMENT = re.compile(r"(?P<off>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")


def env_file(lines: list[str]) -> dict[str, str]:
    """Read the file by the rules of ``docker --env-file``: no quotes, no comment after a value, no blank in a name."""
    found: dict[str, str] = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        assert equals, f"{line!r} would take the value from the shell of whoever starts the container"
        assert name not in found, f"{name} stands twice"
        found[name] = value
    return found


def examples() -> dict[str, str]:
    """Return every variable with its example value, also the variables that are commented out."""
    matches = [match for line in LINES if (match := ASSIGNMENT.fullmatch(line))]
    assert len({match["name"] for match in matches}) == len(matches)
    return {match["name"]: match["value"] for match in matches}


def remarks() -> dict[str, str]:
    """Return the comment above each variable, as one line."""
    found: dict[str, str] = {}
    for number, line in enumerate(LINES):
        if match := ASSIGNMENT.fullmatch(line):
            first = max(above for above in range(number) if not LINES[above])
            found[match["name"]] = " ".join(text.removeprefix("# ") for text in LINES[first + 1 : number])
    return found


def settings_from(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read the settings from an environment with these variables of the service and no others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_the_example_names_every_variable_that_the_service_reads_and_no_other() -> None:
    read = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert set(examples()) == set(VARIABLES) == read


def test_a_line_is_a_comment_or_an_assignment_that_every_reader_reads_alike() -> None:
    """Docker keeps quotes and trailing comments in the value, a shell expands variables, and systemd does neither."""
    for line in filter(None, LINES):
        if match := ASSIGNMENT.fullmatch(line):
            assert re.fullmatch(r"[A-Za-z0-9._:/,=-]+", match["value"]), f"{match['name']} reads differently in places"
        else:
            assert line.startswith("# ") or line == "#", f"{line!r} is neither"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_is_explained_with_its_default_and_a_reason(name: str) -> None:
    meaning, _, rest = remarks()[name].partition(" Default: ")
    default, _, why = rest.partition(" Why: ")
    assert re.fullmatch(r"[A-Zj].*[.]", meaning)
    assert re.match(rf"{re.escape(VARIABLES[name])}\b", default)
    assert re.fullmatch(r".+[.]", why)


def test_an_optional_variable_shows_its_default_or_an_example() -> None:
    active = env_file(LINES)
    for name, value in examples().items():
        if name not in active and VARIABLES[name] not in {UNSET, "empty"}:
            assert value == VARIABLES[name]


def test_the_active_lines_are_a_deployment_of_2_7_or_newer() -> None:
    assert env_file(LINES) == NEWER | {
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": "111122223333",
        "KMESH_AWSIAM_AUDIENCE": "mesh-production",
    }


def test_the_older_generation_is_there_to_be_switched_to() -> None:
    assert OLDER.items() <= examples().items()


def older(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the same environment for control plane 2.0 to 2.6, as the README describes it."""
    return {name: value for name, value in variables.items() if name not in NEWER} | OLDER


def test_the_service_takes_the_example_for_either_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    active = env_file(LINES)
    for variables in (active, older(active)):
        settings = settings_from(variables, monkeypatch)
        assert settings.authorized_accounts == {"111122223333"}
        assert settings.enabled_types == {"dataplane", "ingress", "egress"}


def test_the_service_takes_every_example_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except the paths, which name no file here, variables that need a file, and those of the other generation."""
    paths = {name for name in VARIABLES if name.endswith("_FILE")} | {"AWS_CA_BUNDLE"}
    left_out = OLDER.keys() | paths | {"KMESH_AWSIAM_STORE"}
    shown = {name: value for name, value in examples().items() if name not in left_out}
    shown["KMESH_AWSIAM_REGIONS"] += f",{shown['KMESH_AWSIAM_EXTRA_REGIONS']}"  # as its remark says
    settings = settings_from(shown, monkeypatch)
    assert {name for name, _, is_set in settings.effective() if is_set} == set(shown)


def test_the_stated_defaults_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from({**NEWER, "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": "111122223333"}, monkeypatch)
    effective = {name: value for name, value, is_set in settings.effective() if not is_set}
    stated = {name: default for name, default in VARIABLES.items() if default not in {UNSET, "empty", "none"}}
    assert {name: effective[name] for name in stated} == stated


def test_the_default_audience_is_not_what_people_copy() -> None:
    assert env_file(LINES)["KMESH_AWSIAM_AUDIENCE"] != VARIABLES["KMESH_AWSIAM_AUDIENCE"]


# ---- the task on ECS ------------------------------------------------------------------------------------------------

TASK = load("ecs/control-plane-task.json")
SERVICE, CONTROL_PLANE = TASK["containerDefinitions"]
FARGATE_MEMORY = {"256": range(512, 2049), "512": range(1024, 4097), "1024": range(2048, 8193)}


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    pairs = [(entry["name"], entry["value"]) for entry in container["environment"]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_the_task_definition_is_one_that_ecs_knows() -> None:
    """Compare every member and type with botocore's model of RegisterTaskDefinition, which has no misspelt member."""
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    assert shape is not None
    report = botocore.validate.ParamValidator().validate(TASK, shape)
    assert not report.has_errors(), report.generate_report()


def test_the_task_fits_fargate() -> None:
    assert TASK["requiresCompatibilities"] == ["FARGATE"]
    assert TASK["networkMode"] == "awsvpc"
    assert int(TASK["memory"]) in FARGATE_MEMORY[TASK["cpu"]]
    assert sum(container["cpu"] for container in TASK["containerDefinitions"]) <= int(TASK["cpu"])
    assert SERVICE["memory"] + CONTROL_PLANE["memoryReservation"] <= int(TASK["memory"])


def test_the_service_has_memory_for_itself_and_a_health_check() -> None:
    assert SERVICE["memoryReservation"] >= 150
    assert SERVICE["memory"] >= 300


def test_the_service_is_closed() -> None:
    assert SERVICE["name"] == "kuma-aws-iam"
    assert SERVICE["readonlyRootFilesystem"] is True
    assert SERVICE["user"] == "65532:65532"
    assert SERVICE["linuxParameters"] == {"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": True}
    assert not {"privileged", "mountPoints", "portMappings", "secrets", "entryPoint", "command"} & set(SERVICE)


def test_the_service_listens_on_loopback_alone() -> None:
    variables = environment(SERVICE)
    assert variables["KMESH_AWSIAM_LISTEN"] == "127.0.0.1:5690"
    assert "KMESH_AWSIAM_DIAGNOSTICS_LISTEN" not in variables


def test_the_control_plane_waits_for_a_healthy_service() -> None:
    assert SERVICE["healthCheck"]["command"] == ["CMD", "kuma-aws-iam", "health"]
    assert CONTROL_PLANE["dependsOn"] == [{"containerName": SERVICE["name"], "condition": "HEALTHY"}]
    assert SERVICE["essential"] is True
    assert SERVICE["restartPolicy"]["enabled"] is True


@pytest.mark.parametrize("container", [SERVICE, CONTROL_PLANE], ids=["service", "control-plane"])
def test_a_container_logs_and_has_time_to_stop(container: dict[str, Any]) -> None:
    options = container["logConfiguration"]["options"]
    assert container["logConfiguration"]["logDriver"] == "awslogs"
    assert {"awslogs-group", "awslogs-region", "awslogs-stream-prefix"} < set(options)
    assert options["mode"] == "non-blocking"
    assert 30 <= container["stopTimeout"] <= 120


def test_the_service_gets_variables_of_the_contract_and_of_one_generation() -> None:
    variables = environment(SERVICE)
    assert set(variables) <= set(VARIABLES)
    assert NEWER.items() <= variables.items()
    assert not set(OLDER) & set(variables)


def test_the_service_takes_the_environment_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables in (environment(SERVICE), older(environment(SERVICE))):
        assert settings_from(variables, monkeypatch).enabled_types == {"dataplane", "ingress", "egress"}


def test_the_stock_control_plane_is_told_to_check_tokens() -> None:
    assert environment(CONTROL_PLANE).items() >= {
        ("KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", "dpToken"),
        ("KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", "zoneToken"),
        ("KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", "true"),
    }


def test_images_name_no_registry() -> None:
    for container in TASK["containerDefinitions"]:
        first, slash, _ = container["image"].partition("/")
        assert not slash or not re.search(r"[.:]", first)


def test_roles_accounts_and_names_agree_over_all_files() -> None:
    trust = load("iam/reader-role-trust.json")["Statement"][0]
    assumed = load("iam/service-role-policy-cross-account.json")["Statement"][0]["Resource"]
    shown, active = examples(), env_file(LINES)
    assert trust["Principal"]["AWS"] == TASK["taskRoleArn"]
    assert TASK["executionRoleArn"] != TASK["taskRoleArn"]
    assert trust["Condition"]["StringEquals"]["sts:ExternalId"] == shown["KMESH_AWSIAM_READER_EXTERNAL_ID"]
    assert {arn.rpartition("/")[2] for arn in assumed} == {shown["KMESH_AWSIAM_READER_ROLE_NAME"]}
    assert environment(SERVICE)["KMESH_AWSIAM_AUDIENCE"] == active["KMESH_AWSIAM_AUDIENCE"]
    assert environment(SERVICE)["KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS"] in TASK["taskRoleArn"]


# ---- the guide ------------------------------------------------------------------------------------------------------


def test_the_readme_tells_of_every_file_and_every_statement_of_the_guard() -> None:
    readme = (CONFIG / "README.md").read_text("utf-8")
    files = [path for path in CONFIG.rglob("*") if path.is_file() and path.name not in {"README.md", "emulator.toml"}]
    assert len(files) >= 12
    assert [path.name for path in files if path.name not in readme] == []
    statements = [statement["Sid"] for statement in load("iam/guard-tags-scp.json")["Statement"]]
    assert [sid for sid in statements if f"`{sid}`" not in readme] == []
