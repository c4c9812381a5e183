"""The decisions that wait for each endpoint. If the endpoint does not answer, they are refused a few at a time."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Any, Final

from app.calls.outcomes import Settled
from app.calls.upstream import Asker, Pending, tell

# The least number of decisions that are refused in one iteration of the event loop.
TOLD_AT_ONCE: Final = 2
# The processor time of one refusal. If many callers connect at once, one iteration of the event loop can take a second. The
# refusals may then take half as long as the previous iteration.
_ANSWER_SECONDS: Final = 0.0003  # no bound: an estimate of the half of a turn that the row of `TOLD_AT_ONCE` names


class WaitingDecisions:
    """The decisions that wait for the calls to one upstream, by the endpoint of the call."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, dict[Asker, Pending[Any, Any]]] = {}
        self._to_tell: deque[tuple[Asker, Pending[Any, Any], Settled[Any]]] = deque()

    def add(self, asker: Asker, pending: Pending[Any, Any]) -> None:
        """Record that a decision waits for a call."""
        self._waiting.setdefault(pending.circuit, {})[asker] = pending

    def remove(self, asker: Asker, pending: Pending[Any, Any]) -> None:
        """Remove a decision that does not wait any more."""
        waiting = self._waiting[pending.circuit]
        del waiting[asker]
        if not waiting:
            del self._waiting[pending.circuit]

    def tell_of(self, circuit: Hashable, dead: Settled[Any]) -> None:
        """Give ``dead`` to all decisions that wait for this endpoint, except decisions whose call is in flight."""
        is_telling = bool(self._to_tell)
        waiting = self._waiting.get(circuit, {})
        self._to_tell.extend((asker, pending, dead) for asker, pending in waiting.items() if pending.began is None)
        if not is_telling:
            self._tell_some(asyncio.get_running_loop().time())

    def _tell_some(self, last: float) -> None:
        """Refuse some decisions in each iteration of the event loop, so that other callers are answered in between.

        Args:
            last: the time of the previous refusals, in seconds of the event loop's clock.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        count = max(TOLD_AT_ONCE, int((now - last) / 2 / _ANSWER_SECONDS))
        for _ in range(min(count, len(self._to_tell))):
            asker, pending, dead = self._to_tell.popleft()
            if pending.began is None:  # otherwise the call has gone out, and its answer will come
                tell(asker, dead)
        if self._to_tell:
            loop.call_soon(self._tell_some, now)
