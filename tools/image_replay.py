"""Run the steps of a Dockerfile without a Docker engine, in a folder that replaces ``/``.

Absolute paths are put below that folder. COPY sees what .dockerignore leaves. RUN runs with a copy of this Python in the
place of the base image's, and with this machine's other programs, such as find and rm.
"""

import importlib.metadata
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.dockerfile import DockerfileError, DockerIgnore, Instruction, Stage

SHELLS: Final = ("sh", "bash", "dash", "rbash", "perl")
INSTALLERS: Final = ("apt", "apt-get", "dpkg", "pip")

_BASE_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# The variables of the caller's environment that pip needs to find its index. No other variable is passed on.
_PASSED_ON: Final = re.compile(r"HOME|PIP_.*|SSL_CERT_(FILE|DIR)|(?i:(https?|no)_proxy)")
# A path is at the start of a word, or follows one of these. Exceptions: the null device, and the mode in `find -perm
# /6000`.
_ABSOLUTE: Final = re.compile(r"""(?<![^\s"'=:,(\[<>])/(?!/|dev/null\b|[0-7]{3,4}(?:\s|$))""")
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_ASSIGNMENT: Final = re.compile(r"""([\w.]+)=("[^"]*"|\S*)""")
# Empty files with the names of a slim image's files, so that the result shows which of them the steps remove.
_STAND_INS: Final = (*SHELLS, "apt", "apt-get", "dpkg", "cat", "su")
_SET_USER_ID: Final = "su"
_NOT_IN_A_SLIM_IMAGE: Final = (
    *("__pycache__", "site-packages", "dist-packages", "EXTERNALLY-MANAGED"),
    *("test", "tests", "config-*", "*.a"),
)
_WHERE: Final = "import sys, sysconfig; print(sys.prefix); print(sysconfig.get_path('purelib'))"


class StepsError(Exception):
    """A step failed, or the result is not as promised; the message is for people."""


