"""The image is as ``config/README.md`` says: small, closed, checked by hash.

The test reads the Dockerfile and builds nothing.
"""

import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tools.dockerfile import DockerIgnore, Instruction, parse, stages

ROOT = Path(__file__).parents[2]
TASK = json.loads((ROOT / "config/ecs/control-plane-task.json").read_text("utf-8"))


TEXT = (ROOT / "Dockerfile").read_text("utf-8")
BUILD, FINAL = (stage.instructions for stage in stages(TEXT))
GLOBAL = list(itertools.takewhile(lambda instruction: instruction.name != "FROM", parse(TEXT)))


def split(instruction: Instruction) -> list[list[str]]:
    """Split the commands of a RUN as a shell would."""
    assert not re.search(r";|\|\|", instruction.value), "a command whose failure is not looked at"
    return [shlex.split(command) for command in instruction.value.split("&&")]


def values(stage: list[Instruction], name: str) -> list[str]:
    return [instruction.value for instruction in stage if instruction.name == name]


def commands(stage: list[Instruction]) -> list[list[str]]:
    return [command for instruction in stage if instruction.name == "RUN" for command in split(instruction)]


def exec_form(value: str) -> list[str]:
    """Parse the exec form, a JSON list, which uses no shell."""
    parsed: Any = json.loads(value)
    assert isinstance(parsed, list)
    return parsed


def test_both_stages_stand_on_the_same_slim_python() -> None:
    assert values(GLOBAL, "ARG") == ["PYTHON_IMAGE=python:3.13-slim"]
    assert [(stage.base, stage.name) for stage in stages(TEXT)] == [
        ("${PYTHON_IMAGE}", "build"),
        ("${PYTHON_IMAGE}", "1"),
    ]


def test_every_package_is_checked_by_hash_or_built_here() -> None:
    installs = [command for command in commands(BUILD + FINAL) if "pip" in command and "install" in command]
    sources = []
    for command in installs:
        assert "--no-deps" in command
        if "--no-index" in command:
            assert command[-1] == "/wheels/*.whl"
            continue
        assert {"--require-hashes", "--only-binary=:all:"} <= set(command)
        sources.append(command[command.index("--requirement") + 1])
        assert command[-2:] == ["--requirement", sources[-1]]
    assert sources == ["requirements/runtime.txt", "requirements/build.txt"]
    assert len(installs) == len(sources) + 1


def test_the_build_tools_stay_out_of_the_environment_that_is_shipped() -> None:
    into = {
        command[command.index("--requirement") + 1]: command[command.index("--python") + 1]
        for command in commands(BUILD)
        if "--requirement" in command
    }
    assert into == {
        "requirements/runtime.txt": "/opt/kuma-aws-iam/bin/python",
        "requirements/build.txt": "/opt/build/bin/python",
    }
    environments = [command for command in commands(BUILD) if command[:3] == ["python", "-m", "venv"]]
    assert len(environments) == 2
    assert all("--without-pip" in command for command in environments)


@pytest.mark.parametrize("stage", [BUILD, FINAL], ids=["build", "final"])
def test_nothing_but_pip_fetches_anything(stage: list[Instruction]) -> None:
    assert values(stage, "ADD") == []
    for command in commands(stage):
        assert command[0] not in {"apt", "apt-get", "curl", "git", "wget", "sh", "bash"}
        assert not any("://" in word for word in command)


def test_the_final_stage_takes_the_environment_and_nothing_from_the_context() -> None:
    copies = [instruction for instruction in FINAL if instruction.name == "COPY"]
    assert [(copy.flags, copy.arguments.split()) for copy in copies] == [
        ({"from": "build"}, ["/opt/kuma-aws-iam", "/opt/kuma-aws-iam"])
    ]


def test_the_final_stage_has_no_pip_and_nothing_that_changes_the_user() -> None:
    done = commands(FINAL)
    assert ["python", "-m", "pip", "uninstall"] in [command[:4] for command in done]
    assert any(command[0] == "rm" and "/usr/local/lib/python3.*/ensurepip" in command for command in done)
    assert ["find", "/", "-xdev", "-type", "f", "-perm", "/6000", "-exec", "chmod", "a-s", "{}", "+"] in done


