"""Time limits in ticks of the event loop, for answers of a peer.

In a storm one turn of the event loop can take longer than the time limit of an answer. Then the answer has arrived and is
not read yet, and a limit by the clock would report a live peer as dead. Between two ticks the loop polls its sockets.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

TICKS: Final = 5

_Result = TypeVar("_Result")


async def within(seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run some work within a number of seconds, not counting time in which this event loop itself is busy.

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
