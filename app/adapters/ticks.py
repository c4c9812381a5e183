"""Time limits in ticks of the event loop, for what somebody else has to answer.

In a storm one turn of the event loop can take longer than an answer may. Then the answer has arrived and waits to be read,
and a deadline by the clock would take a live peer for dead. Between two ticks the loop has looked at its sockets.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

TICKS: Final = 5

_Result = TypeVar("_Result")


async def within(seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do some work in so many seconds, of which this event loop itself wastes none.

    Raises:
        TimeoutError: it took longer.
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
