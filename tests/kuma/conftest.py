"""The folder of a module's programs, which stays if a test fails, and the record of a run. Nothing here needs a Kuma."""

import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

_FAILED: Final = "a-test-failed"
_RECORD: Final = Path(__file__).parents[2] / "docs/explanation/kuma-runs.json"
_WHOLE: Final = "KUMA_RECORD"


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write how many tests of each module passed, were skipped or failed, if ``KUMA_RECORD`` names the version."""
    version = os.environ.get(_WHOLE)
    if not version:
        return
    counts: dict[str, dict[str, int]] = {}
    for outcome, category in (("passed", "passed"), ("skipped", "skipped"), ("failed", "failed"), ("error", "failed")):
        for report in terminalreporter.stats.get(outcome, ()):
            module = counts.setdefault(Path(report.nodeid.partition("::")[0]).stem, {})
            module[category] = module.get(category, 0) + 1
    record = json.loads(_RECORD.read_text("utf-8")) if _RECORD.exists() else {}
    record[version] = dict(sorted(counts.items()))
    _RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")
