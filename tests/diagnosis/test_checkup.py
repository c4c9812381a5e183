"""The checks run at the same time. Each ends with a finding, even if it hangs or raises an error."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from app.diagnosis.checkup import Check, perform
from app.diagnosis.finding import Finding, exit_status, failed, ok, skipped, warning, worst
from app.diagnosis.running import run_to_end
from app.settings.parsing import InvalidFieldError

Run = Callable[[], Awaitable[Sequence[Finding]]]


async def findings(*runs: Run, seconds: float = 60.0) -> list[Finding]:
    checks = [Check(name=f"check {number}", run=run, seconds=seconds) for number, run in enumerate(runs)]
    return [finding async for outcome in perform(checks) for finding in outcome.findings]


async def test_findings_come_in_the_order_of_the_checks_although_all_run_at_once() -> None:
    released = asyncio.Event()

    async def first() -> list[Finding]:
        await released.wait()
        return [ok("first", "")]

    async def second() -> list[Finding]:
        released.set()
        return [ok("second", "")]

    assert [finding.check for finding in await findings(first, second)] == ["first", "second"]


async def test_a_check_that_crashes_is_a_failed_row_with_its_place_and_without_its_text() -> None:
    async def crash() -> list[Finding]:
        raise KeyError("canary")

    async def good() -> list[Finding]:
        return [ok("good", "")]

    crashed, after = await findings(crash, good)
    assert (crashed.check, crashed.state, after.state) == ("check 0", "failed", "ok")
    assert "test_checkup.py:" in crashed.found
    assert "canary" not in str(crashed)
    assert "KeyError" not in str(crashed)


async def test_a_timeout_within_a_check_is_a_bug_of_it_too() -> None:
    async def crash() -> list[Finding]:
        raise TimeoutError

    [crashed] = await findings(crash)
    assert "bug" in crashed.found


async def test_a_check_that_does_not_end_is_cut_off() -> None:
    async def hang() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    [late] = await findings(hang, seconds=0.01)
    assert (late.state, late.found) == ("failed", "no result within 0 s")


async def test_a_check_of_an_invalid_setting_is_skipped_with_the_variable() -> None:
    async def read() -> list[Finding]:
        raise InvalidFieldError("store")

    [row] = await findings(read)
    assert (row.state, row.found) == ("skipped", "not checked: KMESH_AWSIAM_STORE is invalid")


def test_a_thread_that_hangs_is_told_and_holds_nothing_up() -> None:
    release = threading.Event()

    async def leave_a_thread() -> str:
        asyncio.get_running_loop().run_in_executor(None, release.wait)
        return "done"

    started = time.monotonic()
    try:
        assert run_to_end(leave_a_thread()) == ("done", True)
    finally:
        release.set()
    assert time.monotonic() - started < 60


def test_nothing_hangs_if_nothing_does() -> None:
    async def use_a_thread() -> int:
        return await asyncio.to_thread(int, "7")

    assert run_to_end(use_a_thread()) == (7, False)


@pytest.mark.parametrize(
    ("states", "status", "state"),
    [
        ([ok("a", ""), skipped("a", "")], 0, "ok"),
        ([ok("a", ""), warning("a", "")], 0, "warning"),
        ([warning("a", ""), failed("a", "")], 1, "failed"),
        (
            [failed("a", ""), Finding(check="a", state=failed("a", "").state, found="", is_of_settings=True)],
            2,
            "failed",
        ),
    ],
)
def test_the_exit_status_says_what_is_wrong(states: list[Finding], status: int, state: str) -> None:
    assert (exit_status(states), worst(states)) == (status, state)
