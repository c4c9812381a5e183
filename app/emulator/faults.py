"""Faults of the emulated AWS that tests can set: a closed set of faults, added latency and a rate limit.

Any thread may set them while the emulator serves requests.
"""

import contextlib
import threading
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.emulator.fault_kinds import LIES, FaultKind
from app.emulator.hosts import ServiceName

DRIP_INTERVAL: Final = 0.05


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault that was set: its kind, how often it acts, and for which calls."""

    kind: FaultKind
    times: int | None = None
    """The number of further calls that the fault affects; None if it stays until it is cleared."""
    account: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFault:
    """The fault that one call gets."""

    kind: FaultKind
    latch: Future[None] | None
    """For `HANG`: done when the call may be answered."""
    pace: float
    """For `SLOW_DRIP`: seconds between bytes."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: datetime


class ServiceFaults:
    """The faults of one service."""

    def __init__(self) -> None:
        self.latency = 0.0
        """Seconds before every answer."""
        self.rate: float | None = None
        """Requests a second for each account and region, with a burst of the same number. Further requests are throttled.

        None means no limit.
        """
        self.drip_interval = DRIP_INTERVAL
        """Seconds between the bytes of `SLOW_DRIP`."""
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._latches: set[Future[None]] = set()

    def inject(
        self, kind: FaultKind, *, times: int | None = None, account: str | None = None, action: str | None = None
    ) -> None:
        """Inject a fault into the next `times` calls, or into all calls until `clear`.

        If several faults fit a call, the one that was injected first acts.

        Raises:
            ValueError: `times` is not positive.
        """
        if times is not None and times < 1:
            raise ValueError("times must be 1 or more")
        with self._lock:
            self._faults.append(Fault(kind=kind, times=times, account=account, action=action))

    def active(self) -> tuple[Fault, ...]:
        """Return copies of the faults that are still active."""
        with self._lock:
            return tuple(
                Fault(kind=fault.kind, times=fault.times, account=fault.account, action=fault.action)
                for fault in self._faults
            )

    def hanging(self) -> int:
        """Return how many calls hang now. A call whose client has disconnected does not count."""
        with self._lock:
            return sum(not latch.done() for latch in tuple(self._latches))

    def release(self) -> None:
        """Answer every call that hangs now; the faults stay."""
        with self._lock:
            latches = tuple(self._latches)
        _open(latches)

    def clear(self) -> None:
        """Remove all faults, the latency and the rate limit, and answer the calls that hang."""
        with self._lock:
            self._faults.clear()
            self._buckets.clear()
            self.latency, self.rate, self.drip_interval = 0.0, None, DRIP_INTERVAL
            latches = tuple(self._latches)
        _open(latches)

    def take(self, *, action: str | None, account: str | None, answered: bool) -> TakenFault | None:
        """Return the fault that one call gets, and count it; None if no fault fits the call.

        `answered` says whether the true answer is a successful GetCallerIdentity: lies replace only such answers.
        """
        with self._lock:
            for fault in self._faults:
                if not _fits(fault, action, account) or (fault.kind in LIES and not answered):
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                # The latch is made under the lock. So a concurrent `release` either comes before this, or opens this latch.
                latch = self._new_latch() if fault.kind is FaultKind.HANG else None
                return TakenFault(kind=fault.kind, latch=latch, pace=self.drip_interval)
        return None

    def exceeds_rate(self, account: str, region: str, now: datetime) -> bool:
        """Count one call against the account's budget in a region. Return whether the budget is exceeded."""
        rate = self.rate
        if rate is None:
            return False
        burst = max(1.0, rate)
        with self._lock:
            bucket = self._buckets.setdefault((account, region), _Bucket(burst, now))
            passed = max(0.0, (now - bucket.filled_at).total_seconds())
            bucket.tokens = min(burst, bucket.tokens + passed * rate)
            bucket.filled_at = max(bucket.filled_at, now)
            if bucket.tokens < 1.0:
                return True
            bucket.tokens -= 1.0
            return False

    def _new_latch(self) -> Future[None]:
        latch: Future[None] = Future()
        self._latches.add(latch)
        latch.add_done_callback(self._latches.discard)
        return latch


class Faults:
    """The faults of the whole emulator, by service."""

    def __init__(self) -> None:
        self.sts = ServiceFaults()
        self.iam = ServiceFaults()

    def of(self, service: ServiceName) -> ServiceFaults:
        """Return the faults of one service."""
        return self.sts if service == "sts" else self.iam

    def clear(self) -> None:
        """Remove the faults of all services."""
        self.sts.clear()
        self.iam.clear()


def _fits(fault: Fault, action: str | None, account: str | None) -> bool:
    return fault.account in {None, account} and fault.action in {None, action}


def _open(latches: Iterable[Future[None]]) -> None:
    for latch in latches:
        with contextlib.suppress(InvalidStateError):  # the client has disconnected
            latch.set_result(None)
