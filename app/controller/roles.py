"""The service's client of IAM for the controller: from the service's own settings to `RoleIdentities`."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from app.controller.ecs import EcsTasks
from app.controller.parts import Shared
from app.controller.role_identities import RoleIdentities, RolePolicy
from app.core.proxy import ProxyType
from app.core.role_grant import GrantPolicy
from app.http.network import open_pool
from app.iam.client import IamRoles
from app.settings.accounts import FileAccounts, FixedAccounts
from app.settings.environment import Settings
from app.settings.options import iam_options, network_options
from app.settings.policy import grant_options
from app.settings.watch import FileWatch
from app.telemetry.metrics import Metrics


@contextlib.asynccontextmanager
async def open_role_identities(
    settings: Settings, ecs: EcsTasks, shared: Shared, *, once: bool
) -> AsyncIterator[tuple[RoleIdentities, list[FileWatch]]]:
    """Make the client inside the running event loop, and close it at the end. Yield also the files to watch.

    With ``once``, the one pass reads all roles. Otherwise each pass reads some, so that waiting tasks do not wait for all.
    """
    network = network_options(settings)
    pool = open_pool(network)
    # The metrics of the service are not exposed; those of the controller count the calls.
    metrics = Metrics()
    roles = IamRoles(iam_options(settings), pool, network, metrics)
    accounts: FixedAccounts | FileAccounts = FixedAccounts(settings.authorized_accounts)
    if settings.accounts_file is not None:
        accounts = FileAccounts(settings.accounts_file, metrics, settings.check_accounts)
    policy = RolePolicy(
        grant=replace(GrantPolicy(**grant_options(settings)), enabled_types=frozenset({ProxyType.DATAPLANE})),
        accounts=accounts,
        partition=settings.partition,
        ttl=settings.role_ttl,
        rate=settings.iam_rate,
        **({"calls_of_a_pass": float("inf")} if once else {}),
    )
    try:
        yield (
            RoleIdentities(ecs, roles, policy, shared),
            [accounts.watch] if isinstance(accounts, FileAccounts) else [],
        )
    finally:
        roles.close()
        await pool.close()
