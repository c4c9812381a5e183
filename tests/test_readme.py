"""The README's way to a proxy with a stock Kuma: its four commands run as they stand there, one after the other.

Only the two ports are replaced by free ones. In the places of ``kuma-cp`` and ``kuma-dp`` are programs that keep their
arguments; Kuma's rules for tokens are those of `demos.kuma.validator`. A real Kuma runs the commands in tests/kuma.
"""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from demos.kuma.validator import DataplaneResource, KumaValidator
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment, free_address, stop_group
from tests.support.world import ACCOUNT, SERVICE_ROLE, Aws

STEP: Final = re.compile(r"^<!-- step: ([a-z ]+) -->\n```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEPS: Final = dict(STEP.findall((ROOT / "README.md").read_text(encoding="utf-8")))
DATAPLANE: Final = """
type: Dataplane
mesh: default
name: demo-app-1
networking:
  address: 127.0.0.1
  inbound:
    - port: 8080
      tags:
        kuma.io/service: demo-app
"""
KEEPS_ITS_ARGUMENTS: Final = """#!{python}
import json, pathlib, sys
here = pathlib.Path("{folder}") / (pathlib.Path(sys.argv[0]).name + ".json")
here.with_suffix(".tmp").write_text(json.dumps(sys.argv[1:]))
here.with_suffix(".tmp").rename(here)
"""


class Host:
    """A host with the commands on its PATH, and a folder in which the steps run."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        self.folder = folder
        self._aws = aws
        self._address = free_address()
        programs = folder / "bin"
        programs.mkdir()
        for name in ("kuma-cp", "kuma-dp"):
            self._write(programs / name, KEEPS_ITS_ARGUMENTS.format(python=sys.executable, folder=folder))
        self._write(programs / "kuma-aws-iam", f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
        self._path = f"{programs}:/usr/bin:/bin"

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o700)

    @contextlib.contextmanager
    def step(self, name: str, role: str = SERVICE_ROLE) -> Iterator[subprocess.Popen[str]]:
        """Run a step's commands with a role until the block is left."""
        commands = STEPS[name].replace("127.0.0.1:5690", self._address)
        variables = {
            **self._aws.emulator.environment(ACCOUNT, role),
            "PATH": self._path,
            "PYTHONPATH": str(ROOT),
            "KMESH_AWSIAM_LISTEN": self._address,
        }
        process = subprocess.Popen(  # noqa: S603 - the commands of the README
            ["/bin/bash", "-euc", commands],
            cwd=self.folder,
            env=clean_environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                stop_group(process)

    def ended(self, name: str, role: str = SERVICE_ROLE) -> str:
        """Run a step to its end, and give its output."""
        with self.step(name, role) as process:
            out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out
        return out

    def arguments(self, program: str) -> list[str]:
        """What a step called one of Kuma's programs with."""
        found: list[str] = json.loads((self.folder / f"{program}.json").read_text())
        return found


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read the output up to a line with this text, and leave the rest to a thread."""
    assert process.stdout
    for line in process.stdout:
        if text in line:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return
    raise AssertionError(f"it ended, and never said {text!r}")


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def dataplane(text: str) -> DataplaneResource:
    resource: dict[str, Any] = yaml.safe_load(text)
    tags = {name: {value} for name, value in resource["networking"]["inbound"][0]["tags"].items()}
    return DataplaneResource(mesh=resource["mesh"], name=resource["name"], tags=tags)


def test_the_steps_lead_from_no_key_to_a_proxy_that_a_stock_control_plane_accepts(aws: Aws, tmp_path: Path) -> None:
    host = Host(tmp_path, aws)
    (tmp_path / "dataplane.yaml").write_text(DATAPLANE)
    host.ended("keys")
    with host.step("service") as service:
        wait_for(service, '"listening"')
        host.ended("control plane")
        host.ended("proxy", role="demo-app")
    configuration = option(host.arguments("kuma-cp"), "--config-file")
    control_plane = KumaValidator(yaml.safe_load((tmp_path / configuration).read_text()))
    proxy = host.arguments("kuma-dp")
    token = (tmp_path / option(proxy, "--dataplane-token-file")).read_text()
    control_plane.check_dataplane(
        token, dataplane((tmp_path / option(proxy, "--dataplane-file")).read_text()), time.time()
    )


def test_every_step_of_the_readme_is_run_here() -> None:
    assert list(STEPS) == ["keys", "service", "control plane", "proxy"]
