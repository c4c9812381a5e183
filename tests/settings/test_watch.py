"""Files that are read again when they change; `check` is called here as the poll and SIGHUP call it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.settings.watch import FileWatch, watch_files
from app.telemetry.metrics import Metrics
from tests.support.exposition import read_samples, value
from tests.support.patience import PATIENCE


class Loaded:
    """The loaded content of a file: its text. The text ``bad`` is invalid."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        self.loads = 0
        self.metrics = Metrics()
        self.watch = FileWatch("caller_token", [path], self.load, self.metrics)

    def load(self) -> None:
        self.loads += 1
        text = self.path.read_text()
        if text == "bad":
            raise ValueError("it is bad")
        if text == "bug":
            raise RuntimeError("canary")
        self.text = text

    def failures(self) -> float:
        samples = read_samples(self.metrics.expose().decode())
        return value(samples, "kuma_aws_iam_reload_failures_total", what="caller_token")


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    path = tmp_path / "file"
    path.write_text("first")
    return Loaded(path)


def replace(path: Path, text: str) -> None:
    """Replace the file by another one, as most tools do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def link(path: Path, text: str) -> None:
    """Point the link at another file, as Kubernetes does."""
    target = path.with_suffix(f".{text}")
    target.write_text(text)
    path.unlink()
    path.symlink_to(target)


def test_it_is_read_at_the_first_occasion_and_then_not_until_it_changes(loaded: Loaded) -> None:
    """The file may have changed between reading the settings and the first check."""
    replace(loaded.path, "second")
    for _ in range(3):
        loaded.watch.check()
    assert (loaded.text, loaded.loads) == ("second", 1)


@pytest.mark.parametrize("change", [replace, rewrite, link])
def test_a_change_is_seen_however_it_is_made(loaded: Loaded, change: Callable[[Path, str], None]) -> None:
    loaded.watch.check()
    change(loaded.path, "changed")
    loaded.watch.check()
    assert (loaded.text, loaded.loads) == ("changed", 2)


def test_a_change_within_the_clocks_grain_and_of_the_same_size_is_seen(loaded: Loaded) -> None:
    before = loaded.path.stat()
    loaded.watch.check()
    replace(loaded.path, "other")
    os.utime(loaded.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    loaded.watch.check()
    assert loaded.text == "other"


def test_it_is_read_on_demand(loaded: Loaded) -> None:
    loaded.watch.check()
    loaded.watch.check(forced=True)
    assert loaded.loads == 2


def test_what_does_not_do_leaves_what_was_there_before(loaded: Loaded) -> None:
    loaded.watch.check()
    with capture_logs() as log:
        replace(loaded.path, "bad")
        loaded.watch.check()
    assert loaded.text == "first"
    assert loaded.failures() == 1
    [line] = log
    assert (line["log_level"], line["event"], line["what"]) == ("error", "not reloaded", "caller_token")
    assert line["problem"] == "it is bad"
    assert line["files"] == [str(loaded.path)]


def test_it_is_tried_again_until_it_does_and_told_once(loaded: Loaded) -> None:
    """The counter keeps increasing, so an alert on its rate lasts as long as the fault."""
    with capture_logs() as log:
        loaded.watch.check()
        replace(loaded.path, "bad")
        for _ in range(3):
            loaded.watch.check()
        replace(loaded.path, "second")
        loaded.watch.check()
        loaded.watch.check()
    assert loaded.failures() == 3
    assert [line["event"] for line in log] == ["not reloaded", "reloaded"]
    assert (loaded.text, loaded.loads) == ("second", 5)


def test_whoever_asks_for_it_is_told_each_time_that_it_does_not_do(loaded: Loaded) -> None:
    """An operator who sends SIGHUP and sees no line would assume that the file is in use."""
    with capture_logs() as log:
        replace(loaded.path, "bad")
        loaded.watch.check()
        loaded.watch.check(forced=True)
        loaded.watch.check()
        loaded.watch.check(forced=True)
    assert [line["event"] for line in log] == ["not reloaded"] * 3


def test_a_file_that_is_gone_is_no_change_to_nothing(loaded: Loaded) -> None:
    loaded.watch.check()
    loaded.path.unlink()
    loaded.watch.check()
    assert (loaded.text, loaded.failures()) == ("first", 1)
    loaded.path.write_text("again")
    loaded.watch.check()
    assert loaded.text == "again"


def test_a_bug_does_not_end_the_watch_and_its_text_is_not_logged(loaded: Loaded) -> None:
    loaded.watch.check()
    with capture_logs() as log:
        replace(loaded.path, "bug")
        loaded.watch.check()
    assert log[0]["problem"] == "a bug of ours: RuntimeError"
    assert "canary" not in str(log)


async def test_the_poll_checks_every_file_again_and_again(tmp_path: Path) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loads: list[str] = []

    def watch_of(name: str) -> FileWatch:
        def load() -> None:
            loads.append(name)
            if loads.count("b") == 2:
                loop.call_soon_threadsafe(ended.set)
            raise ValueError("try again")

        return FileWatch("tls", [tmp_path / name], load, Metrics())

    polling = asyncio.create_task(watch_files([watch_of("a"), watch_of("b")], interval=0))
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert loads[:4] == ["a", "b", "a", "b"]


def test_files_that_nobody_could_look_at_for_a_minute_count_as_bad(tmp_path: Path) -> None:
    """A hanging file system blocks the check, and the earlier content must not stay in use for ever."""
    seconds = [0.0]
    path = tmp_path / "file"
    path.write_text("x")
    watch = FileWatch("accounts", [path], lambda: None, Metrics(), timer=lambda: seconds[0])
    watch.check()
    seconds[0] = 59.9
    assert watch.bad_for() == 0
    seconds[0] = 60.0
    assert watch.bad_for() == 60.0
    watch.check()
    assert watch.bad_for() == 0


def test_the_state_of_a_watch_is_what_its_last_check_found(loaded: Loaded) -> None:
    assert loaded.watch.state().changed_at is None
    loaded.watch.check()
    state = loaded.watch.state()
    assert (state.what, state.paths, state.bad_for) == ("caller_token", (str(loaded.path),), 0.0)
    assert state.changed_at == pytest.approx(loaded.path.stat().st_mtime)
    replace(loaded.path, "bad")
    loaded.watch.check()
    assert loaded.watch.state().bad_for > 0
    loaded.path.unlink()
    loaded.watch.check()
    assert loaded.watch.state().changed_at is None
