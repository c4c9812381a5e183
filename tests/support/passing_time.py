"""A time limit that ends when the test says so, and before that on no machine."""

import asyncio
from typing import Final, TypeVar

from tests.support.patience import PATIENCE

LONG: Final = 10 * PATIENCE
"""Seconds; no machine is so slow that such a limit ends by itself during a test."""

_Result = TypeVar("_Result")


def let_pass(seconds: float) -> None:
    """Move the clock of the running event loop forward: the timers of this time end in its next turn.

    The loop must be the test's own, and Python's own (uvloop has a clock that cannot be moved).
    """
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


async def after_its_time(task: asyncio.Task[_Result]) -> _Result:
    """Let time pass second by second until a task ends, as `let_pass` does, and return the result of the task.

    The task must already wait for the event that does not happen: what else it waits for takes no less time than before.
    """
    loop = asyncio.get_running_loop()
    clock, passed = loop.time, 0.0
    loop.time = lambda: clock() + passed  # type: ignore[method-assign]
    while not task.done():
        passed += 1.0
        await asyncio.sleep(0)
    return await task
