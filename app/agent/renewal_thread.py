"""The thread in which renewals happen, and what it waits for between them."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from app.agent.errors import EXIT_STATUSES, Failure
from app.agent.renewal import Finished, Renewals
from app.core.request_policy import MAX_FUTURE_SKEW

# A clock that was set, or a machine that slept, is noticed after this at the latest.
LOOK_AGAIN_SECONDS: Final = 30.0


class RenewalThread(threading.Thread):
    """Renews until it is told to stop, and tells whenever something changed.

    Signals and the proxy's process are the main thread's; a renewal that waits for the network holds up neither.

    Args:
        monotonic: seconds that nobody can set back, unlike the clock of the renewals.
        look_again_seconds: after which a clock that was set is noticed at the latest.
    """

    def __init__(
        self,
        renewals: Renewals,
        on_change: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
    ) -> None:
        super().__init__(name="renewal", daemon=True)
        self.renewals = renewals
        self.finished: Finished | None = None
        self.is_busy = threading.Lock()
        self._on_change = on_change
        self._monotonic = monotonic
        self._look_again_seconds = look_again_seconds
        self._now = threading.Event()
        self._stopped = False

    def renew_now(self) -> None:
        """Do not wait for the next one to be due."""
        self._now.set()

    def stop(self) -> None:
        """Begin no renewal any more."""
        self._stopped = True
        self._now.set()

    def run(self) -> None:
        """Renew, and wait until the next one is due."""
        try:
            self.finished = self._renew_until_finished()
        except BaseException:
            # Nobody would renew any more, and nobody notice.
            self.finished = Finished(EXIT_STATUSES[Failure.UNDECIDED])
            raise
        finally:
            self._on_change()

    def _renew_until_finished(self) -> Finished | None:
        while not self._stopped:
            self._now.clear()
            with self.is_busy:
                outcome = self.renewals.step()
            if isinstance(outcome, Finished):
                return outcome
            self._on_change()
            self._wait_until(outcome.at)
        return None

    def _wait_until(self, due: datetime) -> None:
        """Wait for that moment, and never longer than it is away now.

        A clock that is set back over the skew that is allowed ends the wait: the credential is dated ahead now, and refused.
        """
        latest = self._monotonic() + self._left(due)
        while not self._now.is_set():
            by_clock, at_most = self._left(due), latest - self._monotonic()
            if min(by_clock, at_most) <= 0 or by_clock - at_most > MAX_FUTURE_SKEW.total_seconds():
                return
            self._now.wait(min(by_clock, at_most, self._look_again_seconds))

    def _left(self, due: datetime) -> float:
        return (due - self.renewals.clock()).total_seconds()
