"""A limit on the decisions that wait for AWS: no account can use up the places that another account needs."""

from collections import Counter
from collections.abc import Hashable
from typing import Final

# A waiting decision takes about 10 KiB. The total is below `app.api.authenticate.MAX_DECISIONS`, so waiting decisions always
# leave places for decisions that need not wait. A refused decision costs more processor time than a waiting one: its
# connection sends the next call at once, and the caller retries.
MAX_WAITING: Final = 7_168
MAX_WAITING_NEW: Final = 4_096
# An account may have at most this many times as many places as are free.
_PART: Final = 2


class WaitingPlaces:
    """Counts the decisions that wait, in total and for each account.

    An account may take a place while it holds fewer than twice as many places as are free, so one account holds at most two
    thirds of them. If ``n`` accounts take as many places as they can, each has two of ``2 n + 1`` equal shares, and the last
    share stays free for any other account. This is the dynamic threshold of Choudhury and Hahne (IEEE/ACM Trans. on
    Networking 6:2, 1998). New decisions, which anybody can cause, have a limit of their own, so that known decisions always
    find places.
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
