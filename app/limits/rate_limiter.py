"""A rate limiter: it spaces calls evenly, allows a burst after a pause, and slows down while AWS throttles.

Why not a library: ``Retry-After`` needs the time that the next call would have to wait, and the rate must change while calls
wait. No maintained library offers this (docs/decisions/0013-own-pacing.md). The algorithm is the generic cell rate
algorithm. Its whole state is one number: the time at which the next call would be due.
"""

from typing import Final

from app.local.clock import Timer

# When AWS throttles, the rate is multiplied by the first number. Then the rate rises each second by the second number, as a
# fraction of the base rate.
CUT_SHARE: Final = 0.5
RECOVERY_A_SECOND: Final = 0.05
# The lowest rate, as a fraction of the base rate: without calls the service would not notice that AWS has recovered.
LEAST_SHARE: Final = 0.1
# AWS often throttles several concurrent calls together. All such answers within this time count as one.
SAME_SIGN_SECONDS: Final = 1.0


class RateLimiter:
    """The rate limiter of one budget. A reserved turn counts, whether a call uses the turn or not."""

    def __init__(self, rate: float, *, burst: float, timer: Timer) -> None:
        """Start with the whole budget.

        Args:
            rate: the base rate, in calls per second.
            burst: the number of calls that may go out together after a pause.
            timer: returns the seconds of a monotonic clock.
        """
        self._base = rate
        self._interval = 1 / rate
        self._saved = max(0.0, burst - 1) / rate
        self._timer = timer
        self._next = float("-inf")
        self._factor = 1.0
        self._throttled_at = float("-inf")
        self._held_until = float("-inf")

    @property
    def rate(self) -> float:
        """The current rate, in calls per second."""
        return self._base * self._share(self._timer())

    @property
    def is_slowed(self) -> bool:
        """Whether the rate is below the base rate, because AWS throttled a call."""
        return self._share(self._timer()) < 1.0

    @property
    def is_whole(self) -> bool:
        """Whether the whole budget is available, so that this object can be deleted without a loss of state."""
        now = self._timer()
        return self._next <= now and self._held_until <= now and self._share(now) == 1.0

    def wait(self) -> float:
        """Return the seconds until a turn that would be reserved now."""
        now = self._timer()
        # After a throttling answer there is no burst.
        saved = self._saved if self._share(now) == 1.0 else 0.0
        return max(0.0, max(self._next - saved, self._held_until) - now)

    def reserve(self) -> float:
        """Reserve the next turn. Return the seconds until that turn."""
        wait, now = self.wait(), self._timer()
        self._next = max(self._next, now) + self._interval / self._share(now)
        return wait

    def give_back(self) -> None:
        """Give back a reserved turn that no call uses."""
        self._next -= self._interval / self._share(self._timer())

    def hold(self, seconds: float) -> None:
        """Allow no turn for so many seconds from now."""
        self._held_until = max(self._held_until, self._timer() + seconds)

    def throttled(self) -> None:
        """Halve the rate: AWS throttled a call. The rate recovers by 5 % of its base value per second."""
        now = self._timer()
        if now - self._throttled_at < SAME_SIGN_SECONDS:
            return
        self._factor = max(LEAST_SHARE, self._share(now) * CUT_SHARE)
        self._throttled_at = now

    def _share(self, now: float) -> float:
        if self._factor == 1.0:
            return 1.0
        share = self._factor + max(0.0, now - self._throttled_at) * RECOVERY_A_SECOND
        if share >= 1.0:
            self._factor = share = 1.0
        return share
