"""A limit on the decisions that wait for AWS: no account can use up the places that another one needs."""

from collections import Counter
from collections.abc import Hashable
from typing import Final

# A waiting decision takes some 10 KiB. In all, below `app.api.authenticate.MAX_DECISIONS`, so that waiting decisions never
# take the last place of those that need not wait. A decision that is refused costs more processor time than one that waits:
# its connection brings the next one at once, and it comes again itself.
MAX_WAITING: Final = 7_168
MAX_WAITING_NEW: Final = 4_096
# An account may hold so many times the free places.
_PART: Final = 2


class WaitingPlaces:
    """Counts the decisions that wait, in all and for each account.

    An account may take a place while it holds fewer than twice as many places as are free, so one account holds at most two
    thirds of them. Where ``n`` accounts take all that they can get, each holds two of ``2 n + 1`` equal shares, and the last
    share stays free for any other account. This is the dynamic threshold of Choudhury and Hahne (IEEE/ACM Trans. on
    Networking 6:2, 1998). New decisions, which anybody can cause, have a limit of their own, so that known ones always find
    places.
    """

    def __init__(self, most: int = MAX_WAITING, most_new: int = MAX_WAITING_NEW) -> None:
        self._free = most
        self._free_new = most_new
        self._held: Counter[Hashable] = Counter()
        self._held_new: Counter[Hashable] = Counter()

    def enter(self, account: Hashable, *, is_new: bool) -> bool:
        """Take a place, which `leave` gives back; return False if this account may have none now."""
        held, free = (self._held_new, self._free_new) if is_new else (self._held, self._free)
        if held[account] >= _PART * min(free, self._free):
            return False
        held[account] += 1
        self._free -= 1
        self._free_new -= is_new
        return True

    def leave(self, account: Hashable, *, is_new: bool) -> None:
        """Give a place back."""
        held = self._held_new if is_new else self._held
        self._free += 1
        self._free_new += is_new
        held[account] -= 1
        if not held[account]:
            del held[account]