def test_bytecode_is_made_at_build_time_since_the_root_file_system_is_read_only() -> None:
    for stage, target in ((BUILD, "/opt/kuma-aws-iam/lib"), (FINAL, "/usr/local/lib/python3.*")):
        (compiled,) = [command for command in commands(stage) if "compileall" in command]
        assert compiled[-1] == target
        assert compiled[compiled.index("--invalidation-mode") + 1] == "unchecked-hash"
    (environment,) = values(FINAL, "ENV")
    assert {"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "PATH=/opt/kuma-aws-iam/bin:$PATH"} == set(
        environment.split()
    )


def test_nothing_is_added_to_the_environment_after_its_bytecode_was_made() -> None:
    order = [
        "compileall" if "compileall" in command else "install"
        for command in commands(BUILD)
        if "compileall" in command or "install" in command
    ]
    assert order == ["install", "install", "install", "compileall"]


def test_the_service_runs_as_nobody_who_owns_anything() -> None:
    assert values(FINAL, "USER") == ["65532:65532"]
    after = FINAL[[instruction.name for instruction in FINAL].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & {instruction.name for instruction in after}
    assert TASK["containerDefinitions"][0]["user"] == "65532:65532"


def test_the_service_starts_stops_and_is_asked_without_a_shell() -> None:
    (entrypoint,), (command,), (check,) = (values(FINAL, name) for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert exec_form(entrypoint) + exec_form(command) == ["kuma-aws-iam", "serve"]
    options, _, asked = check.partition("CMD ")
    assert exec_form(asked) == ["kuma-aws-iam", "health"]
    assert dict(word.removeprefix("--").split("=") for word in options.split()) == {
        "interval": "15s",
        "timeout": "10s",
        "start-period": "60s",
        "retries": "3",
    }
    assert values(FINAL, "STOPSIGNAL") == ["SIGTERM"]


def test_the_health_check_of_the_task_is_the_one_of_the_image() -> None:
    """ECS ignores the image's health check, so nobody would notice a difference between the two."""
    task = TASK["containerDefinitions"][0]["healthCheck"]
    (check,) = values(FINAL, "HEALTHCHECK")
    image = f"--interval={task['interval']}s --timeout={task['timeout']}s --start-period={task['startPeriod']}s"
    assert check == f"{image} --retries={task['retries']} CMD {json.dumps(task['command'][1:])}"


@pytest.mark.parametrize("name", ["EXPOSE", "VOLUME", "ONBUILD", "SHELL", "MAINTAINER"])
def test_the_image_declares_no_port_no_volume_and_nothing_outdated(name: str) -> None:
    assert values(BUILD + FINAL, name) == []


def test_the_labels_are_standard_and_name_no_address() -> None:
    (labels,) = values(FINAL, "LABEL")
    keys = re.findall(r"([\w.]+)=", labels)
    assert sorted(keys) == [
        f"org.opencontainers.image.{key}" for key in ("description", "licenses", "revision", "title", "version")
    ]
    assert "://" not in labels
    assert 'licenses="Apache-2.0"' in labels


def test_no_secret_can_come_by_an_argument_or_the_environment() -> None:
    names = [value.partition("=")[0] for value in values(GLOBAL + BUILD + FINAL, "ARG")]
    assert names == ["PYTHON_IMAGE", "PIP_INDEX_URL", "VERSION", "REVISION"]
    assert values(BUILD, "ARG") == ["PIP_INDEX_URL"]  # without a default, and not in the final stage


# ---- the context ----------------------------------------------------------------------------------------------------

IGNORE_TEXT = (ROOT / ".dockerignore").read_text("utf-8")
IGNORE = [line for line in IGNORE_TEXT.splitlines() if line.strip() and not line.startswith("#")]
ignored = DockerIgnore(IGNORE_TEXT).ignores
SOURCES = [
    source for instruction in BUILD if instruction.name == "COPY" for source in instruction.arguments.split()[:-1]
]


@pytest.mark.parametrize("source", SOURCES)
def test_what_the_build_copies_exists_and_is_sent(source: str) -> None:
    assert (ROOT / source).exists()
    assert not ignored(source.rstrip("/"))


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    assert IGNORE[0] == "*"
    allowed = {line.removeprefix("!") for line in IGNORE if line.startswith("!")}
    assert allowed == {source.rstrip("/") for source in SOURCES}


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "app/__pycache__/reasons.cpython-313.pyc",
        "app/core/__pycache__/arn.cpython-313.pyc",
        "config/example.env",
        "requirements/dev.txt",
        "tests/config/test_dockerfile.py",
    ],
)
def test_what_an_image_has_no_use_for_is_not_sent(path: str) -> None:
    assert ignored(path)
    assert not ignored("app/core/arn.py")
