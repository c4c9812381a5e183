"""The programs of one Kuma release, which the environment variable ``KUMA_BIN`` names.

A test module that imports this module is skipped if ``KUMA_BIN`` is not set. If it is set and a program is missing, that is
an error: otherwise a wrong path would look like a success.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

VARIABLE: Final = "KUMA_BIN"
NOT_NAMED: Final = (
    "no real Kuma is tested: KUMA_BIN must name a folder with kuma-cp and kuma-dp of a release; "
    "see CONTRIBUTING.md, Real Kuma"
)

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Release:
    """The programs of a release; `version` is what ``kuma-cp version`` prints, and `kumactl` may be missing."""

    control_plane: Path
    dataplane: Path
    kumactl: Path | None
    envoy: Path
    version: Version

    @property
    def name(self) -> str:
        """The version as text."""
        return ".".join(map(str, self.version))

    @property
    def has_only_labels(self) -> bool:
        """Whether a Dataplane has labels in place of inbound tags, and zone proxies are Dataplanes (3.0)."""
        return self.version >= (3,)


def _find_release(folder: Path) -> Release:
    programs = {name: folder / name for name in ("kuma-cp", "kuma-dp")}
    if missing := [name for name, path in programs.items() if not os.access(path, os.X_OK)]:
        pytest.fail(f"KUMA_BIN={folder}: no program {' and no program '.join(missing)} there", pytrace=False)
    printed = subprocess.run(  # noqa: S603 - the program that the user names
        [programs["kuma-cp"], "version"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", printed)
    if found is None:
        pytest.fail(f"KUMA_BIN={folder}: kuma-cp prints no version: {printed}", pytrace=False)
    major, minor, patch = map(int, found.groups())
    kumactl = folder / "kumactl"
    return Release(
        control_plane=programs["kuma-cp"],
        dataplane=programs["kuma-dp"],
        kumactl=kumactl if os.access(kumactl, os.X_OK) else None,
        envoy=_find_envoy(folder),
        version=(major, minor, patch),
    )


def _find_envoy(folder: Path) -> Path:
    """Prefer the Envoy of the release; else take the one of ``make install-envoy``."""
    if os.access(folder / "envoy", os.X_OK):
        return folder / "envoy"
    from demos.envoy.envoy import REMEDY, find_envoy  # noqa: PLC0415 - only after the check for grpc below

    found = find_envoy() or shutil.which("envoy")
    if found is None:
        pytest.fail(REMEDY, pytrace=False)
    return Path(found)


if not os.environ.get(VARIABLE):
    pytest.skip(NOT_NAMED, allow_module_level=True)
if importlib.util.find_spec("grpc") is None:
    pytest.fail("the tests of a real Kuma need gRPC; install it: make install-envoy", pytrace=False)

KUMA: Final = _find_release(Path(os.environ[VARIABLE]).absolute())


def since(*version: int) -> pytest.MarkDecorator:
    """Skip a test if the release is older than this version."""
    text = ".".join(map(str, version))
    return pytest.mark.skipif(KUMA.version < version, reason=f"Kuma {KUMA.name} is older than {text}")


def until(*version: int) -> pytest.MarkDecorator:
    """Skip a test if the release is newer than all releases with this prefix."""
    text = ".".join(map(str, version))
    is_newer = KUMA.version[: len(version)] > version
    return pytest.mark.skipif(is_newer, reason=f"Kuma {KUMA.name} is newer than {text}")
