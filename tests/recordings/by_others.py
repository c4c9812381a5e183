"""Recordings of signers of other languages: the Go program in `golang`, and the Node program in `node`.

Both are built in the environment of the shell, where their registries are reachable, and run in the clean one. Where Go or
npm is missing, the recordings of its tools stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capture import clean_environment
from recording import AUDIENCE, Recording, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HERE = Path(__file__).parent
_COMMANDS = ("RECORDINGS_GO", "RECORDINGS_NODE")


def build(folder: Path) -> dict[str, str]:
    """Build both programs, where their tools are; return variables that tell `recordings` how to run them."""
    commands = {}
    if go := shutil.which("go"):
        program = folder / "signers"
        subprocess.run([go, "build", "-o", program, "."], cwd=_HERE / "golang", check=True)  # noqa: S603 - our own program
        commands["RECORDINGS_GO"] = json.dumps([str(program)])
    if (npm := shutil.which("npm")) and (node := shutil.which("node")):
        shutil.copytree(_HERE / "node", folder / "node", dirs_exist_ok=True)
        subprocess.run([npm, "install", "--silent", "--no-package-lock"], cwd=folder / "node", check=True)  # noqa: S603 - likewise
        commands["RECORDINGS_NODE"] = json.dumps([node, str(folder / "node" / "sign.js")])
    return commands


def recordings() -> Iterator[Recording]:
    """Yield what consul-awsauth, the AWS SDK for Go v2 and npm's aws4 sign."""
    for command in (json.loads(os.environ[name]) for name in _COMMANDS if name in os.environ):
        done = subprocess.run(  # noqa: S603 - what `build` made
            [*command, AUDIENCE], env=clean_environment(), check=True, stdout=subprocess.PIPE, text=True
        )
        yield from map(_recording, json.loads(done.stdout))


def _recording(made: Mapping[str, Any]) -> Recording:
    headers = ((name, str(value)) for name, given in made["headers"].items() for value in _values(given))
    return Recording(
        case=made["case"],
        tool=made["tool"],
        version=made["version"],
        how=made["how"],
        request=Seen.of(made["method"], made["url"], headers, made["body"]),
        form=made["form"],
        credential=made["credential"],
    )


def _values(given: object) -> list[object]:
    return given if isinstance(given, list) else [given]
