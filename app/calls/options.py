"""The options of the calls to an upstream."""

import time
from dataclasses import dataclass, field
from typing import Final

from app.calls.waiting_places import WaitingPlaces
from app.local.clock import Timer
from app.store.port import Store

ATTEMPT_SECONDS: Final = 4.0  # no bound: a default that the service replaces with the one of its connections


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The settings of the calls to one upstream, and the objects that all upstreams share.

    Attributes:
        rate: calls per second of one budget (``KMESH_AWSIAM_STS_RATE``, ``KMESH_AWSIAM_IAM_RATE``).
        attempt_seconds: how long one attempt may take. A call has two attempts.
        store: the store that replicas share; None if there is no such store.
        places: the limit on decisions that wait, for all upstreams together.
        timer: returns the seconds of a monotonic clock, for caches.
    """

    rate: float
    attempt_seconds: float = ATTEMPT_SECONDS
    store: Store | None = None
    places: WaitingPlaces = field(default_factory=WaitingPlaces)
    timer: Timer = time.monotonic
