"""``docs/how-to/harden-the-container.md`` gives Docker, ECS and Kubernetes the same settings."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest
import yaml

from tools.dockerfile import stages

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/harden-the-container.md").read_text("utf-8")
TASK = json.loads((ROOT / "config/ecs/control-plane-task.json").read_text("utf-8"))
ECS: dict[str, Any] = TASK["containerDefinitions"][0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


POD: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
SECURITY: dict[str, Any] = POD["securityContext"] | CONTAINER["securityContext"]
(DOCKER,) = [shlex.split(block.replace("\\\n", " ")) for block in blocks("") if block.startswith("docker run")]


def option(name: str) -> str:
    return DOCKER[DOCKER.index(name) + 1]


def test_all_three_run_the_image_as_the_same_user() -> None:
    (user,) = [
        each.value for each in stages((ROOT / "Dockerfile").read_text("utf-8"))[-1].instructions if each.name == "USER"
    ]
    assert user == option("--user") == ECS["user"] == f"{SECURITY['runAsUser']}:{SECURITY['runAsGroup']}"
    assert SECURITY["runAsNonRoot"] is True


def test_all_three_have_a_read_only_root_and_no_capability() -> None:
    assert "--read-only" in DOCKER
    assert ECS["readonlyRootFilesystem"] is SECURITY["readOnlyRootFilesystem"] is True
    assert option("--cap-drop") == "ALL"
    assert ECS["linuxParameters"]["capabilities"] == SECURITY["capabilities"] == {"drop": ["ALL"]}


def test_no_one_may_gain_a_privilege_where_that_can_be_said() -> None:
    assert option("--security-opt") == "no-new-privileges"
    assert SECURITY["allowPrivilegeEscalation"] is False
    (more,) = [json.loads(block) for block in blocks("json")]
    assert more["dockerSecurityOptions"] == ["no-new-privileges"]
    assert "privileged" not in ECS
    assert not {"--privileged", "--cap-add", "--device", "--pid", "--ipc", "--publish"} & set(DOCKER)


def test_what_fargate_cannot_take_is_not_in_the_task() -> None:
    """AWS rejects the whole task definition for such a member."""
    assert TASK["requiresCompatibilities"] == ["FARGATE"]
    assert not {"dockerSecurityOptions", "privileged"} & set(ECS)
    assert not {"tmpfs", "devices", "sharedMemorySize"} & set(ECS["linuxParameters"])
    assert {limit["name"] for limit in ECS.get("ulimits", [])} <= {"nofile"}


def test_what_ecs_on_instances_is_to_add_is_understood_by_aws() -> None:
    (more,) = [json.loads(block) for block in blocks("json")]
    shape = (
        botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    )
    assert shape is not None
    task = {**TASK, "containerDefinitions": [ECS | more, *TASK["containerDefinitions"][1:]]}
    assert not botocore.validate.ParamValidator().validate(task, shape).has_errors()


def test_the_default_seccomp_profile_is_on() -> None:
    assert SECURITY["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not [word for word in DOCKER if "seccomp" in word or "unconfined" in word]


def test_all_three_give_the_same_memory() -> None:
    assert option("--memory") == option("--memory-swap") == f"{ECS['memory']}m"
    assert CONTAINER["resources"]["limits"]["memory"] == f"{ECS['memory']}Mi"
    assert CONTAINER["resources"]["requests"]["memory"] == f"{ECS['memoryReservation']}Mi"


@pytest.mark.parametrize("name", ["startupProbe", "livenessProbe"])
def test_kubernetes_asks_what_ecs_asks_and_without_a_shell(name: str) -> None:
    probe, check = CONTAINER[name], ECS["healthCheck"]
    assert ["CMD", *probe["exec"]["command"]] == check["command"]
    assert probe["timeoutSeconds"] == check["timeout"]
    if name == "livenessProbe":
        assert (probe["periodSeconds"], probe["failureThreshold"]) == (check["interval"], check["retries"])
    else:
        assert probe["periodSeconds"] * probe["failureThreshold"] == check["startPeriod"]
