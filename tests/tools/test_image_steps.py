"""``tools/image_steps.py`` finds what must not be in the image. ``make image-steps`` runs all of it."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app import __version__
from tools import image_steps
from tools.image_replay import Clock, Image, StepsError
from tools.image_steps import (
    Closed,
    check_files,
    check_packages,
    check_programs,
    make_read_only,
    remove,
    snapshot,
    wait_for_end,
    wait_for_health,
    wait_for_line,
    watch,
)
from tools.lock_file import Pin

SITE = "opt/env/lib/python3.11/site-packages"


def write(path: Path, text: str = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def install(image: Image, name: str, version: str) -> None:
    write(image.root / SITE / f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """Return a small image without faults."""
    made = Image(tmp_path / "root", {"PATH": "/opt/env/bin:/usr/bin"}, entrypoint=["kuma-aws-iam"], user="65532:65532")
    write(made.root / "opt/env/bin/kuma-aws-iam", f"#!{made.root}/opt/env/bin/python\n", 0o755)
    write(made.root / "usr/bin/cat", mode=0o755)
    module = write(made.root / SITE / "app/a.py", "a = 1\n")
    write(Path(importlib.util.cache_from_source(str(module))))
    install(made, "kuma-aws-iam", __version__)
    install(made, "Some.Dependency", "1.0")
    monkeypatch.setattr(image_steps, "pins_of", lambda _: [Pin("some-dependency", "1.0", ("aa",), None)])
    return made


CHECKS: list[Callable[[Image], str]] = [check_packages, check_files, check_programs]


def complaints(image: Image) -> list[str]:
    found = []
    for check in CHECKS:
        try:
            check(image)
        except StepsError as error:
            found.append(str(error))
    return found


def test_the_small_image_is_fine(image: Image) -> None:
    assert complaints(image) == []


@pytest.mark.parametrize("name", ["pip", "setuptools", "wheel"])
def test_what_installs_is_found_in_the_environment(image: Image, name: str) -> None:
    install(image, name, "1")
    assert complaints(image) == [f"in the environment and of no use there: {name}"]


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        (Pin("some-dependency", "1.1", ("aa",), None), "('some-dependency', '1.0'), ('some-dependency', '1.1')"),
        (Pin("another", "1", ("aa",), None), "('another', '1'), ('some-dependency', '1.0')"),
    ],
)
def test_what_is_installed_and_not_locked_is_found(
    image: Image, monkeypatch: pytest.MonkeyPatch, pin: Pin, words: str
) -> None:
    monkeypatch.setattr(image_steps, "pins_of", lambda _: [pin])
    assert complaints(image) == [f"installed and locked differ: [{words}]"]


@pytest.mark.parametrize(
    ("path", "mode", "words"),
    [
        ("etc/open", 0o666, "writable by anybody"),
        ("usr/bin/su", 0o4755, "changes the user"),
        ("usr/bin/wall", 0o2755, "changes the user"),
        (f"{SITE}/app/late.py", 0o644, "without bytecode"),
    ],
)
def test_a_file_that_must_not_be_there_is_found(image: Image, path: str, mode: int, words: str) -> None:
    write(image.root / path, mode=mode)
    (said,) = complaints(image)
    assert said.startswith(words)
    assert said.endswith(path)


def test_a_folder_that_anybody_may_write_to_is_found(image: Image) -> None:
    (image.root / "shared").mkdir()
    (image.root / "shared").chmod(0o1777)
    assert complaints(image) == [f"writable by anybody: {image.root}/shared"]


@pytest.mark.parametrize("name", ["sh", "bash", "dash", "rbash", "perl", "apt", "apt-get", "dpkg", "pip"])
def test_a_shell_or_an_installer_is_found(image: Image, name: str) -> None:
    path = write(image.root / "usr/bin" / name, mode=0o755)
    assert complaints(image) == [f"still there: {path}"]


@pytest.mark.parametrize("name", ["pip", "ensurepip"])
def test_a_module_that_installs_is_found(image: Image, name: str) -> None:
    write(image.root / "usr/local/lib/python3.11" / name / "data.txt")
    assert complaints(image) == [f"still there: {image.root}/usr/local/lib/python3.11/{name}"]


@pytest.mark.parametrize("first", ["#!/bin/sh", "#!/usr/bin/env python3"])
def test_a_script_that_another_program_starts_is_found(image: Image, first: str) -> None:
    write(image.root / "opt/env/bin/other", f"{first}\n", 0o755)
    (said,) = complaints(image)
    assert said.startswith("not started by the environment's own Python")


def test_a_missing_entry_point_is_found(image: Image) -> None:
    image.entrypoint = ["other"]
    with pytest.raises(StepsError, match="the entry point other is not in PATH"):
        check_packages(image)


def test_read_only_is_read_only_and_can_be_removed(image: Image, tmp_path: Path) -> None:
    make_read_only(image.root)
    assert not [path for path in (image.root, *image.root.rglob("*")) if path.stat().st_mode & 0o222]
    remove(tmp_path)
    assert not tmp_path.exists()


def test_whatever_is_written_shows(image: Image) -> None:
    before = snapshot(image.root)
    assert snapshot(image.root) == before
    place = image.root / SITE / "app"
    write(place / "b.pyc")
    assert {path for path, _ in before.items() ^ snapshot(image.root).items()} == {place, place / "b.pyc"}


# ---- processes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(tmp_path: Path) -> Closed:
    """With a shell, and as this user, because another user may not read pytest's folders."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cat", "sleep", "touch", "env"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    return Closed(Image(tmp_path, {"PATH": "/bin"}, user=f"{os.geteuid()}:{os.getegid()}"), Clock(30))


