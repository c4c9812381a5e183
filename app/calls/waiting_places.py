"""A limit on the decisions that wait for AWS. No account can use up the waiting places that another account needs."""

from collections import Counter
from collections.abc import Hashable
from typing import Final

# A waiting decision takes about 10 KiB. The limit is below `app.api.authenticate.MAX_DECISIONS`, so waiting decisions always
# leave room for decisions that need not wait. The limit is high, because to refuse a decision costs more processor time than
# to let it wait: after a refusal, the connection sends another call at once, and the caller retries the refused call.
MAX_WAITING: Final = 7_168
MAX_WAITING_NEW: Final = 4_096
# An account may have at most this many times as many places as are free.
_PART: Final = 2


class WaitingPlaces:
    """Counts the decisions that wait, in total and for each account.

    An account may take one more place if it has fewer than twice as many places as are free. So one account has at most two
    thirds of all places. If ``n`` accounts take as many places as they can, each has two of ``2 n + 1`` equal shares, and
    one share stays free for any other account. This is the dynamic threshold of Choudhury and Hahne (IEEE/ACM Trans. on
    Networking 6:2, 1998). Anybody can cause new decisions. They have a limit of their own, so that there are always places
    for known decisions.
    """

    def __init__(self, most: int = MAX_WAITING, most_new: int = MAX_WAITING_NEW) -> None:
        self._free = most
        self._free_new = most_new
        self._held: Counter[Hashable] = Counter()
        self._held_new: Counter[Hashable] = Counter()

    def enter(self, account: Hashable, *, is_new: bool) -> bool:
        """Take a place for this account, which `leave` gives back. Return False if the account may not take a place now."""
        held, free = (self._held_new, self._free_new) if is_new else (self._held, self._free)
        if held[account] >= _PART * min(free, self._free):
            return False
        held[account] += 1
        self._free -= 1
        self._free_new -= is_new
        return True

    def leave(self, account: Hashable, *, is_new: bool) -> None:
        """Give back a place that `enter` took."""
        held = self._held_new if is_new else self._held
        self._free += 1
        self._free_new += is_new
        held[account] -= 1
        if not held[account]:
            del held[account]
