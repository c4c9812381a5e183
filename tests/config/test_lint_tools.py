"""`make lint` before a commit and the workflows on GitHub run the same checks with the same pinned tools."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
WORKFLOWS: Final = ROOT / ".github" / "workflows"


def tools_of_make(target: str) -> set[str]:
    """Return the program of each line of a target's recipe, and for ruff also the command."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [recipe] = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    return set(re.findall(r"^\t\$\(BIN\)/(ruff \w+|[\w-]+)", recipe, re.MULTILINE))


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return [hook for repository in config["repos"] for hook in repository["hooks"]]


def workflow(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return parsed


def test_a_commit_is_checked_by_the_tools_of_make_lint() -> None:
    entries = {re.sub(r"^\.venv/bin/(ruff \w+|[\w-]+).*$", r"\1", hook["entry"]) for hook in hooks()}
    assert entries == tools_of_make("lint")


def test_no_hook_brings_a_version_of_its_own() -> None:
    assert all(hook["language"] == "system" for hook in hooks())


def test_the_whole_gate_runs_on_the_oldest_python_and_on_the_images() -> None:
    """A job that does not run ``.ci/run`` may leave out a part of the gate."""
    jobs = workflow("gate.yml")["jobs"].values()
    pythons = {
        python
        for job in jobs
        if any(step.get("run") == ".ci/run" for step in job["steps"])
        for python in job["strategy"]["matrix"]["python"]
    }
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    [image] = re.findall(r"^ARG PYTHON_IMAGE=python:([\d.]+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert pythons == {oldest.removeprefix(">="), image}


def test_the_image_of_a_release_has_the_base_of_the_dockerfile() -> None:
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert f'base="{base}"' in (WORKFLOWS / "release.yml").read_text(encoding="utf-8")
