"""The thread that makes the renewals, and waits between them."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from app.agent.errors import EXIT_STATUSES, Failure
from app.agent.renewal import Finished, Renewals
from app.core.request_policy import MAX_FUTURE_SKEW

# The longest time until the thread notices that the clock was set, or that the machine slept.
LOOK_AGAIN_SECONDS: Final = 30.0


class RenewalThread(threading.Thread):
    """Renews until `stop` is called, and calls ``on_change`` after each renewal and at the end.

    The main thread handles signals and the proxy's process, so a renewal that waits for the network delays neither.

    Args:
        monotonic: returns the seconds of a monotonic clock. The renewals use the date and time, which can be set back.
        look_again_seconds: the longest time until the thread notices that the clock was set.
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
        """Renew now, without waiting until a renewal is due."""
        self._now.set()

    def stop(self) -> None:
        """Start no further renewal."""
        self._stopped = True
        self._now.set()

    def run(self) -> None:
        """Renew, and wait until the next one is due."""
        try:
            self.finished = self._renew_until_finished()
        except BaseException:
            # Otherwise renewals would stop without notice.
            self.finished = Finished(EXIT_STATUSES[Failure.UNDECIDED])
            raise
        finally:
            self._on_change()

    def _renew_until_finished(self) -> Finished | None:
        while True:
            self._now.clear()
            if self._stopped:  # read after the reset, which would otherwise undo the wake-up of `stop`
                return None
            with self.is_busy:
                outcome = self.renewals.step()
            if isinstance(outcome, Finished):
                return outcome
            self._on_change()
            self._wait_until(outcome.at)

    def _wait_until(self, due: datetime) -> None:
        """Wait until the given time, but never longer than the time that is left now by the monotonic clock.

        The wait ends early if the clock is set back by more than the allowed skew. After such a change the date of the
        credential is in the future, and the service would reject the credential.
        """
        latest = self._monotonic() + self._left(due)
        while not self._now.is_set():
            by_clock, at_most = self._left(due), latest - self._monotonic()
            if min(by_clock, at_most) <= 0 or by_clock - at_most > MAX_FUTURE_SKEW.total_seconds():
                return
            self._now.wait(min(by_clock, at_most, self._look_again_seconds))

    def _left(self, due: datetime) -> float:
        return (due - self.renewals.clock()).total_seconds()