class Clock:
    """The time limit for all steps together."""

    def __init__(self, seconds: float) -> None:
        self._start = time.monotonic()
        self._end = self._start + seconds

    @property
    def spent(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Return the seconds left. At the end this is a moment, so that the caller gets a time-out."""
        return max(self._end - time.monotonic(), 0.01)


@dataclass(slots=True)
class Image:
    """The folder that replaces ``/``, and Docker's settings of the image."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _BASE_PATH})
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"

    def inside(self, text: str) -> str:
        """Put every absolute path of a text below the root."""
        return _ABSOLUTE.sub(lambda _: f"{self.root}/", text)

    def path(self, text: str) -> Path:
        """Return the place of a path. A relative path starts in the current folder."""
        return Path(self.inside(str(Path(self.folder, text))))

    def variables(self) -> dict[str, str]:
        """Return the variables of the image, with their paths below the root."""
        # The image's Python finds its own library through the linker's cache; a copy of this one finds it by a variable.
        library = {"LD_LIBRARY_PATH": str(self.root / "usr/local/lib")}
        return library | {name: self.inside(value) for name, value in self.environment.items()}


def run(command: Sequence[str], variables: Mapping[str, str], folder: Path, clock: Clock) -> str:
    """Run a program to its end, in exactly these variables, and return its output.

    Raises:
        StepsError: it cannot be started, fails, or takes too long.
    """
    said = " ".join(command)
    try:
        process = subprocess.Popen(  # noqa: S603 - the commands of our own Dockerfile
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise StepsError(f"{command[0]} cannot be started ({error.strerror})") from error
    with process:
        try:
            output, _ = process.communicate(timeout=clock.left)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # also what a shell has started
            raise StepsError(f"time is up in: {said}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise StepsError(f"{said}\nended with {process.returncode}:\n{output}")
    return output


class Replay:
    """Runs the steps, one after the other."""

    def __init__(self, context: Path, workspace: Path, clock: Clock) -> None:
        self._context = context
        self._ignore = DockerIgnore((context / ".dockerignore").read_text("utf-8"))
        self._workspace = workspace
        self._clock = clock
        self._image = Image(workspace / "root")
        self._arguments: dict[str, str] = {}
        self._stages: dict[str, Path] = {}
        self._steps = {
            "ARG": self._argument,
            "CMD": self._command,
            "COPY": self._copy,
            "ENTRYPOINT": self._entrypoint,
            "ENV": self._environment,
            "HEALTHCHECK": self._health,
            "LABEL": lambda _: None,
            "RUN": self._run,
            "STOPSIGNAL": self._stop_signal,
            "USER": self._user,
            "WORKDIR": self._folder,
        }

    def play(self, stages: Sequence[Stage]) -> Image:
        """Run every stage, and return the image of the last one.

        Raises:
            StepsError: a step failed.
            DockerfileError: a step is of a kind that is not understood here.
        """
        root = self._image.root
        for number, stage in enumerate(stages, start=1):
            if number > 1:
                # The roots of all stages have one place, because a virtual environment works only
                # where it was made.
                self._stages[stages[number - 2].name] = root.rename(self._workspace / f"stage-{number - 1}")
            self._image, self._arguments = Image(root), {}
            self._base()
            for instruction in stage.instructions:
                self._step(stage, instruction)
        for place in self._stages.values():
            shutil.rmtree(place)  # a program that still uses an earlier stage must fail
        return self._image

    def _base(self) -> None:
        start = time.monotonic()
        lay_base(self._image, self._clock)
        self._report("FROM", start, f"this Python {sys.version.split()[0]} and empty files for a slim image's programs")

    def _step(self, stage: Stage, instruction: Instruction) -> None:
        start = time.monotonic()
        step = self._steps.get(instruction.name)
        if step is None:
            raise DockerfileError(f"line {instruction.line}: {instruction.name} is not understood here")
        if set(instruction.flags) - ({"from"} if instruction.name == "COPY" else set()) and step != self._health:
            raise DockerfileError(f"line {instruction.line}: {instruction.name} with options is not understood here")
        step(instruction)
        if instruction.name in {"COPY", "RUN"}:
            self._report(f"{stage.name}: {instruction.name}", start, instruction.arguments)

    def _report(self, heading: str, start: float, what: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {heading} {' '.join(what.split())[:88]}", flush=True)

    # ---- one method for each kind of step ---------------------------------------------------------------------------

    def _argument(self, instruction: Instruction) -> None:
        name, _, default = instruction.arguments.partition("=")
        if value := os.environ.get(name, default):
            self._arguments[name] = value

    def _environment(self, instruction: Instruction) -> None:
        known = self._arguments | self._image.environment
        for name, value in _ASSIGNMENT.findall(instruction.arguments):
            expanded = _VARIABLE.sub(lambda match: known.get(match[1] or match[2], ""), value.strip('"'))
            self._image.environment[name] = expanded

    def _folder(self, instruction: Instruction) -> None:
        self._image.folder = str(Path(self._image.folder, instruction.arguments))
        self._image.path("").mkdir(parents=True, exist_ok=True)

    def _copy(self, instruction: Instruction) -> None:
        *sources, target = instruction.arguments.split()
        stage = instruction.flags.get("from")
        for source in sources:
            if stage is None:
                self._copy_from_context(source, target, instruction.line)
            elif stage in self._stages:
                place = Path(f"{self._stages[stage]}{source}")
                shutil.copytree(place, self._image.path(target), symlinks=True, dirs_exist_ok=True)
            else:
                raise DockerfileError(f"line {instruction.line}: there is no stage {stage}")

    def _copy_from_context(self, source: str, target: str, line: int) -> None:
        files = self._ignore.sent(self._context, source.rstrip("/"))
        if not files:
            raise StepsError(f"line {line}: {source} is not there, or .dockerignore keeps it back")
        is_folder = (self._context / source).is_dir()
        goal = self._image.path(target)
        for file in files:
            name = Path(file).relative_to(source) if is_folder else Path(Path(file).name)
            place = goal / name if is_folder or target.endswith("/") else goal
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._context / file, place, follow_symlinks=False)

    def _run(self, instruction: Instruction) -> None:
        if ".." in instruction.arguments:
            raise DockerfileError(f"line {instruction.line}: a path with .. could lead out of the folder")
        words = instruction.exec_form
        if words is None:
            command = ["/bin/sh", "-c", self._image.inside(instruction.arguments)]
        else:
            command = [self._image.inside(word) for word in words]
        passed = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        variables = passed | self._arguments | self._image.variables()
        variables["PATH"] += f":{os.defpath}"  # this machine's find and rm
        run(command, variables, self._image.path(""), self._clock)

    def _user(self, instruction: Instruction) -> None:
        self._image.user = instruction.arguments

    def _stop_signal(self, instruction: Instruction) -> None:
        self._image.stop_signal = instruction.arguments

    def _entrypoint(self, instruction: Instruction) -> None:
        self._image.entrypoint = _without_shell(instruction)

    def _command(self, instruction: Instruction) -> None:
        self._image.command = _without_shell(instruction)

    def _health(self, instruction: Instruction) -> None:
        asked = instruction.arguments.removeprefix("CMD ")
        self._image.health = _without_shell(Instruction(instruction.name, asked, instruction.line))


def _without_shell(instruction: Instruction) -> list[str]:
    words = instruction.exec_form
    if words is None:
        raise StepsError(f"line {instruction.line}: {instruction.name} needs a shell; write it as a JSON list")
    return words


# ---- the stand-in for the base image --------------------------------------------------------------------------------


def lay_base(image: Image, clock: Clock) -> None:
    """Make a root with a copy of this Python, its pip, and empty files with the names of a slim image's programs.

    Raises:
        StepsError: this Python does not work as a copy.
    """
    programs = image.root / "usr/bin"
    programs.mkdir(parents=True)
    (image.root / "usr/sbin").mkdir()
    for name in ("bin", "sbin"):
        (image.root / name).symlink_to(f"usr/{name}")
    for name in _STAND_INS:
        (programs / name).touch()
        (programs / name).chmod(0o755 | (stat.S_ISUID if name == _SET_USER_ID else 0))
    python = [str(_copy_python(image.root / "usr/local")), "-c"]
    said = run([*python, _WHERE], image.variables(), image.root, clock)
    prefix, packages = (Path(line) for line in said.splitlines())
    if prefix != image.root / "usr/local":
        raise StepsError(f"a copy of this Python is at home in {prefix} still; use one that can be moved")
    _copy_pip(packages)
    run([*python, "import pip"], image.variables(), image.root, clock)


def _copy_python(prefix: Path) -> Path:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ignore = shutil.ignore_patterns(*_NOT_IN_A_SLIM_IMAGE)
    shutil.copytree(sysconfig.get_path("stdlib"), prefix / "lib" / name, ignore=ignore)
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        library = sysconfig.get_config_var("INSTSONAME")
        shutil.copy(Path(sysconfig.get_config_var("LIBDIR"), library), prefix / "lib" / library)
    (prefix / "bin").mkdir()
    shutil.copy(Path(sys.base_prefix, "bin", name).resolve(), prefix / "bin" / name)
    for link in ("python3", "python"):
        (prefix / "bin" / link).symlink_to(name)
    return prefix / "bin/python"


def _copy_pip(packages: Path) -> None:
    pip = importlib.metadata.distribution("pip")
    for file in pip.files or ():
        if "__pycache__" not in file.parts and ".." not in file.parts:  # nor its scripts, which name this Python
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(pip.locate_file(file)), packages / file)
