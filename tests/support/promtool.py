"""Prometheus's own program, which checks rules and runs their unit tests."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

_REMEDY: Final = "there is no promtool here; install it: sudo .ci/programs"
_SECONDS: Final = 240


def run_promtool(*arguments: str | Path) -> None:
    """Run it. If it fails, its output is the message. In CI a missing program is a failure too."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(_REMEDY)
        pytest.skip(_REMEDY)
    done = subprocess.run(  # noqa: S603 - what a test names
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
