"""A stream outlives its token; a new stream needs the renewed one, which the agent has written meanwhile."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kuma.release import KUMA

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, command, dataplane, variables
from tests.support.kuma.program import running, wait_until
from tests.support.kuma.stage import Stage, assertion_of, claims_of, open_stage

VALIDITY = 60  # seconds; the shortest that the service accepts


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder, KMESH_AWSIAM_TOKEN_VALIDITY=str(VALIDITY)) as stage:
        stage.add_role("web", type="dataplane", mesh="default", service="web")
        yield stage


def test_a_proxy_survives_the_end_of_its_token_and_a_restart_of_the_control_plane(stage: Stage) -> None:
    """A proxy with a renewed token comes back after the restart; one whose token was not renewed is refused."""
    renewed, left = dataplane("renewed", "web"), dataplane("left", "web")
    token, old = stage.folder / "renewed.token", stage.token_for("web", left)
    agent = stage.agent_command(token, *assertion_of(renewed))
    with running(stage.folder, "agent", agent, stage.task_variables("web")) as renewing:
        renewing.wait_for('"event": ?"renewed"')
        first = claims_of(token)["jti"]
        with stage.proxy(renewed, token) as proxy, stage.proxy(left, old) as other:
            stage.control_plane.wait_until_online("renewed", proxy)
            stage.control_plane.wait_until_online("left", other)
            end = claims_of(old)["exp"]
            wait_until(lambda: time.time() > end + 1, lambda: "the clock stands still")
            assert claims_of(token)["jti"] != first
            assert stage.control_plane.is_online("renewed")
            assert stage.control_plane.is_online("left")
            stage.control_plane.restart()
            stage.control_plane.wait_until_online("renewed", proxy)
            assert "token is expired" in other.wait_for(REFUSED)
            assert not stage.control_plane.is_online("left")


def test_the_agent_starts_the_proxy_and_ends_it(stage: Stage) -> None:
    resource = dataplane("executed", "web")
    folder = stage.folder / "executed"
    folder.mkdir()
    resource_file = folder / "resource.yaml"
    resource_file.write_text(json.dumps(resource), "utf-8")
    token = folder / "token"
    proxy = [str(part) for part in command(resource_file, token)]
    agent = stage.agent_command(token, *assertion_of(resource), "--exec", "--", *proxy)
    environment = variables(folder, folder, stage.control_plane.port, stage.authority_file)
    with running(folder, "agent", agent, {**stage.task_variables("web"), **environment}) as program:
        stage.control_plane.wait_until_online("executed", program)
        assert program.stop() == 0, program.tail()
    wait_until(lambda: not stage.control_plane.is_online("executed"), lambda: f"{KUMA.name}: it is still online")
