"""The work that the service does after its start: find its own credentials and its own account, and read roles ahead."""

import asyncio
from typing import Final

from app.iam.client import IamRoles
from app.iam.prefetch import RolePrefetch
from app.telemetry.audit import get_logger
from app.telemetry.readiness import Readiness

# The first and the longest pause between two searches for the service's own credentials or account. Each pause is twice as
# long as the pause before.
FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 5.0
# While the service's own credentials cannot be used, it looks this often whether they may be tried again.
RECOVER_SECONDS: Final = 1.0  # no bound: how soon a search begins that is due


async def prepare(
    iam: IamRoles,
    readiness: Readiness,
    prefetch: RolePrefetch | None,
    *,
    accounts: frozenset[str],
    has_reader_role: bool,
) -> None:
    """Find the service's own credentials and account, warn about accounts that cannot be read, and read roles ahead.

    If AWS does not answer, try again after a pause.

    Args:
        iam: the client of IAM.
        readiness: records that the service has credentials.
        prefetch: reads roles ahead; None if roles are not read ahead.
        accounts: the listed accounts.
        has_reader_role: whether the settings name a role that reads the roles of other accounts.
    """
    log = get_logger()
    pause = FIRST_RETRY_SECONDS
    while not await iam.obtain_credentials():
        log.warning("no AWS credentials yet", problem=iam.problem, remedy=readiness.explain(), retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST_RETRY_SECONDS)
    readiness.credentials_obtained = True
    pause = FIRST_RETRY_SECONDS
    while (own_account := await iam.own_account()) is None:
        log.warning("the service's own account could not be found out", problem=iam.problem, retry_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST_RETRY_SECONDS)
    log.info("own account", account=own_account)
    others = sorted(accounts - {own_account})
    if others and not has_reader_role:
        log.warning(
            "listed accounts cannot be read",
            accounts=others,
            remedy="set KMESH_AWSIAM_READER_ROLE_NAME to a role in each of them that this service may assume",
        )
    if prefetch is not None:
        await prefetch.run()


async def recover(iam: IamRoles) -> None:
    """Try the service's own credentials again while they cannot be used, even if no decision needs them.

    ``/ready`` and the metrics would otherwise report a fault that is over.
    """
    while True:
        await asyncio.sleep(RECOVER_SECONDS)
        if iam.must_recover:
            await iam.recover()
