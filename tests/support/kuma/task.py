"""The containers of a shipped template as processes of this host: their commands, environment, secrets and health checks.

What differs from ECS, and nothing else: addresses and ports (every task shares one loopback), folders in place of volumes, a
small busybox, and the paths of Envoy and of the programs.
"""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.kuma.program import Program, start, wait_until
from tests.support.kuma.release import KUMA
from tests.support.patience import PATIENCE
from tests.support.process import ROOT, clean_environment
from tests.support.task_definition import Container, Task

# The images of Kuma have a busybox; this one has what the templates call. It does not change owners: all run as one user.
_BUSYBOX: Final = """\
import os, sys, urllib.request
applet, *arguments = sys.argv[1:]
if applet == "hostname":
    print(os.environ["TASK_ADDRESS" if "-i" in arguments else "TASK_NAME"])
elif applet == "wget":
    urllib.request.urlopen(arguments[-1], timeout=5).read()
elif applet != "chown":
    os.execvp(applet, [applet, *arguments])
"""

_IMAGE_COMMANDS: Final[Mapping[str, Sequence[str]]] = {"kuma-aws-iam": ["serve"], "kuma-cp": [], "kuma-dp": []}


@dataclass(frozen=True, slots=True)
class Host:
    """Where a task runs.

    Attributes:
        folder: has a folder for each volume, the programs, and the logs.
        replacements: texts of the template to texts for this host, such as an address with a port.
        variables: further variables of each container, which the template's own override.
        overrides: variables that override the template's own.
        secrets: what ECS resolves: the variable to its value.
    """

    folder: Path
    replacements: Mapping[str, str]
    variables: Mapping[str, str]
    overrides: Mapping[str, str]
    secrets: Mapping[str, str]

    def prepare(self) -> None:
        """Make the folder of the programs."""
        programs = self.folder / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        python = f"#!{sys.executable}\n"
        _script(programs / "busybox", python + _BUSYBOX)
        service = (
            f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom app.cli import main\nmain(prog_name='kuma-aws-iam')\n"
        )
        _script(programs / "kuma-aws-iam", python + service)
        for name, path in (("kuma-cp", KUMA.control_plane), ("kuma-dp", KUMA.dataplane), ("envoy", KUMA.envoy)):
            (programs / name).symlink_to(path)

    def run(self, task: Task, name: str) -> subprocess.CompletedProcess[str]:
        """Run a container that ends by itself."""
        container = task.containers[name]
        return subprocess.run(  # noqa: S603 - the template's command
            self._command(container),
            env=clean_environment(**self._environment(container)),
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def start(self, task: Task, name: str) -> Program:
        """Start a container."""
        container = task.containers[name]
        return start(self.folder, name, self._command(container), self._environment(container))

    def is_healthy(self, task: Task, name: str) -> bool:
        """Run the health check of a container once."""
        container = task.containers[name]
        kind, *command = container.health_check
        assert kind in ("CMD", "CMD-SHELL")
        line = command if kind == "CMD" else ["/bin/sh", "-c", *command]
        done = subprocess.run(  # noqa: S603 - the template's command
            self._texts(container, line),
            env=clean_environment(**self._environment(container)),
            check=False,
            capture_output=True,
            timeout=PATIENCE,
        )
        return done.returncode == 0

    def wait_until_healthy(self, task: Task, name: str, program: Program) -> None:
        """Repeat the health check until it succeeds."""
        wait_until(
            lambda: self.is_healthy(task, name) or program.process.poll() is not None,
            lambda: f"{name} is not healthy; {program.tail()}",
        )
        assert program.process.poll() is None, f"{name} ended; {program.tail()}"

    def _command(self, container: Container) -> list[str]:
        """Return entry point and command; what the template leaves out is the image's, whose name is that of its program."""
        if container.entry_point:
            return self._texts(container, [*container.entry_point, *container.command])
        return self._texts(container, [container.image, *(container.command or _IMAGE_COMMANDS[container.image])])

    def _environment(self, container: Container) -> dict[str, str]:
        own = {name: self._text(container, value) for name, value in container.environment.items()}
        secrets = {name: self.secrets[name] for name in container.secrets}
        path = f"{self.folder / 'bin'}:{os.defpath}"
        return {**self.variables, **own, **secrets, **self.overrides, "PATH": path}

    def _texts(self, container: Container, command: Sequence[str]) -> list[str]:
        """Translate a command; a program of `bin` gets its full path."""
        program, *arguments = [self._text(container, text) for text in command]
        own = self.folder / "bin" / program
        return [str(own) if own.is_file() else program, *arguments]

    def _text(self, container: Container, text: str) -> str:
        """Replace addresses, container paths and the busybox, all in one pass."""
        replacements = {"/busybox/busybox": str(self.folder / "bin/busybox"), **self.replacements}
        for path, volume in container.mounts.items():
            own = self.folder / volume
            own.mkdir(exist_ok=True)
            replacements[path] = str(own)
        longest_first = sorted(replacements, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first))
        return re.sub(pattern, lambda found: replacements[found[0]], text)


def _script(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
