"""A bounded map with one value for each budget or endpoint. A value in use is never deleted."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

# When the map is full, it checks at most this many values to find an idle one.
_LOOK_AT: Final = 8  # no bound: how many idle values are looked for


class Idle(Protocol):
    """A value of the map."""

    @property
    def is_idle(self) -> bool:
        """Whether the value can be deleted without a loss of state."""


_Value = TypeVar("_Value", bound=Idle)


class BoundedMap(Generic[_Value]):
    """Values by key, created at their first use. If there are ``most`` values, a new value replaces an idle one."""

    def __init__(self, make: Callable[[Hashable], _Value], most: int) -> None:
        self._make = make
        self._most = most
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def of(self, key: Hashable) -> _Value:
        """Return the value of a key. If the key is new, create its value first."""
        value = self._values.get(key)
        if value is None:
            if len(self._values) >= self._most:
                self._drop_idle()
            value = self._values[key] = self._make(key)
        return value

    def values(self) -> list[_Value]:
        """Return all values."""
        return list(self._values.values())

    def items(self) -> list[tuple[Hashable, _Value]]:
        """Return all keys and their values."""
        return list(self._values.items())

    def _drop_idle(self) -> None:
        for key in list(itertools.islice(self._values, _LOOK_AT)):
            if self._values[key].is_idle:
                del self._values[key]
                return
            self._values.move_to_end(key)
