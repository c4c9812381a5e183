"""Find the other Python interpreters that the tests must pass on: ``make test-pythons``.

Beside the interpreter that runs this module these are the oldest one that the project supports, the newest one on this
machine, and the one of the image. The module looks in PATH and among pyenv's versions, and runs each candidate: pyenv
has shims for versions that are not selected, and these fail. A prerelease does not count, and neither does an interpreter
without ``venv`` and ``ensurepip``.

Prints one path a line. Missing versions are reported on standard error, and are no failure.

Usage: python -m tools.interpreters
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SECONDS: Final = 60
"""The time limit for an interpreter to print its version."""

_NAME: Final = re.compile(r"python3\.\d+")
_TRIAL: Final = "import ensurepip, sys, venv; print(*sys.version_info[:3]) if sys.version_info[3] == 'final' else None"

Version = tuple[int, int]


@dataclass(frozen=True, slots=True, order=True)
class Interpreter:
    """An interpreter that can be run."""

    release: tuple[int, int, int]
    path: Path

    @property
    def version(self) -> Version:
        """Its major and minor number."""
        return self.release[:2]


def find_interpreters(environment: Mapping[str, str]) -> list[Interpreter]:
    """Return the newest release of each version that runs here, the oldest version first."""
    found = (try_interpreter(path) for path in _candidates(environment))
    newest = {each.version: each for each in sorted(each for each in found if each is not None)}
    return [newest[version] for version in sorted(newest)]


def try_interpreter(path: Path) -> Interpreter | None:
    """Run an interpreter; None if it does not run, is a prerelease, or can make no virtual environment."""
    try:
        done = subprocess.run(  # noqa: S603 - an interpreter of this machine
            [path, "-I", "-c", _TRIAL], capture_output=True, text=True, check=True, timeout=SECONDS
        )
        major, minor, micro = map(int, done.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter((major, minor, micro), path)


def choose(
    found: list[Interpreter], own: Version, oldest: Version, image: Version
) -> tuple[list[Interpreter], list[str]]:
    """Return the other interpreters to test on, and a sentence for each one that is missing."""
    versions = {own, *(each.version for each in found)}
    wanted = {oldest: "the oldest that the project supports", image: "the image's"}
    missing = [
        f"Python {_text(each)} ({wanted[each]}) is not on this machine" for each in wanted if each not in versions
    ]
    if max(versions) == own:
        missing.append(f"no Python newer than {_text(own)} is on this machine")
    chosen = {*wanted, max(versions)} - {own}
    return [each for each in found if each.version in chosen], missing


def oldest_version(pyproject: str) -> Version:
    """Return the oldest version that the project's metadata allows."""
    return _version(tomllib.loads(pyproject)["project"]["requires-python"])


def image_version(dockerfile: str) -> Version:
    """Return the version of the image that the Dockerfile begins with."""
    [tag] = re.findall(r"^ARG PYTHON_IMAGE=python:(\S+)$", dockerfile, re.MULTILINE)
    return _version(tag)


def main() -> int:
    """Print the paths of the interpreters, and report missing ones."""
    oldest = oldest_version((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    image = image_version((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    chosen, missing = choose(find_interpreters(os.environ), sys.version_info[:2], oldest, image)
    for sentence in missing:
        print(f"!!! NOT TESTED: {sentence}", file=sys.stderr)
    for each in chosen:
        print(each.path)
    return 0


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    folders = [Path(folder) for folder in environment.get("PATH", os.defpath).split(os.pathsep) if folder]
    pyenv = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in (*folders, *sorted(pyenv.glob("versions/*/bin"))):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _version(text: str) -> Version:
    [(major, minor)] = re.findall(r"(\d+)\.(\d+)", text)
    return int(major), int(minor)


def _text(version: Version) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main())
