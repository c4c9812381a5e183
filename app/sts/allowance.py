"""Limit how many calls with new keys may wait for each account. The limit is lower if STS rejects many keys of the account.

After a restart all keys are new, and the queue must have places for all proxies of an account. Until STS has answered, the
service cannot distinguish real keys from invented keys. So STS's answers set the limit: an account may fill the queue if STS
accepts most of its new keys, and may have only a few waiting calls if STS rejects most of them. Then most credentials with
invented keys are refused before they are decoded, and a real new task of that account has few of them before it in the
queue.
"""

from collections.abc import Hashable
from typing import Final

from app.limits.rate_limiter import RateLimiter

MIN_ALLOWED: Final = 256
# Each rejected key reduces an account's limit by a quarter, and each accepted key cancels three rejections. So the limit
# stays about equal if a quarter of the new keys are real. 17 rejected keys in a row reduce a limit of 32,768 calls to 256;
# 6 accepted keys restore the limit.
_REJECTED: Final = 3 / 4
_VOUCHED: Final = 1 / _REJECTED**3  # no bound: how fast a short queue becomes long again
# The largest number of accounts with a reduced limit in memory. If there are more, the account that was added first is
# deleted.
MAX_RESTRICTED: Final = 10_000


class Allowances:
    """The limit on waiting calls of each owner."""

    def __init__(self, most: int, limiter: RateLimiter) -> None:
        """Allow every owner to fill the whole queue.

        Args:
            most: the number of places in the queue.
            limiter: one rate limiter for all owners whose limit has fallen to `MIN_ALLOWED`. It limits how often these
                owners add calls in total, because a flood can name many accounts.
        """
        self._most = most
        self._limiter = limiter
        self._restricted: dict[Hashable, float] = {}

    def __bool__(self) -> bool:
        """Return whether any owner has a reduced limit."""
        return bool(self._restricted)

    def has_room(self, owner: Hashable, waiting: int) -> bool:
        """Return whether one more call of an owner may wait, if ``waiting`` calls of the owner wait already."""
        allowed = self._restricted.get(owner)
        return allowed is None or (waiting < allowed and (allowed > MIN_ALLOWED or self._limiter.wait() == 0))

    def added(self, owner: Hashable) -> None:
        """Count a call that starts to wait."""
        if self._restricted.get(owner, self._most) <= MIN_ALLOWED:
            self._limiter.reserve()

    def rejected(self, owner: Hashable) -> None:
        """Record that STS rejected the key of a call."""
        if owner not in self._restricted and len(self._restricted) >= MAX_RESTRICTED:
            del self._restricted[next(iter(self._restricted))]
        allowed = self._restricted.get(owner, self._most) * _REJECTED
        self._restricted[owner] = max(allowed, min(MIN_ALLOWED, self._most))

    def vouched(self, owner: Hashable) -> None:
        """Record that STS accepted the key of a call."""
        allowed = self._restricted.get(owner)
        if allowed is None:
            return
        if allowed * _VOUCHED < self._most:
            self._restricted[owner] = allowed * _VOUCHED
        else:
            del self._restricted[owner]
