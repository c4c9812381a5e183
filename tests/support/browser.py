"""A real Chromium, which is the system's, driven by Playwright.

Whoever imports this is skipped where one of the two is missing. In CI that is a failure: the page would go untested in
silence.
"""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from typing import Final

import pytest

PROGRAMS: Final = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
)
PROGRAM: Final = next((path for path in map(shutil.which, PROGRAMS) if path is not None), None)

if PROGRAM is None or importlib.util.find_spec("playwright") is None:
    REMEDY = "there is no Chromium or no Playwright here; install them: sudo .ci/programs and make install-browser"
    if os.environ.get("CI"):
        pytest.fail(REMEDY, pytrace=False)
    pytest.skip(REMEDY, allow_module_level=True)

from playwright.async_api import Browser, async_playwright  # noqa: E402 - after the check that it is installed

# A name that resolves to loopback, as that of an attacker's site does after DNS rebinding.
REBOUND_HOST: Final = "attacker.example"


@contextlib.asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start the browser without a sandbox, since tests may run as root. It loads only pages of these tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=PROGRAM,
            args=[f"--host-resolver-rules=MAP {REBOUND_HOST} 127.0.0.1"],
        )
        try:
            yield browser
        finally:
            await browser.close()
