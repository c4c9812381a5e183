"""Time limits for answers of a peer, measured in ticks of the event loop.

In a storm one turn of the event loop can take longer than the time limit of an answer. Then an answer may have arrived
without being read, and a limit in clock time would report a live peer as dead. The loop polls its sockets between two ticks.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

TICKS: Final = 5

_Result = TypeVar("_Result")


async def within(seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine within a number of seconds. Time in which this event loop itself is busy does not count.

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
