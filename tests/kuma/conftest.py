"""The folder of a module's programs, which stays if a test fails. Nothing here needs a Kuma."""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

_FAILED: Final = "a-test-failed"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A new folder for the logs and files of one module's programs; its path is short, since sockets are in it."""
    path = Path(tempfile.mkdtemp(prefix="kuma-test-"))
    yield path
    if not (path / _FAILED).exists():
        shutil.rmtree(path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the hook's
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the logs of a failed test, and name their folder in the report."""
    report = yield
    path = getattr(item, "funcargs", {}).get("folder")
    if report.failed and path is not None:
        (path / _FAILED).touch()
        report.sections.append(("logs of all programs", str(path)))
    return report
