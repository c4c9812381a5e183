"""The page about calling the service from a control plane shows exactly the files to copy."""

import re
from typing import Final

import pytest

from tests.support.process import ROOT

PAGE: Final = (ROOT / "docs" / "how-to" / "call-from-a-control-plane.md").read_text(encoding="utf-8")
FOLDER: Final = ROOT / "integrations" / "go" / "kuma"
FILES: Final = ("control-plane-3.0.go.txt", "control-plane.go.txt", "kuma-dp.go.txt")


def test_there_are_files_to_copy() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_the_file_as_it_is(name: str) -> None:
    shown = re.findall(r"^```go\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert (FOLDER / name).read_text(encoding="utf-8") in shown


def test_the_lines_that_older_versions_remove_are_marked() -> None:
    """The lines that the table tells the reader to remove exist, and the remaining blocks are complete."""
    lines = (FOLDER / "control-plane.go.txt").read_text(encoding="utf-8").splitlines()
    for version in ("2.6", "2.14"):
        marked = [line for line in lines if line.endswith(f"// since {version}")]
        assert marked
        assert sum(line.count("{") - line.count("}") for line in marked) == 0
        assert f"`since {version}`" in PAGE
