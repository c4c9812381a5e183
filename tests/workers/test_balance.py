"""Which worker accepts: whoever has more than another one gives way."""

from pathlib import Path

import pytest

from app.workers.balance import MAX_AHEAD, Connections, Watched
from app.workers.folder import shared_folder


@pytest.fixture
def folder(tmp_path: Path) -> str:
    Connections.make(str(tmp_path), 3)
    return str(tmp_path)


def test_whoever_is_alone_is_never_ahead(folder: str) -> None:
    """The others have not looked for connections yet."""
    assert not Connections(folder, 1).is_ahead(1000)


def test_a_worker_is_ahead_of_the_one_that_has_least(folder: str) -> None:
    first, second, third = (Connections(folder, number) for number in (1, 2, 3))
    assert not first.is_ahead(MAX_AHEAD)
    assert not second.is_ahead(0)
    assert not third.is_ahead(MAX_AHEAD)
    assert third.is_ahead(MAX_AHEAD + 1)
    assert not second.is_ahead(2)
    assert not third.is_ahead(MAX_AHEAD + 1)


def test_the_more_there_are_the_less_a_difference_matters(folder: str) -> None:
    first, second = Connections(folder, 1), Connections(folder, 2)
    assert not first.is_ahead(800)
    assert not second.is_ahead(901)
    assert second.is_ahead(902)


def test_nobody_gives_way_to_one_that_has_ended(folder: str) -> None:
    first, second = Connections(folder, 1), Connections(folder, 2)
    assert not first.is_ahead(0)
    assert second.is_ahead(100)
    Connections(folder, 1).leave()
    assert not second.is_ahead(100)


def test_a_connection_that_is_lost_is_told_of(folder: str) -> None:
    first, second = Connections(folder, 1), Connections(folder, 2)
    standing = Watched(first.tell)
    for number in range(10):
        standing.add(number)
    assert not first.is_ahead(len(standing))
    assert not second.is_ahead(10)
    for number in range(10):
        standing.discard(number)
    assert second.is_ahead(10)


def test_a_folder_is_for_its_user_alone_and_goes() -> None:
    with shared_folder(2) as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert not Path(folder).exists()


def test_it_is_made_elsewhere_where_no_memory_can_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.workers.folder._MEMORY", str(tmp_path / "not-there"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with shared_folder(2) as folder:
        assert Path(folder).parent == tmp_path


def test_it_is_not_made_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match="no room"), shared_folder(10**12):
        pass
    assert list(tmp_path.iterdir()) == []
