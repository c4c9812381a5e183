"""Access key ids that STS has accepted, and the account whose limits apply to a call to STS.

Before STS has answered, the account that the service decodes from the key id is only a hint. The hint selects the limits and
the budget for the call, and has no other effect. A key id that STS has accepted is better evidence: a proxy signs with the
key of its session for hours, and an attacker who invents key ids does not know this key id.
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
# The owner of all keys that name no listed account and that STS has not accepted. Together they have the limits of one
# account.
OTHERS: Final = "others"


class KnownKeys:
    """A cache of the account of each access key id that STS has accepted. Each listed account has its own limits."""

    def __init__(self, accounts: AccountList, timer: Timer = time.monotonic) -> None:
        self._accounts = accounts
        self._keys: TtlCache[str] = TtlCache(VOUCHED_KEYS, timer)

    def vouch(self, key_id: str, account: str) -> None:
        """Record that STS has accepted a key, if the key's account is listed.

        STS accepts keys of every AWS account, but a key of an account that is not listed must not use the limits for known
        keys.
        """
        if account in self._accounts.current():
            self._keys.put(key_id, account, VOUCHED_SECONDS, owner=account)

    def account_of(self, key_id: str) -> str | None:
        """Return the account of a key that STS has accepted, or None. The account must still be listed."""
        account = self._keys.get(key_id)
        return account if account in self._accounts.current() else None

    def hint_of(self, key_id: str) -> str:
        """Return the listed account that a key id names, or `OTHERS`."""
        hint = account_of_key_id(key_id)
        # Interning saves memory: each queued call refers to its account's text, and most calls are of a few accounts.
        return OTHERS if hint is None or hint not in self._accounts.current() else sys.intern(hint)

    def owner_of(self, key_id: str) -> tuple[str, Priority]:
        """Return the account whose limits apply to a call with this key, and `Priority.KNOWN` if STS accepted the key."""
        account = self.account_of(key_id)
        return (self.hint_of(key_id), Priority.NEW) if account is None else (account, Priority.KNOWN)
