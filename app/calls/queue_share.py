"""Divide the places of a queue between the owners of the waiting calls. An owner is an AWS account, for example.

One owner may take all places while no other owner needs them, because all calls after a restart can come from one account.
If the queue is full, an owner with fewer calls may still add a call: the owner with the most calls loses its last call.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Owned(Protocol):
    """A call that waits.

    Attributes:
        owner: the owner for which the call counts.
        is_abandoned: whether no decision waits for the call any more. Such calls lose their places first.
    """

    owner: Hashable
    is_abandoned: bool


_Call = TypeVar("_Call", bound=Owned)


class _Owner(Generic[_Call]):
    """The calls of one owner, in the order of their arrival."""

    __slots__ = ("abandoned", "awaited")

    def __init__(self) -> None:
        self.awaited: OrderedDict[_Call, None] = OrderedDict()
        self.abandoned: OrderedDict[_Call, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.awaited) + len(self.abandoned)

    def last_abandoned(self) -> _Call | None:
        return next(reversed(self.abandoned), None)

    def last(self) -> _Call:
        return self.last_abandoned() or next(reversed(self.awaited))


class QueueShare(Generic[_Call]):
    """Counts the waiting calls of each owner, at most ``most`` in total. Every operation takes constant time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._owners: dict[Hashable, _Owner[_Call]] = {}
        # The owners by their number of calls. Each number changes by one at a time, so the owner with the most calls is
        # found without a search.
        self._by_size: dict[int, dict[Hashable, None]] = {}
        self._largest = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether every place is taken."""
        return self._count >= self._most

    def calls_of(self, owner: Hashable) -> int:
        """Return the number of an owner's calls that wait."""
        own = self._owners.get(owner)
        return 0 if own is None else len(own)

    def has_place(self, owner: Hashable) -> bool:
        """Return whether a call of this owner can be added. If the queue is full, another owner's call loses its place."""
        return self._count < self._most or self.calls_of(owner) < self._largest

    def victim(self, owner: Hashable) -> _Call | None:
        """Return the call that must lose its place to a call of this owner.

        Return None if the queue is not full, or if no other owner has more calls than this one.
        """
        if self._count < self._most or self.calls_of(owner) >= self._largest:
            return None
        largest = next(iter(self._by_size[self._largest]))
        return self._owners[largest].last()

    def last(self, owner: Hashable) -> _Call | None:
        """Return the call of an owner that would lose its place first."""
        own = self._owners.get(owner)
        return None if own is None else own.last()

    def last_abandoned(self, owner: Hashable) -> _Call | None:
        """Return the newest call of an owner for which no decision waits."""
        own = self._owners.get(owner)
        return None if own is None else own.last_abandoned()

    def add(self, call: _Call) -> None:
        """Count a call that starts to wait."""
        own = self._owners.get(call.owner)
        if own is None:
            own = self._owners[call.owner] = _Owner()
        (own.abandoned if call.is_abandoned else own.awaited)[call] = None
        self._count += 1
        self._resize(call.owner, len(own) - 1, len(own))

    def remove(self, call: _Call) -> None:
        """Remove a call that does not wait any more."""
        own = self._owners[call.owner]
        del (own.abandoned if call.is_abandoned else own.awaited)[call]
        self._count -= 1
        self._resize(call.owner, len(own) + 1, len(own))
        if not len(own):
            del self._owners[call.owner]

    def mark(self, call: _Call, *, is_abandoned: bool) -> None:
        """Record whether a decision waits for a call."""
        if call.is_abandoned is is_abandoned:
            return
        own = self._owners[call.owner]
        source, target = (own.awaited, own.abandoned) if is_abandoned else (own.abandoned, own.awaited)
        del source[call]
        target[call] = None
        call.is_abandoned = is_abandoned

    def _resize(self, owner: Hashable, before: int, after: int) -> None:
        if before:
            same = self._by_size[before]
            del same[owner]
            if not same:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[owner] = None
        if after > self._largest or (before == self._largest and before not in self._by_size):
            self._largest = after
