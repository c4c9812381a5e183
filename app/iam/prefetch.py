"""Read roles in pages before their proxies connect: one page replaces up to 100 ``GetRole`` calls.

The calls for pages run in the background, and wait in the same queue as all other calls to IAM. If the permission is missing
or IAM does not answer, the service reads each role when its proxies connect.
"""

import asyncio
import time
from typing import Final

from app.core.errors import UpstreamError
from app.core.iam_documents import RolePage
from app.core.reasons import Reason
from app.decision.authenticator import AccountList
from app.iam.calls import Roles
from app.iam.role_cache import REFRESH_AFTER, RoleKey
from app.iam.upstream import PAGE_SECONDS, ReadPage
from app.local.clock import Timer
from app.telemetry.audit import get_logger

# If an account's policy does not allow reading pages, the service tries again after this time.
DENIED_SECONDS: Final = 3600.0
ACCOUNTS_AT_ONCE: Final = 4
# An account has at most 5,000 roles, which are 50 full pages; IAM may make a page shorter.
MAX_PAGES: Final = 100


class RolePrefetch:
    """Keeps the roles of every listed account in the cache."""

    def __init__(
        self,
        roles: Roles,
        accounts: AccountList,
        *,
        partition: str,
        ttl: float,
        timer: Timer = time.monotonic,
    ) -> None:
        self._roles = roles
        self._accounts = accounts
        self._partition = partition
        self._pause = ttl * REFRESH_AFTER
        self._timer = timer
        self._denied_until: dict[str, float] = {}

    async def run(self) -> None:
        """Read all roles again and again, each time before their cache entries expire, until the task is cancelled."""
        while True:
            await self.read_all()
            await asyncio.sleep(self._pause)

    async def read_all(self) -> None:
        """Read the roles of every listed account once."""
        at_once = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

        async def read(account: str) -> None:
            async with at_once:
                await self._read_account(account)

        try:
            accounts = sorted(self._accounts.current())
        except UpstreamError:  # the file of accounts is invalid, which is logged elsewhere
            return
        await asyncio.gather(*(read(account) for account in accounts))

    async def _read_account(self, account: str) -> None:
        if self._timer() < self._denied_until.get(account, 0.0):
            return
        calls = kept = 0
        marker: str | None = None
        seen: set[str] = set()
        try:
            while calls == 0 or marker is not None:
                page, asked_at = await self._read_page(account, marker)
                calls, marker = calls + 1, page.marker
                kept += self._learn(account, page, asked_at)
                if marker is not None:
                    _require_progress(marker, seen, calls)
        except UpstreamError as error:
            if error.reason is Reason.IAM_ACCESS_DENIED:
                self._denied_until[account] = self._timer() + DENIED_SECONDS
            get_logger().info(
                "roles not read ahead",
                account=account,
                reason=error.reason.value,
                detail=error.detail,
                remedy="none is needed: each role is read when its proxies come; iam:GetAccountAuthorizationDetails would "
                "allow to read all of them at once",
            )
        else:
            get_logger().info("roles read ahead", account=account, roles=kept, calls=calls)

    async def _read_page(self, account: str, marker: str | None) -> ReadPage:
        deadline = asyncio.get_running_loop().time() + PAGE_SECONDS
        return await self._roles.read_page(account, marker, deadline)

    def _learn(self, account: str, page: RolePage, asked_at: float) -> int:
        """Cache the roles that belong to the account. Return the number of these roles."""
        return sum(
            self._roles.learn(RoleKey(self._partition, account, role.role_id, role.name), role, asked_at)
            for role in page.roles
        )


def _require_progress(marker: str, seen: set[str], calls: int) -> None:
    """Check that the pages of an account will come to an end.

    Raises:
        UpstreamError: ``iam_unavailable``: IAM repeated a marker, or sent more pages than an account can fill.
    """
    if marker in seen:
        raise UpstreamError(Reason.IAM_UNAVAILABLE, f"IAM repeated the marker of a page, after {calls} pages")
    if calls >= MAX_PAGES:
        raise UpstreamError(Reason.IAM_UNAVAILABLE, f"IAM has more than {MAX_PAGES} pages of roles")
    seen.add(marker)