def test_a_command_can_make_a_file_but_put_nothing_into_it(closed: Closed, tmp_path: Path) -> None:
    closed.run(["touch", "file"], {})
    with pytest.raises(StepsError, match=f"ended with -{int(signal.SIGXFSZ)}"):
        closed.run(["sh", "-c", "echo text > file"], {})
    assert (tmp_path / "file").read_bytes() == b""


def test_a_command_sees_the_variables_of_the_image_and_no_others(
    closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    names = {line.partition("=")[0] for line in closed.run(["env"], {"SET": "1"}).splitlines()}
    assert names == {"HOME", "LD_LIBRARY_PATH", "PATH", "SET"}


def test_a_process_without_privileges_that_starts_nothing_is_fine(closed: Closed) -> None:
    with closed.running(["sh", "-c", "echo up && read x <&1"], {}) as process:
        wait_for_line(process, "up")
        assert watch(process.pid).startswith("no privilege, no program started, 1 threads")


def test_a_process_that_starts_another_program_is_found(closed: Closed) -> None:
    with closed.running(["sh", "-c", "cat </dev/null; echo up; read x <&1"], {}) as process:
        wait_for_line(process, "up")
        with pytest.raises(StepsError, match="started another program"):
            watch(process.pid)


def test_a_process_that_may_gain_privileges_is_found() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            with pytest.raises(StepsError, match="holds a privilege"):
                watch(process.pid)
        finally:
            process.kill()


def test_an_end_with_an_error_is_told_with_what_was_printed(closed: Closed) -> None:
    with (
        closed.running(["sh", "-c", "echo why; exit 3"], {}) as process,
        pytest.raises(StepsError, match=r"(?s)SIGTERM ended it with 3:\nwhy"),
    ):
        wait_for_end(process, "SIGTERM")


def test_a_process_that_does_not_end_is_found(closed: Closed) -> None:
    with (
        closed.running(["sleep", "60"], {}) as process,
        pytest.raises(StepsError, match="SIGTERM did not end it"),
    ):
        wait_for_end(process, "SIGTERM", 0.1)


@pytest.mark.parametrize("command", ["echo other; exit 1", "echo other; sleep 60"])
def test_a_line_that_never_comes_is_told_with_what_came(closed: Closed, command: str) -> None:
    with (
        closed.running(["sh", "-c", command], {}) as process,
        pytest.raises(StepsError, match="never said 'up', but: other"),
    ):
        wait_for_line(process, "up", 0.3)


def test_a_service_is_asked_until_it_is_healthy(closed: Closed) -> None:
    answers: list[str | StepsError] = [StepsError("not yet"), StepsError("not yet"), "healthy"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, StepsError):
            raise answer
        return answer

    with closed.running(["sleep", "60"], {}) as process:
        assert wait_for_health(ask, process) == "healthy"


def test_a_service_that_ends_at_its_start_is_told_with_what_it_said(closed: Closed) -> None:
    def ask() -> str:
        raise StepsError("refused")

    with closed.running(["sh", "-c", "echo why; exit 1"], {}) as process:
        process.wait()
        with pytest.raises(StepsError, match=r"(?s)not healthy: refused\n.*why"):
            wait_for_health(ask, process)
