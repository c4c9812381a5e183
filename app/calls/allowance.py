"""How many calls with new keys may wait for each account: fewer where STS keeps rejecting them.

After a restart all keys are new, and the queue must hold the storm of a whole account. Invented keys look the same until STS
has answered. So STS's verdicts decide: an account whose new keys STS mostly vouches for may fill the queue, and one whose
new keys it mostly rejects keeps a short one. Then most invented keys are refused before they are decoded, and a real new
task of that account waits behind few of them.
"""

from collections.abc import Hashable
from typing import Final

MIN_ALLOWED: Final = 256
# A rejected key takes a quarter, and a vouched one gives back what three take: where a quarter of the new keys are real, the
# queue stays open. It takes 17 rejected keys in a row to close it, and 6 vouched ones to open it again.
_REJECTED: Final = 3 / 4
_VOUCHED: Final = 1 / _REJECTED**3
# Accounts with less than the whole allowance that are remembered; the one that was seen first is forgotten.
MAX_RESTRICTED: Final = 10_000


class Allowances:
    """The number of calls of each owner that may wait in a queue."""

    def __init__(self, most: int) -> None:
        """Allow every owner the whole queue.

        Args:
            most: the length of the queue.
        """
        self._most = most
        self._restricted: dict[Hashable, float] = {}

    def __bool__(self) -> bool:
        """Whether some owner is allowed less than the whole queue."""
        return bool(self._restricted)

    def of(self, owner: Hashable) -> int:
        """Return how many calls of an owner may wait."""
        return int(self._restricted.get(owner, self._most))

    def is_doubtful(self, owner: Hashable) -> bool:
        """Whether most new keys of an owner were rejected of late."""
        allowed = self._restricted.get(owner)
        return allowed is not None and allowed <= MIN_ALLOWED

    def rejected(self, owner: Hashable) -> None:
        """Note that AWS does not know the key of a call."""
        if owner not in self._restricted and len(self._restricted) >= MAX_RESTRICTED:
            del self._restricted[next(iter(self._restricted))]
        allowed = self._restricted.get(owner, self._most) * _REJECTED
        self._restricted[owner] = max(allowed, min(MIN_ALLOWED, self._most))

    def vouched(self, owner: Hashable) -> None:
        """Note that AWS vouched for the key of a call."""
        allowed = self._restricted.get(owner)
        if allowed is None:
            return
        if allowed * _VOUCHED < self._most:
            self._restricted[owner] = allowed * _VOUCHED
        else:
            del self._restricted[owner]
