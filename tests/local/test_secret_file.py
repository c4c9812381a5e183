"""A secret's file is replaced as a whole, also in a folder that the process may not read."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import run_program

_NOBODY: Final = 65534
# Root may read every folder, so the process changes to another user after it has read the code.
_WRITE_TWICE: Final = f"""
import codecs, os, sys
from pathlib import Path
from app.local.secret_file import write_secret_file
codecs.lookup("ascii")
if os.geteuid() == 0:
    os.seteuid({_NOBODY})
for text in ("old", "new"):
    write_secret_file(Path(sys.argv[1]), text)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that may be written but not read. It is not below pytest's folder, which only its user can enter."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        folder.chmod(0o300)
        yield folder
        folder.chmod(0o700)


def test_a_folder_that_cannot_be_read_makes_no_failure_of_a_good_write(folder: Path) -> None:
    path = folder / "token"
    done = run_program(sys.executable, "-c", _WRITE_TWICE, str(path))
    assert (done.status, done.err) == (0, "")
    assert path.read_text() == "new"
