"""The calls to IAM in front of one that is in memory."""

import time
from collections.abc import Callable
from typing import Any

from app.adapters.accounts import FixedAccounts
from app.adapters.role_cache import RoleTable
from app.adapters.store import Store
from app.authenticator import AccountList, RoleSource
from app.calls.iam_calls import Roles
from app.calls.iam_upstream import RolePages
from app.calls.options import CallOptions
from app.calls.waiting_places import WaitingPlaces
from app.metrics import Metrics

LISTED = FixedAccounts(frozenset({"111122223333", "444455556666", "999999999999"}))


def new_roles(
    source: RoleSource,
    metrics: Metrics | None = None,
    *,
    ttl: float = 300.0,
    max_stale: float = 0.0,
    rate: float = 1e6,
    timer: Callable[[], float] = time.monotonic,
    pages: RolePages | None = None,
    accounts: AccountList = LISTED,
    store: Store | None = None,
    places: WaitingPlaces | None = None,
    **more: Any,
) -> Roles:
    """Return calls to IAM with hardly a limit on their rate."""
    table = RoleTable(metrics or Metrics(), ttl=ttl, max_stale=max_stale, timer=timer)
    options = CallOptions(rate=rate, timer=timer, store=store, places=places or WaitingPlaces(), **more)
    return Roles(source, pages, table, accounts, options)
