"""A bulkhead for each host of STS: one that does not answer gets few calls, and takes no connection from other hosts.

A partition of AWS has more than a hundred hosts of STS, and the credential names the host to call. If most of them cannot
be reached, each call to such a host occupies a connection until its deadline. So a host first has to answer one of a few
probe calls. From that answer on, until a call to the host fails, further calls may go to it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from app.adapters.ticks import TICKS
from app.errors import OutOfTimeError, UpstreamError
from app.reasons import Reason

# Calls at once to a host that has not answered yet, or whose last call failed. Two: one lost packet must not block a host.
PROBES_AT_ONCE: Final = 2
# How long further calls wait for a probe's answer: the time of two attempts to connect to an unreachable host.
PROBE_SECONDS: Final = 2.0


@dataclass(slots=True)
class _Host:
    """What is known about one host.

    Attributes:
        answers: whether the last call that ended was answered, whatever the answer was.
        is_silent: whether its probe calls have been without an answer for `PROBE_SECONDS`.
        under_way: calls to it at this moment.
        clock: the timer that sets ``is_silent``, in ticks of the event loop (`app.adapters.ticks`).
        changed: set when another attribute changes, and then replaced by a new event.
    """

    answers: bool = False
    is_silent: bool = False
    under_way: int = 0
    clock: asyncio.TimerHandle | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_full(self) -> bool:
        """Whether no further call to this host may begin."""
        return not self.answers and self.under_way >= PROBES_AT_ONCE

    def notify(self) -> None:
        """Wake up the calls that wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def start_clock(self, ticks: int = TICKS) -> None:
        """Start the timer that marks the host as silent after `PROBE_SECONDS`."""
        loop = asyncio.get_running_loop()
        self.clock = loop.call_later(PROBE_SECONDS / TICKS, self._tick, ticks - 1)

    def stop_clock(self) -> None:
        """Forget that the host was silent."""
        self.is_silent = False
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None

    def _tick(self, ticks: int) -> None:
        if ticks:
            self.start_clock(ticks)
        else:
            self.is_silent = True
            self.notify()


class HostBulkhead:
    """Counts the calls to each host. The hosts are those of the endpoint table, so their number is bounded."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def answers(self, host: str) -> bool:
        """Whether the last call to this host that ended was answered."""
        state = self._hosts.get(host)
        return state is not None and state.answers

    async def wait(self, host: str, deadline: float) -> None:
        """Wait until a call to this host may begin: it answers, or there are fewer than `PROBES_AT_ONCE` calls to it.

        Raises:
            UpstreamError: ``sts_unavailable``: the probe calls have been without an answer for `PROBE_SECONDS`.
            OutOfTimeError: the deadline came first.
        """
        while (state := self._hosts.get(host)) is not None and state.is_full:
            if state.is_silent:
                raise UpstreamError(Reason.STS_UNAVAILABLE, "this host of STS does not answer the calls under way")
            try:
                async with asyncio.timeout_at(deadline):
                    await state.changed.wait()
            except TimeoutError:
                detail = "this host of STS did not answer before the deadline"
                raise OutOfTimeError(Reason.STS_UNAVAILABLE, detail) from None

    def begin(self, host: str) -> bool:
        """Count a call that is about to go out; return False if it must `wait` instead."""
        state = self._hosts.setdefault(host, _Host())
        if state.is_full:
            return False
        if not state.answers and state.clock is None:
            state.start_clock()
        state.under_way += 1
        return True

    def end(self, host: str, *, answered: bool | None) -> None:
        """Count the end of a call. ``answered`` is None if the end tells nothing about the host."""
        state = self._hosts[host]
        state.under_way -= 1
        if answered is not None:
            state.answers = answered
        if state.answers or not state.under_way:
            state.stop_clock()
        elif state.clock is None:
            state.start_clock()
        state.notify()
