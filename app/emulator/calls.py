"""A log of the calls to the emulated AWS, for tests and operators."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from app.emulator.hosts import ServiceName

MAX_CALLS: Final = 10_000
"""The number of calls that the log keeps. The counts include all calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to STS or IAM. The account is that of the access key, and the region that of the signature's scope.

    The account is None if the key is unknown. Both are None if the request has no signature.
    """

    service: ServiceName
    action: str | None
    account: str | None
    region: str | None
    outcome: str
    """`ok`, AWS's error code, `http_<status>` for an answer without an error code, or the name of the fault."""
    request_id: str
    at: datetime


class CallKind(NamedTuple):
    """The properties by which calls are counted."""

    service: ServiceName
    action: str | None
    account: str | None
    region: str | None
    outcome: str


class CallLog:
    """The last `MAX_CALLS` calls in their order, and counts of all calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._recent: deque[Call] = deque(maxlen=MAX_CALLS)
        self._counts: Counter[CallKind] = Counter()

    def record(self, call: Call) -> None:
        """Add one call."""
        with self._lock:
            self._recent.append(call)
            self._counts[CallKind(call.service, call.action, call.account, call.region, call.outcome)] += 1
            self._lock.notify_all()

    def wait_for(self, number: int, timeout: float = 100.0) -> None:
        """Wait until ``number`` calls have arrived, for a test that must act while a call hangs.

        Raises:
            TimeoutError: fewer calls arrived within ``timeout`` seconds.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: self._counts.total() >= number, timeout):
                raise TimeoutError(f"{self._counts.total()} calls came, not {number}")

    def clear(self) -> None:
        """Forget all calls and counts."""
        with self._lock:
            self._recent.clear()
            self._counts.clear()

    def counts(self) -> Counter[CallKind]:
        """Return how many calls of each kind arrived."""
        with self._lock:
            return Counter(self._counts)

    def count(
        self,
        service: ServiceName | None = None,
        action: str | None = None,
        *,
        account: str | None = None,
        outcome: str | None = None,
    ) -> int:
        """Count the calls that match all given properties."""
        wanted = {"service": service, "action": action, "account": account, "outcome": outcome}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return sum(
            number
            for kind, number in self.counts().items()
            if all(getattr(kind, name) == value for name, value in asked.items())
        )

    def __iter__(self) -> Iterator[Call]:
        with self._lock:
            return iter(tuple(self._recent))

    def __len__(self) -> int:
        return len(self._recent)

    def __getitem__(self, index: int) -> Call:
        with self._lock:
            return self._recent[index]
