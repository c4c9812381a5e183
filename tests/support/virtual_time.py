"""An event loop whose clock advances only while it waits: hours of timers run in milliseconds, in a fixed order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _NoWait(selectors.BaseSelector):
    """A selector that returns at once what is ready, and adds the time that it would have waited to a clock."""

    def __init__(self) -> None:
        self.real = selectors.DefaultSelector()
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self.real.get_map()

    def close(self) -> None:
        self.real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing can happen any more: every task waits for another one")
        self.now += max(0.0, timeout)
        return self.real.select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, for work without sockets."""

    def __init__(self) -> None:
        self._virtual = _NoWait()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def work(self, seconds: float) -> None:
        """Advance the clock as if a callback had taken this time."""
        self._virtual.now += seconds


def run_in_virtual_time(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end on such a loop."""
    with asyncio.Runner(debug=False, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
