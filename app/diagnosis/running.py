"""Run a coroutine to its end without waiting for threads that hang, for example in a DNS look-up."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

_Result = TypeVar("_Result")
# An idle thread of a closed executor ends at once. A thread that lives longer than this hangs.
_JOIN_SECONDS: Final = 0.5
_THREADS: Final = 32


def run_to_end(coroutine: Coroutine[Any, Any, _Result]) -> tuple[_Result, bool]:
    """Run a coroutine in an event loop of its own.

    ``asyncio.run`` would wait up to 300 s for the threads of the loop, and a normal exit waits for every thread.

    Returns:
        The result, and whether a thread of the coroutine hangs. Then the process must end with ``os._exit``.
    """
    before = set(threading.enumerate())
    loop = asyncio.new_event_loop()
    # DNS look-ups block a thread each. With fewer threads, the look-ups of many hosts would wait for each other.
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    try:
        result = loop.run_until_complete(coroutine)
        loop.run_until_complete(_cancel_others())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    return result, any(_hangs(thread) for thread in threading.enumerate() if thread not in before)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _hangs(thread: threading.Thread) -> bool:
    if not thread.daemon:
        thread.join(_JOIN_SECONDS)
    return thread.is_alive() and not thread.daemon
