"""Run checks at the same time. Each has a time limit, and a check that crashes is a failed finding, not a traceback."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app import __version__
from app.diagnosis.finding import Finding, failed, skipped
from app.settings.environment import Settings
from app.settings.parsing import InvalidFieldError, variable_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: the name in the table if the check itself gives no finding.
        run: makes the check.
        seconds: the time limit.
    """

    name: str
    run: Callable[[], Awaitable[Sequence[Finding]]]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The findings of one check.

    Attributes:
        findings: its rows, in order.
    """

    findings: tuple[Finding, ...]


async def perform(checks: Sequence[Check]) -> AsyncIterator[Outcome]:
    """Start all checks together, and yield their outcomes in the order of the list, each as soon as it is known."""
    tasks = [asyncio.create_task(_perform(check)) for check in checks]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _perform(check: Check) -> Outcome:
    limit = asyncio.timeout(check.seconds)
    try:
        async with limit:
            findings = tuple(await check.run())
    except InvalidFieldError as error:
        return Outcome(findings=(skipped(check.name, f"not checked: {variable_of(Settings, str(error))} is invalid"),))
    except TimeoutError as error:
        if not limit.expired():
            return Outcome(findings=(_crashed(check.name, error),))
        found = f"no result within {check.seconds:.0f} s"
        remedy = "look at DNS and at the network path: the check waits for an answer that does not come"
        return Outcome(findings=(failed(check.name, found, remedy),))
    except Exception as error:  # noqa: BLE001 - a bug in one check must not hide what the others found
        return Outcome(findings=(_crashed(check.name, error),))
    return Outcome(findings=findings)


def _crashed(name: str, error: Exception) -> Finding:
    """Name the place of a bug. The error's text is left out, because it can contain a secret (I22)."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    found = f"the check itself failed, by a bug at {Path(frame.filename).name}:{frame.lineno}"
    return failed(name, found, f"report it with this place and the version, {__version__}; the other rows still count")
