"""A limit on waiting decisions for each account: no account can use up the places that another one needs."""

from collections import Counter
from collections.abc import Hashable
from contextlib import AbstractContextManager
from typing import Final, Self

from app.adapters.limits import retry_seconds
from app.errors import UpstreamError
from app.reasons import Reason

# The sum is below `app.api.authenticate.MAX_DECISIONS`, so that waiting decisions never take the last place.
MAX_WAITING_UNKNOWN: Final = 4_096
MAX_WAITING_KNOWN: Final = 3_584


class Bulkhead:
    """Limits how many decisions wait, in all and for each account.

    An account may take a place while it holds fewer places than are free. So one account holds at most one half of them.
    Where ``n`` accounts take all that they can get, each holds one of ``n + 1`` equal shares, and the last share stays free
    for any other account. This is the dynamic threshold of Choudhury and Hahne (IEEE/ACM Trans. on Networking 6:2, 1998).
    A fixed bound for each account would be too small in a storm, or too large under an attack that names many accounts.
    """

    def __init__(self, name: str, places: int) -> None:
        self._name = name
        self._free = places
        self._held: Counter[Hashable] = Counter()

    def enter(self, account: Hashable, rate: float | None = None) -> None:
        """Take a place, which `leave` gives back.

        Args:
            account: the account that the place counts for.
            rate: decisions a second that give back places of this account; `Retry-After` is calculated from it.

        Raises:
            UpstreamError: ``overloaded``: the account holds its share.
        """
        held = self._held[account]
        if held >= self._free:
            raise UpstreamError(
                Reason.OVERLOADED,
                f"no place to wait for {self._name}: {held} decisions of {account} wait already",
                retry_after=None if rate is None else retry_seconds(held / rate),
            )
        self._held[account] += 1
        self._free -= 1

    def leave(self, account: Hashable) -> None:
        """Give a place back."""
        self._free += 1
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]


class Share(AbstractContextManager["Share"]):
    """The places of one account in a bulkhead; each use as a context manager takes one and gives it back."""

    def __init__(self, bulkhead: Bulkhead, account: Hashable, rate: float | None = None) -> None:
        self._bulkhead = bulkhead
        self._account = account
        self._rate = rate

    def __enter__(self) -> Self:
        self._bulkhead.enter(self._account, self._rate)
        return self

    def __exit__(self, *_error: object) -> None:
        self._bulkhead.leave(self._account)
