"""``tools/interpreters.py`` finds the Pythons on which the tests run besides the current one."""

import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tools.interpreters import Interpreter, choose, find_interpreters, image_version, oldest_version, try_interpreter


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def says(folder: Path, name: str, release: str) -> Path:
    return program(folder, name, f"echo {release}")


def test_an_interpreter_says_itself_what_it_is() -> None:
    found = try_interpreter(Path(sys.executable))
    assert found == Interpreter(sys.version_info[:3], Path(sys.executable))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo 'pyenv: python3.13: command not found' >&2; exit 127", id="shim-of-no-selected-version"),
        pytest.param("echo 3 13 0; exit 1", id="without-venv"),
        pytest.param("exit 0", id="prerelease-which-says-nothing"),
        pytest.param("echo three", id="another-program"),
    ],
)
def test_what_cannot_be_used_is_left_out(tmp_path: Path, script: str) -> None:
    assert try_interpreter(program(tmp_path, "python3.13", script)) is None


def test_a_file_that_is_no_program_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "python3.13"
    path.write_text("nothing")
    assert try_interpreter(path) is None


def test_path_and_pyenv_are_searched_and_the_newest_release_counts(tmp_path: Path) -> None:
    shims, versions = tmp_path / "shims", tmp_path / "pyenv" / "versions"
    program(shims, "python3.13", "exit 127")
    says(shims, "python3.11", "3 11 2")
    says(shims, "python3.13-config", "3 99 0")
    says(versions / "3.11.7" / "bin", "python3.11", "3 11 7")
    says(versions / "3.13.0" / "bin", "python3.13", "3 13 0")
    found = find_interpreters(
        {"PATH": f"/nowhere:{shims}", "PYENV_ROOT": str(tmp_path / "pyenv")},
    )
    assert [each.release for each in found] == [(3, 11, 7), (3, 13, 0)]


OLD, MIDDLE, IMAGE, NEW = (Interpreter((3, minor, 1), Path(f"/python3.{minor}")) for minor in (11, 12, 13, 14))


@pytest.mark.parametrize(
    ("found", "own", "expected", "missing"),
    [
        pytest.param([OLD, IMAGE], (3, 11), [IMAGE], [], id="the-images-is-the-newest"),
        pytest.param([OLD, MIDDLE, IMAGE, NEW], (3, 11), [IMAGE, NEW], [], id="both"),
        pytest.param([OLD, IMAGE], (3, 13), [OLD], ["newer than 3.13"], id="own-is-the-newest"),
        pytest.param([OLD, MIDDLE], (3, 11), [MIDDLE], ["3.13 (the image's)"], id="not-the-images"),
        pytest.param([OLD], (3, 11), [], ["3.13 (the image's)", "newer than 3.11"], id="none"),
        pytest.param([IMAGE], (3, 13), [], ["3.11 (the oldest", "newer than 3.13"], id="not-the-oldest"),
    ],
)
def test_the_oldest_the_newest_and_the_images_are_chosen(
    found: list[Interpreter], own: tuple[int, int], expected: list[Interpreter], missing: list[str]
) -> None:
    chosen, sentences = choose(found, own, (3, 11), (3, 13))
    assert chosen == expected
    assert len(sentences) == len(missing)
    assert all(words in sentence for words, sentence in zip(missing, sentences, strict=True))


def test_the_versions_are_those_of_the_metadata_and_of_the_image() -> None:
    assert oldest_version((ROOT / "pyproject.toml").read_text()) == (3, 11)
    assert image_version((ROOT / "Dockerfile").read_text()) >= (3, 13)
