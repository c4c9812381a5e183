"""A Dockerfile and its .dockerignore as data: the instructions of each stage, and the files that a COPY finds."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pathspec import PathSpec


class DockerfileError(Exception):
    """An instruction that this parser does not know; the message names the line."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, with its continuation lines joined."""

    name: str
    value: str
    line: int

    @property
    def flags(self) -> dict[str, str]:
        """The options before the arguments, such as ``--from=build``."""
        return dict(word.removeprefix("--").partition("=")[::2] for word in self._split()[0])

    @property
    def arguments(self) -> str:
        """The text after the options."""
        return self._split()[1]

    @property
    def exec_form(self) -> list[str] | None:
        """The words of a JSON list, which Docker runs without a shell; None if the arguments are no such list."""
        if not self.arguments.startswith("["):
            return None
        try:
            words: Any = json.loads(self.arguments)
        except ValueError:
            return None  # as Docker does
        return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None

    def _split(self) -> tuple[list[str], str]:
        match = re.match(r"((?:--[a-z-]+(?:=\S*)?\s+)*)(.*)", self.value, re.DOTALL)
        return (match[1].split(), match[2]) if match else ([], self.value)


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and its instructions."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)


def parse(text: str) -> Iterator[Instruction]:
    """Yield every instruction.

    Raises:
        DockerfileError: a here-document, which is beyond this parser.
    """
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue  # also between continuation lines
        first = first if parts else number
        parts.append(line.strip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            name, _, value = " ".join(parts).partition(" ")
            if "<<" in value:
                raise DockerfileError(f"line {first}: a here-document is not understood here")
            yield Instruction(name.upper(), value.strip(), first)
            parts = []


def stages(text: str) -> list[Stage]:
    """Return the stages in their order; the ARGs before the first FROM belong to none.

    Raises:
        DockerfileError: the text is beyond this parser.
    """
    found: list[Stage] = []
    for instruction in parse(text):
        if instruction.name == "FROM":
            base, *rest = instruction.arguments.split()
            found.append(Stage(base, rest[1] if rest else str(len(found))))
        elif found:
            found[-1].instructions.append(instruction)
    return found


class DockerIgnore:
    """The patterns of a .dockerignore: the last one that fits a path, or a folder that it is in, decides."""

    def __init__(self, text: str) -> None:
        # The patterns as those of .gitignore, each in the root and for everything below it.
        rules = (_anchored(line.strip()) for line in text.splitlines() if line.strip() and not line.startswith("#"))
        self._spec = PathSpec.from_lines("gitignore", [line for rule in rules for line in (rule, f"{rule}/**")])

    def ignores(self, path: str) -> bool:
        """Return whether a path, relative to the context, is excluded from the build."""
        return self._spec.match_file(path)

    def sent(self, context: Path, source: str) -> list[str]:
        """Return the files that a COPY of this file or folder finds, relative to the context, in order."""
        start = context / source
        if not start.is_dir():
            return [] if self.ignores(source) or not start.exists() else [source]
        files = (Path(folder, name) for folder, _, names in os.walk(start) for name in names)
        paths = (file.relative_to(context).as_posix() for file in files)
        return sorted(path for path in paths if not self.ignores(path))


def _anchored(pattern: str) -> str:
    return re.sub(r"^(!?)\s*/*(.*?)/*$", r"\1/\2", pattern)
