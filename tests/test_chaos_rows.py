"""``make chaos``: each fault, run against the real service and an emulated AWS, has the promised result.

Rows of one lane share a service, one after the other, so each lane is a class, which one process of pytest-xdist runs. Lanes
run beside each other, since most of a fault is waiting.
"""

import resource
from collections.abc import Iterator
from typing import ClassVar

import pytest

from chaos.row import Row, judge
from chaos.stage import Stage
from chaos.table import Lane, lanes

pytestmark = pytest.mark.chaos
_OPEN_FILES = 8192


@pytest.fixture(scope="session", autouse=True)
def _open_files() -> None:
    """Allow as many connections as the storms make."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rows = metafunc.cls.lane.rows
    metafunc.parametrize("row", rows, ids=[row.fault.replace(" ", "-") for row in rows])


@pytest.fixture(scope="class")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage of a lane of `make chaos`, a list of faults that share one service."""
    with request.cls.lane.open() as built:
        yield built


class Rows:
    lane: ClassVar[Lane]

    def test_a_fault_is_seen_as_promised(self, stage: Stage, row: Row) -> None:
        print(f"promised: {row.promise}")  # noqa: T201 - pytest shows it below the row
        try:
            seen = row.play(stage, row.promise)
        finally:
            stage.recover()
        recovered = "" if seen.recovered is None else f", recovered in {seen.recovered:.1f} s"
        print(f"observed: {seen.summary()}, the slowest in {seen.slowest:.2f} s{recovered}")  # noqa: T201
        assert judge(row.promise, seen) == []


# The longest lanes first, so that none of them is left alone at the end.
for _number, _lane in enumerate(sorted(lanes(), key=lambda lane: -lane.seconds)):
    globals()[f"TestLane{_number}"] = type(f"TestLane{_number}", (Rows,), {"lane": _lane})
