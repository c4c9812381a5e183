"""The transcripts of docs/how-to/change-a-policy-safely.md, run against the emulator and a service process."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from app.cli import main
from app.emulator import Emulator
from app.emulator.example import EXAMPLE
from app.emulator.world import World
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, served, socket_address
from tests.support.signing import AUDIENCE
from tests.support.world import recipe_of

PAGE: Final = ROOT / "docs" / "how-to" / "change-a-policy-safely.md"
_BLOCK: Final = re.compile(r"^```\n(\$ .*?)^```", re.MULTILINE | re.DOTALL)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SERVICE_ACCOUNT: Final = "111122223333"


def dataplane(name: str, service: str, *, mesh: str = "default", **labels: str) -> dict[str, Any]:
    """Return what a Dataplane of Kuma 2.14 asserts."""
    tags = {"kuma.io/service": [service]}
    return {"type": "dataplane", "mesh": mesh, "name": name, "tags": tags, "labels": labels}


# What each proxy of the example world asserts.
PROXIES: Final[list[tuple[str, str, dict[str, Any]]]] = [
    (SERVICE_ACCOUNT, "demo-app", dataplane("demo-app-1", "demo-app", **{"kuma.io/workload": "demo-app"})),
    (SERVICE_ACCOUNT, "demo-app", dataplane("demo-app-2", "demo-app", **{"kuma.io/workload": "demo-app"})),
    (SERVICE_ACCOUNT, "batch", dataplane("batch-1", "nightly")),
    (SERVICE_ACCOUNT, "zone-ingress", {"type": "ingress", "name": "ingress-1"}),
    (SERVICE_ACCOUNT, "untagged", dataplane("web-1", "web")),
    ("444455556666", "backend", dataplane("backend-1", "backend", mesh="payments")),
]


def transcripts() -> list[tuple[str, str]]:
    """Every command of the page with its output."""
    found = []
    for block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, and the log of a service with its report-only policy, after some calls."""
    path = tmp_path_factory.mktemp("policy")
    for command, output in transcripts():
        if name := re.fullmatch(r"cat (\S+)", command):
            (path / name[1]).write_text(output)
    policy = dict(line.split("=", 1) for line in (path / "service.env").read_text().splitlines())
    with Emulator(World.from_text(EXAMPLE)) as emulator, socket_address() as address:
        variables = {
            **emulator.environment(SERVICE_ACCOUNT, "kuma-aws-iam"),
            **policy,
            "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
            "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
            "KMESH_AWSIAM_READER_ROLE_NAME": "kuma-aws-iam-reader",
            "KMESH_AWSIAM_READER_EXTERNAL_ID": "kuma-control-plane",
            "KMESH_AWSIAM_CANDIDATE_POLICY_FILE": str(path / "candidate.env"),
        }
        with served(address, **variables) as service:
            service.wait_for("own account")
            for number, (account, role, asserted) in enumerate(PROXIES, start=1):
                credential = recipe_of(emulator.issue(account, role, f"task-{number}")).credential()
                call = {"credential": credential, "proxy": asserted}
                headers = {"x-request-id": f"request-{number}"}
                service.client.post("/v1/authenticate", json=call, headers=headers)
            service.wait_for('"event":"decision"', len(PROXIES))
            (path / "service.log").write_text("".join(service.lines))
            (path / "metrics").write_text(service.client.get("/metrics").text)
    return path


def play(command: str, folder: Path) -> str:
    """Run a command of the page in its folder."""
    if command.startswith("kuma-aws-iam "):
        result = CliRunner().invoke(main, command.split()[1:], catch_exceptions=False)
        assert result.exit_code == ("DENIED" in result.output)
        return result.output
    shell = command.replace("curl -s http://127.0.0.1:5690/metrics", "cat metrics")
    done = subprocess.run(  # noqa: S602 - a command of this repository's page
        shell, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    return done.stdout + done.stderr


def test_every_transcript_is_what_the_commands_print(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    played = 0
    for command, output in transcripts():
        if "jq " in command and shutil.which("jq") is None:
            continue
        printed = "".join(f"{line.rstrip()}\n" for line in play(command, folder).splitlines())
        assert _TIME.sub("TIME", printed) == _TIME.sub("TIME", output), command
        played += 1
    assert played > 8
