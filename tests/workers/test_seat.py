"""What a worker is told by its parent."""

import base64
from pathlib import Path

import pytest

from app.service_options import own_share
from app.workers.seat import Seat, take_seat
from app.workers.supervisor import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, _pause_after
from tests.conftest import LoadSettings
from tests.support.world import NEW_GENERATION

SEAT = Seat(number=2, lifeline=7, api=8, diagnostics=None, folder="/dev/shm/kuma-aws-iam-x")  # noqa: S108 - a name


@pytest.mark.parametrize("diagnostics", [None, 9])
def test_a_seat_is_taken_as_it_was_given(monkeypatch: pytest.MonkeyPatch, diagnostics: int | None) -> None:
    seat = Seat(number=2, lifeline=7, api=8, diagnostics=diagnostics, folder=SEAT.folder)
    environment = seat.environment()
    assert environment["PROMETHEUS_MULTIPROC_DIR"] == SEAT.folder
    monkeypatch.setenv("_KUMA_AWS_IAM_SEAT", environment["_KUMA_AWS_IAM_SEAT"])
    assert take_seat() == seat
    assert take_seat() is None  # what the worker starts is none


def test_a_process_that_nobody_gave_a_seat_has_none() -> None:
    assert take_seat() is None


@pytest.mark.parametrize("text", ["", "1", "{}", '{"number": 1}'])
def test_a_seat_that_cannot_be_read_ends_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Taken for none, the process would start workers of its own, and they theirs."""
    monkeypatch.setenv("_KUMA_AWS_IAM_SEAT", text)
    with pytest.raises((ValueError, TypeError)):
        take_seat()


def test_a_seat_hands_over_what_there_is() -> None:
    assert SEAT.descriptors == (7, 8)
    assert Seat(number=1, lifeline=7, api=8, diagnostics=9, folder="x").descriptors == (7, 8, 9)


def test_pauses_grow_up_to_a_bound() -> None:
    assert [_pause_after(early) for early in range(4)] == [
        0,
        FIRST_PAUSE_SECONDS,
        2 * FIRST_PAUSE_SECONDS,
        4 * FIRST_PAUSE_SECONDS,
    ]
    assert _pause_after(1_000_000) == LAST_PAUSE_SECONDS


@pytest.mark.parametrize(("workers", "share"), [("1", 1.0), ("4", 0.25)])
def test_workers_that_share_nothing_share_a_budget(settings_of: LoadSettings, workers: str, share: float) -> None:
    assert own_share(settings_of(**NEW_GENERATION, KMESH_AWSIAM_WORKERS=workers)) == share


def test_a_store_has_them_share_the_whole(settings_of: LoadSettings, tmp_path: Path) -> None:
    keys = tmp_path / "store-keys"
    keys.write_text(base64.b64encode(bytes(range(32))).decode())
    settings = settings_of(
        **NEW_GENERATION,
        KMESH_AWSIAM_WORKERS="4",
        KMESH_AWSIAM_STORE="redis://127.0.0.1:6379",
        KMESH_AWSIAM_STORE_KEY_FILE=str(keys),
    )
    assert own_share(settings) == 1.0
