"""``emulator``: the local AWS by itself."""

import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from app.emulator import EXAMPLE, World
from tests.cli.conftest import Invoke
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment, free_address


def test_the_example_is_a_world(invoke: Invoke) -> None:
    result = invoke("emulator", "--print-example")
    assert (result.exit_code, result.stdout) == (0, EXAMPLE)
    assert tomllib.loads(result.stdout)["accounts"]
    assert World.from_text(result.stdout).find_role("111122223333", "demo-app")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_world_of_a_file_and_says_how_to_use_it(tmp_path: Path, number: int) -> None:
    config = tmp_path / "aws.toml"
    config.write_text('[accounts."222233334444".roles.mine]\n')
    address = free_address()
    command = [sys.executable, "-m", "app", "emulator", "--config", str(config), "--listen", address]
    with subprocess.Popen(  # noqa: S603 - the command is in the line above
        command, cwd=ROOT, env=clean_environment(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        words = ""
        while "Ctrl-C" not in words:
            line = process.stdout.readline()
            assert line, "it ended"
            words += line
        assert f"AWS_ENDPOINT_URL_STS=http://{address}" in words
        assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in words
        answer = httpx.get(f"http://{address}/ecs/222233334444/mine", trust_env=False, timeout=PATIENCE)
        assert answer.json()["RoleArn"] == "arn:aws:iam::222233334444:role/mine"
        process.send_signal(number)
        # uvicorn raises a handled signal again: SIGINT ends the process with 0, SIGTERM by the signal.
        assert process.wait(PATIENCE) in (0, -number)


@pytest.mark.parametrize("address", ["0.0.0.0:4599", "unix:/tmp/aws.sock", "4599"])
def test_it_listens_on_loopback_alone(invoke: Invoke, address: str) -> None:
    """The emulator hands out credentials to every caller."""
    assert invoke("emulator", "--listen", address).exit_code == 2


def test_a_file_that_is_not_there_is_a_usage_error(invoke: Invoke) -> None:
    assert invoke("emulator", "--config", "/nowhere.toml").exit_code == 2


@pytest.mark.parametrize("text", ["no toml", "", '[accounts."1"]', '[accounts."111122223333".roles.a]\ncolour = "red"'])
def test_a_file_that_does_not_do_is_explained(invoke: Invoke, tmp_path: Path, text: str) -> None:
    config = tmp_path / "aws.toml"
    config.write_text(text)
    result = invoke("emulator", "--config", str(config))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("kuma-aws-iam: ")


def test_a_port_that_is_taken_is_named(invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = invoke("emulator", "--listen", address)
    assert result.exit_code == 1
    assert address in result.stderr
