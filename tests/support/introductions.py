"""The calls to STS in front of one that is in memory."""

import time
from collections.abc import Callable
from datetime import datetime

from app.adapters.known_credentials import KnownCredentials
from app.adapters.known_keys import KnownKeys
from app.adapters.store import Store
from app.authenticator import AccountList, IdentitySource
from app.calls.options import CallOptions
from app.calls.sts_calls import StsIntroductions
from app.calls.waiting_places import WaitingPlaces


def new_introductions(
    source: IdentitySource,
    known: KnownCredentials,
    accounts: AccountList,
    clock: Callable[[], datetime],
    *,
    rate: float = 1e6,
    timer: Callable[[], float] = time.monotonic,
    store: Store | None = None,
    keys: KnownKeys | None = None,
    places: WaitingPlaces | None = None,
) -> StsIntroductions:
    """Return calls to STS with hardly a limit on their rate."""
    options = CallOptions(rate=rate, timer=timer, store=store, places=places or WaitingPlaces())
    return StsIntroductions(source, known, keys or KnownKeys(accounts), accounts, clock, options)
