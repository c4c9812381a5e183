"""The steps of the README to a proxy with a stock Kuma, and a host on which they run."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment, free_address, stop_group
from tests.support.world import ACCOUNT, SERVICE_ROLE, Aws

STEP: Final = re.compile(r"^<!-- step: ([a-z ]+) -->\n```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEPS: Final = dict(STEP.findall((ROOT / "README.md").read_text(encoding="utf-8")))
DATAPLANE: Final = """
type: Dataplane
mesh: default
name: demo-app-1
labels:
  kuma.io/workload: demo-app
networking:
  address: 127.0.0.1
  inbound:
    - port: 18080
      servicePort: 18081
      protocol: http
"""
"""The ``dataplane.yaml`` of the last step."""
ROLE: Final = "workload-of-demo-app"
ROLE_TAGS: Final = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/workload": "demo-app"}
"""The role of the last step; `Host` adds it to the account."""


class Host:
    """A host with ``kuma-aws-iam`` and other programs on its PATH, and a folder in which the steps run.

    Only the addresses of the service and of the control plane are replaced by free ones.
    """

    def __init__(
        self,
        folder: Path,
        aws: Aws,
        programs: Path,
        control_plane: str = "127.0.0.1:5678",
        *,
        dataplane: str = DATAPLANE,
        extra_tags: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the folder.

        Args:
            folder: an empty folder.
            aws: what the service and the proxy have for AWS.
            programs: a folder with ``kuma-cp`` and ``kuma-dp``.
            control_plane: the address of the DP server.
            dataplane: ``dataplane.yaml``, where a release needs another form than 3.0.
            extra_tags: of the proxy's role, for such a release.
        """
        self.folder = folder
        self._aws = aws
        self._addresses = {"127.0.0.1:5690": free_address(), "127.0.0.1:5678": control_plane}
        own = folder / "bin"
        own.mkdir()
        write_program(own / "kuma-aws-iam", f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
        self._path = f"{own}:{programs}:/usr/bin:/bin"
        (folder / "dataplane.yaml").write_text(dataplane)
        aws.add_named_role(ACCOUNT, ROLE, tags={**ROLE_TAGS, **(extra_tags or {})})

    @contextlib.contextmanager
    def step(self, name: str, role: str = SERVICE_ROLE, **variables: str) -> Iterator["Step"]:
        """Run a step's commands with a role until the block is left; `variables` are further ones."""
        commands = STEPS[name]
        for shown, used in self._addresses.items():
            commands = commands.replace(shown, used)
        environment = {
            **self._aws.emulator.environment(ACCOUNT, role),
            "PATH": self._path,
            "PYTHONPATH": str(ROOT),
            "KMESH_AWSIAM_LISTEN": self._addresses["127.0.0.1:5690"],
            **variables,
        }
        log = self.folder / f"{name}.log"
        with (
            log.open("w") as output,
            subprocess.Popen(  # noqa: S603 - the commands of the README
                ["/bin/bash", "-euc", commands],
                cwd=self.folder,
                env=clean_environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield Step(process, log)
            finally:
                end_group(process)

    def ended(self, name: str, role: str = SERVICE_ROLE, **variables: str) -> None:
        """Run a step to its end."""
        with self.step(name, role, **variables) as step:
            assert step.process.wait(PATIENCE) == 0, step.log.read_text()


@dataclass(frozen=True, slots=True)
class Step:
    """A step that runs, and the file with its output."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, text: str) -> None:
        """Wait until the output has a text."""
        end = time.monotonic() + PATIENCE
        while text not in (seen := self.log.read_text()):
            assert self.process.poll() is None, f"it ended, and never said {text!r}:\n{seen}"
            assert time.monotonic() < end, f"it never said {text!r}:\n{seen}"
            time.sleep(0.05)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Let the group end by itself, so that the agent ends its proxy, which has a group of its own; kill what is left."""
    end = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < end:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    stop_group(process)


def write_program(path: Path, text: str) -> None:
    """Write a script that can be executed."""
    path.write_text(text)
    path.chmod(0o700)
