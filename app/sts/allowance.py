"""Limit how many calls with new keys may wait for each account: fewer if STS keeps rejecting its keys.

After a restart all keys are new, and the queue must hold the storm of a whole account. Invented keys look the same until STS
has answered. So STS's verdicts decide: an account may fill the queue if STS vouches for most of its new keys, and keeps a
short queue if STS rejects most of them. Then most invented keys are refused before they are decoded, and a real new task of
that account waits behind few of them.
"""

from collections.abc import Hashable
from typing import Final

from app.limits.rate_limiter import RateLimiter

MIN_ALLOWED: Final = 256
# Each rejected key shortens the queue by a quarter, and each key that STS vouches for undoes three rejections. So the queue
# keeps its length if a quarter of the new keys are real. 17 rejected keys in a row shorten 32,768 places to 256; 6 keys that
# STS vouches for restore them.
_REJECTED: Final = 3 / 4
_VOUCHED: Final = 1 / _REJECTED**3  # no bound: how fast a short queue becomes long again
# At most this many accounts with a shorter queue are remembered. Beyond that, the one that was added first is deleted.
MAX_RESTRICTED: Final = 10_000


class Allowances:
    """The number of calls of each owner that may wait in a queue."""

    def __init__(self, most: int, limiter: RateLimiter) -> None:
        """Allow every owner the whole queue.

        Args:
            most: the length of the queue.
            limiter: limits the calls that all owners with the shortest queue add together, because a flood can name many
                accounts.
        """
        self._most = most
        self._limiter = limiter
        self._restricted: dict[Hashable, float] = {}

    def __bool__(self) -> bool:
        """Whether some owner may use less than the whole queue."""
        return bool(self._restricted)

    def has_room(self, owner: Hashable, waiting: int) -> bool:
        """Whether one more call of an owner may wait, in addition to the given number that waits already."""
        allowed = self._restricted.get(owner)
        return allowed is None or (waiting < allowed and (allowed > MIN_ALLOWED or self._limiter.wait() == 0))

    def added(self, owner: Hashable) -> None:
        """Count a call that starts to wait."""
        if self._restricted.get(owner, self._most) <= MIN_ALLOWED:
            self._limiter.reserve()

    def rejected(self, owner: Hashable) -> None:
        """Record that AWS does not know the key of a call."""
        if owner not in self._restricted and len(self._restricted) >= MAX_RESTRICTED:
            del self._restricted[next(iter(self._restricted))]
        allowed = self._restricted.get(owner, self._most) * _REJECTED
        self._restricted[owner] = max(allowed, min(MIN_ALLOWED, self._most))

    def vouched(self, owner: Hashable) -> None:
        """Record that AWS vouched for the key of a call."""
        allowed = self._restricted.get(owner)
        if allowed is None:
            return
        if allowed * _VOUCHED < self._most:
            self._restricted[owner] = allowed * _VOUCHED
        else:
            del self._restricted[owner]
