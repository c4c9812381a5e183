"""The content of a release: the packages as this tree builds them, with one version in every place."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Final

import pytest

from app import __version__

ROOT: Final = Path(__file__).parents[1]
RELEASE: Final = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    subprocess.run(  # noqa: S603 - the pinned build backend, as in the workflow of releases
        [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_tells_type_checkers_that_its_types_count(wheel: zipfile.ZipFile) -> None:
    """PEP 561: without the marker a type checker ignores the annotations of an installed package."""
    assert wheel.read("app/py.typed") == b""


def test_the_wheel_holds_the_package_and_its_metadata_alone(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"app", f"kuma_aws_iam-{__version__}.dist-info"}


def test_the_wheel_holds_the_style_and_the_script_of_the_page(wheel: zipfile.ZipFile) -> None:
    assert {"app/page/decisions.css", "app/page/decisions.js"} <= set(wheel.namelist())


def test_the_wheel_has_the_version_of_the_package(wheel: zipfile.ZipFile) -> None:
    metadata = message_from_bytes(wheel.read(f"kuma_aws_iam-{__version__}.dist-info/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("kuma-aws-iam", __version__)


def test_the_source_distribution_holds_what_the_wheel_is_built_from_and_the_changelog(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/")[1] for name in archive.getnames()}
    assert names - {".gitignore", "PKG-INFO"} == {"app", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    """`RELEASE` finds the headings of releases, newest first; ``[Unreleased]`` is above them."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert RELEASE.findall(text)[0] == __version__
    assert text.index("## [Unreleased]") < text.index(f"## [{__version__}]")
