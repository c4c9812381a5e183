"""The calls to IAM, with an IAM in memory."""

from typing import Any

from app.calls.options import CallOptions
from app.decision.authenticator import AccountList
from app.iam.calls import Roles
from app.iam.role_cache import RoleTable, TableSizes
from app.settings.accounts import FixedAccounts
from app.telemetry.metrics import Metrics

LISTED = FixedAccounts(frozenset({"111122223333", "444455556666", "999999999999"}))


def new_roles(
    source: Any,
    metrics: Metrics | None = None,
    *,
    ttl: float = 300.0,
    max_stale: float = 0.0,
    accounts: AccountList = LISTED,
    sizes: TableSizes | None = None,
    **options: Any,
) -> Roles:
    """Return calls to IAM with hardly a limit on their rate; the other options are those of `CallOptions`."""
    made = CallOptions(**{"rate": 1e6, **options})
    table = RoleTable(metrics or Metrics(), ttl=ttl, max_stale=max_stale, timer=made.timer, sizes=sizes or TableSizes())
    return Roles(source, table, accounts, made)
