"""Access key ids that STS has vouched for, and the account whose limits a call to STS counts against.

Before STS has answered, the account of a credential is only a hint, decoded from the key id. This hint selects the limits
and the budget for the call, and has no other effect. A key id that STS has vouched for is better evidence: a proxy signs
with the key of its session for hours, and an attacker who invents key ids does not know that key.
"""

import sys
import time
from typing import Final

from app.calls.budget import Priority
from app.core.key_account import account_of_key_id
from app.decision.authenticator import AccountList
from app.limits.ttl_cache import TtlCache
from app.local.clock import Timer

VOUCHED_KEYS: Final = 100_000
VOUCHED_SECONDS: Final = 24 * 3600.0
# All keys that name no listed account and that STS has not vouched for. Together they get the limits of one account.
OTHERS: Final = "others"


class KnownKeys:
    """Remembers the account of each key that STS has vouched for."""

    def __init__(self, accounts: AccountList, timer: Timer = time.monotonic) -> None:
        """Begin with no key.

        Args:
            accounts: the list of accounts; each listed account has its own limits.
            timer: seconds of a monotonic clock.
        """
        self._accounts = accounts
        self._keys: TtlCache[str] = TtlCache(VOUCHED_KEYS, timer)

    def vouch(self, key_id: str, account: str) -> None:
        """Remember that STS has vouched for a key, if its account is listed.

        STS vouches for the keys of every AWS account: keys of accounts that are not listed must not use the limits for known
        keys.
        """
        if account in self._accounts.current():
            self._keys.put(key_id, account, VOUCHED_SECONDS, owner=account)

    def account_of(self, key_id: str) -> str | None:
        """Return the listed account of a key that STS has vouched for, or None. The list may have changed since then."""
        account = self._keys.get(key_id)
        return account if account in self._accounts.current() else None

    def hint_of(self, key_id: str) -> str:
        """Return the listed account that a key id names, or `OTHERS`."""
        hint = account_of_key_id(key_id)
        # Interned: each queued call keeps the account, and most calls are of a few accounts.
        return OTHERS if hint is None or hint not in self._accounts.current() else sys.intern(hint)

    def owner_of(self, key_id: str) -> tuple[str, Priority]:
        """Return the account whose limits apply to a call with this key, and whether STS has vouched for the key."""
        account = self.account_of(key_id)
        return (self.hint_of(key_id), Priority.NEW) if account is None else (account, Priority.KNOWN)
