"""The distribution kuma-aws-iam-agent: its own files and dependencies are enough for its commands."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

from tests.support.process import Done, Served, run, run_program
from tests.support.signing import AUDIENCE
from tests.support.world import ACCOUNT, Aws

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = ROOT / "packaging" / "agent"
# Run a command with only the packages of the closure: importing any other one fails as if it were not installed.
PROGRAM: Final = """
import importlib.metadata, sys
files, allowed, *arguments = sys.argv[1:]
tops = importlib.metadata.packages_distributions()
class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top != "app" and top in tops and not {found.lower() for found in tops[top]} & set(allowed.split(",")):
            raise ModuleNotFoundError(f"{name} is not among the dependencies")
sys.path.insert(0, files)
sys.meta_path.insert(0, Missing())
import app
from app.cli import main
assert app.__file__.startswith(files), app.__file__
main(arguments, prog_name="kuma-aws-iam")
"""


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return found


def closure(requirements: list[str]) -> set[str]:
    """Return the names of these packages, and of all packages that they need."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += [Requirement(text) for text in distribution(name).requires or ()]
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, unpacked."""
    folder = tmp_path_factory.mktemp("agent")
    subprocess.run(  # noqa: S603 - the pinned build backend, as in the workflow of releases
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "files")
    return folder / "files"


def agent_alone(files: Path, *arguments: str, **variables: str) -> Done:
    allowed = ",".join(sorted(closure(project()["dependencies"])))
    return run_program(sys.executable, "-P", "-c", PROGRAM, str(files), allowed, *arguments, **variables)


def test_it_has_the_commands_for_the_side_of_a_proxy(files: Path) -> None:
    done = agent_alone(files, "--help")
    assert (done.status, done.err) == (0, "")
    commands = [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines()]
    assert commands == ["agent", "credential"]


def test_the_agent_writes_a_credential_that_the_service_accepts(
    files: Path, live: Served, aws: Aws, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    task = {**aws.emulator.environment(ACCOUNT, "demo-app"), "KMESH_AWSIAM_AUDIENCE": AUDIENCE}
    done = agent_alone(files, "agent", "--mode", "credential", "--once", "--token-file", str(path), **task)
    assert done.status == 0, done.err
    verdict = run("authenticate", stdin=path.read_text(), KMESH_AWSIAM_LISTEN=live.address)
    assert verdict.out.startswith("allowed\n"), verdict.err


def test_the_agent_reads_the_resource_of_its_proxy(files: Path, aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "dataplane.yaml").write_text("type: Dataplane\nmesh: default\nname: demo-app-1\n")
    task = aws.emulator.environment(ACCOUNT, "demo-app")
    resource = ("--dataplane-file", str(tmp_path / "dataplane.yaml"))
    options = ("--mode", "credential", "--once", "--token-file", str(tmp_path / "token"), *resource)
    assert agent_alone(files, "agent", *options, **task).status == 0
    wrong = agent_alone(files, "agent", *options, "--mesh", "payments", **task)
    assert (wrong.status, "says default" in wrong.err) == (2, True)


def test_its_dependencies_have_the_bounds_of_the_service() -> None:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(project()["dependencies"]) <= set(whole)
