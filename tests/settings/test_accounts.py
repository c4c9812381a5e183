"""The account list in a file: used when it changes, kept while it is invalid, but not for ever."""

import os
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import UpstreamError
from app.core.reasons import Reason
from app.settings import accounts
from app.settings.accounts import FileAccounts
from app.settings.values import read_accounts_file
from app.telemetry.metrics import Metrics
from tests.support.exposition import read_samples, value

ONE, TWO = "111122223333", "444455556666"
FAILURES = "kuma_aws_iam_reload_failures_total"


def anything(_accounts: AbstractSet[str]) -> None:
    """Accept every list."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "accounts"
    path.write_text(f"# ours\n{ONE}\n")
    return path


class Now:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def open_list(
    path: Path, metrics: Metrics, check: Callable[[AbstractSet[str]], None] = anything, now: Now | None = None
) -> FileAccounts:
    return FileAccounts(read_accounts_file(str(path)), metrics, check, now or Now())


def test_a_changed_file_is_taken_over(path: Path) -> None:
    subject = open_list(path, Metrics())
    path.write_text(f"{ONE}\n{TWO}  # theirs\n")
    with capture_logs() as log:
        subject.watch.check()
    assert subject.current() == {ONE, TWO}
    assert log[0]["added"] == [TWO]


def test_a_removed_account_is_gone(path: Path) -> None:
    subject = open_list(path, Metrics())
    path.write_text(f"{TWO}\n")
    subject.watch.check()
    assert subject.current() == {TWO}


def test_a_file_that_is_put_in_the_place_of_another_is_taken_over(path: Path, tmp_path: Path) -> None:
    """Kubernetes, editors and atomic writers replace a file in this way."""
    subject = open_list(path, Metrics())
    subject.watch.check()
    other = tmp_path / "other"
    other.write_text(f"{TWO}\n")
    other.replace(path)
    subject.watch.check()
    assert subject.current() == {TWO}


@pytest.mark.parametrize("text", ["", "# nobody\n", "*\n", "11112222333\n", f"{ONE}\n\u0661\n"])
def test_a_bad_file_keeps_the_last_good_list_loudly(path: Path, text: str) -> None:
    metrics = Metrics()
    subject = open_list(path, metrics)
    subject.watch.check()
    path.write_text(text)
    with capture_logs() as log:
        subject.watch.check()
        subject.watch.check()
    assert subject.current() == {ONE}
    assert [entry["log_level"] for entry in log] == ["error"]
    assert value(read_samples(metrics.expose().decode()), FAILURES, what="accounts") == 2


def test_a_pipe_in_the_place_of_the_file_holds_up_nothing(path: Path) -> None:
    """Reading the pipe would wait for a writer that never comes."""
    subject = open_list(path, Metrics())
    path.unlink()
    os.mkfifo(path)
    subject.watch.check()
    assert subject.current() == {ONE}


def test_a_file_that_is_gone_keeps_the_last_good_list(path: Path) -> None:
    subject = open_list(path, Metrics())
    path.unlink()
    subject.watch.check()
    assert subject.current() == {ONE}


def test_a_list_that_does_not_fit_the_other_settings_is_a_bad_one(path: Path) -> None:
    def only_one(accounts: AbstractSet[str]) -> None:
        if accounts != {ONE}:
            raise ValueError("not in KMESH_AWSIAM_ACCOUNT_MESHES")

    subject = open_list(path, Metrics(), only_one)
    path.write_text(f"{ONE}\n{TWO}\n")
    subject.watch.check()
    assert subject.current() == {ONE}


def test_a_mended_file_is_taken_over(path: Path) -> None:
    subject = open_list(path, Metrics())
    path.write_text("rubbish\n")
    subject.watch.check()
    path.write_text(f"{TWO}\n")
    subject.watch.check()
    assert subject.current() == {TWO}


def test_after_an_hour_of_a_bad_file_nothing_is_decided(path: Path) -> None:
    now = Now()
    subject = open_list(path, Metrics(), now=now)
    subject.watch.check()
    path.write_text("rubbish\n")
    now.seconds = 50.0
    subject.watch.check()
    now.seconds = accounts.MAX_STALE_SECONDS
    assert subject.current() == {ONE}
    now.seconds += 0.5
    with pytest.raises(UpstreamError) as raised:
        subject.current()
    assert raised.value.reason is Reason.ACCOUNTS_UNAVAILABLE


def test_an_unchanged_good_file_is_good_for_ever_and_not_read_again(path: Path) -> None:
    now = Now()
    subject = open_list(path, Metrics(), now=now)
    for hour in range(5):
        now.seconds = hour * 3600.0
        subject.watch.check()
    assert subject.current() == {ONE}


def test_a_reload_on_demand_reads_the_file_whether_it_looks_changed_or_not(path: Path) -> None:
    seen: list[AbstractSet[str]] = []
    subject = open_list(path, Metrics(), seen.append)
    subject.watch.check()
    subject.watch.check()
    assert len(seen) == 1
    subject.watch.check(forced=True)
    assert len(seen) == 2
