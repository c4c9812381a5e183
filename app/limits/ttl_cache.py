"""A bounded cache whose entries expire. If an owner has more than its share, its new entries evict its own old entries."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from app.local.clock import Timer

_Value = TypeVar("_Value")
# The keys of one owner, the least recently used one first.
_Order = OrderedDict[Hashable, None]

# Before the full cache evicts a live entry, it checks at most this many of the least recently used entries for expiry.
LOOK_AT: Final = 8


class _Entry(NamedTuple, Generic[_Value]):
    value: _Value
    expires_at: float
    owner: Hashable


class TtlCache(Generic[_Value]):
    """A cache of entries that each have an owner, such as an AWS account.

    If the cache is full, a new entry evicts an old one. An owner that has its equal share of the cache or more loses one of
    its own entries. If the owner of the new entry has less, the owner with the most entries loses one. Of an owner's
    entries, expired entries are evicted first, then the least recently used.

    The library cachetools has no owners, and takes four times as long on each request (``make bench``).
    """

    def __init__(self, max_entries: int, timer: Timer, *, most_of_one: int | None = None) -> None:
        """Make an empty cache.

        Args:
            max_entries: the largest number of entries of all owners together.
            timer: returns the seconds of a monotonic clock.
            most_of_one: the largest number of entries of one owner; None means no such limit.
        """
        self._entries: dict[Hashable, _Entry[_Value]] = {}
        # These are no plain dicts: a dict keeps the slots of deleted entries, and must skip them to find its first entry.
        self._orders: dict[Hashable, _Order] = {}
        self._max_entries = max_entries
        self._most_of_one = max_entries if most_of_one is None else most_of_one
        self._timer = timer

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._entries)

    def get(self, key: Hashable) -> _Value | None:
        """Return the value of a live entry, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._timer() >= entry.expires_at:
            self.drop(key)
            return None
        self._orders[entry.owner].move_to_end(key)
        return entry.value

    def drop(self, key: Hashable) -> None:
        """Delete an entry, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        order = self._orders[entry.owner]
        del order[key]
        if not order:
            del self._orders[entry.owner]

    def put(self, key: Hashable, value: _Value, seconds: float, owner: Hashable = None) -> None:
        """Store a value for so many seconds. If ``seconds`` is not positive, store nothing."""
        self.drop(key)
        if seconds <= 0:
            return
        order = self._orders.get(owner)
        if order is not None and len(order) >= self._most_of_one:
            self._evict_from(order)
        elif len(self._entries) >= self._max_entries:
            self._evict_from(self._order_to_shorten(order))
        self._entries[key] = _Entry(value, self._timer() + seconds, owner)
        self._orders.setdefault(owner, OrderedDict())[key] = None

    def _order_to_shorten(self, own: _Order | None) -> _Order:
        """Return the keys of the owner that must lose an entry. ``own`` contains the keys of the new entry's owner."""
        if own is not None and len(own) * len(self._orders) >= self._max_entries:
            return own
        return max(self._orders.values(), key=len)

    def _evict_from(self, order: _Order) -> None:
        now = self._timer()
        oldest = list(islice(order, LOOK_AT))
        expired = [key for key in oldest if self._entries[key].expires_at <= now]
        for key in expired or oldest[:1]:
            self.drop(key)
