"""A budget of calls a second: evenly spaced, a few at once after a pause, and slower while AWS throttles.

Why not a library: none of the well-kept ones tells how long the next call would have to wait, which is what ``Retry-After``
says, or changes its rate while calls wait (docs/decisions/0013-own-pacing.md). It is the generic cell rate algorithm: one
number holds the whole state, the moment at which the next call would be due.
"""

from typing import Final

from app.local.clock import Timer

# Of the budget that is left after AWS has throttled, and of the whole budget that comes back each second.
CUT_SHARE: Final = 0.5
RECOVERY_A_SECOND: Final = 0.05
# A tenth of the budget is left in any case: without calls nobody would see that AWS has recovered.
LEAST_SHARE: Final = 0.1
# What was under way together is throttled together: that is one sign, not many.
SAME_SIGN_SECONDS: Final = 1.0


class RateLimiter:
    """One budget. Reserving a turn takes it, whether it is used or not.

    Attributes:
        base: calls a second while AWS does not throttle.
    """

    def __init__(self, rate: float, *, burst: float, timer: Timer) -> None:
        """Start with the whole budget.

        Args:
            rate: calls a second.
            burst: calls that may go out at once after a pause.
            timer: seconds of a monotonic clock.
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
        """Calls a second, as they are let through at this moment."""
        return self._base * self._share(self._timer())

    @property
    def is_whole(self) -> bool:
        """Whether the whole budget is there: nothing would be forgotten with this object."""
        now = self._timer()
        return self._next <= now and self._held_until <= now and self._share(now) == 1.0

    def wait(self) -> float:
        """Return the seconds that a turn reserved now would have to wait."""
        now = self._timer()
        # After a throttling answer nothing is saved up.
        saved = self._saved if self._share(now) == 1.0 else 0.0
        return max(0.0, max(self._next - saved, self._held_until) - now)

    def reserve(self) -> float:
        """Take the next turn; return the seconds until it comes."""
        wait, now = self.wait(), self._timer()
        self._next = max(self._next, now) + self._interval / self._share(now)
        return wait

    def give_back(self) -> None:
        """Return a turn that was reserved and is not used."""
        self._next -= self._interval / self._share(self._timer())

    def hold(self, seconds: float) -> None:
        """Let no turn come for so many seconds from now."""
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
