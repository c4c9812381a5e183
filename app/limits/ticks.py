"""Time limits for answers of another program, measured in ticks of the event loop.

If many callers connect at once, one iteration of the event loop can take longer than the time limit of an answer. Then an
answer may have arrived that the loop has not read, and a limit in clock time would report a healthy program as dead. So the
time limit is divided into ticks: the loop reads its sockets between two ticks.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

TICKS: Final = 5

_Result = TypeVar("_Result")


async def within(seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine with a time limit. The time in which the event loop is busy with other work does not count.

    Raises:
        TimeoutError: the coroutine took longer.
    """
    task = asyncio.create_task(work)
    try:
        for _ in range(TICKS):
            done, _ = await asyncio.wait((task,), timeout=seconds / TICKS)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
