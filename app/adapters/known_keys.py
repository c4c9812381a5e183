"""Access key ids that STS has vouched for, and the limits that apply to a decision while it waits for STS.

Before STS has answered, the account of a credential is only a hint, decoded from the key id. This hint chooses the limits
and the budget that the call counts against, and decides nothing else. A key id that STS has vouched for is better
evidence: a proxy signs with the key of its session for hours, and an attacker who invents key ids does not know that key.
"""

import time
from typing import Final

from app.adapters.bulkhead import MAX_WAITING_KNOWN, MAX_WAITING_UNKNOWN, Bulkhead, Share
from app.adapters.expiring import ExpiringCache, Timer
from app.authenticator import AccountList
from app.core.forwarding import ForwardableRequest
from app.core.key_account import account_of_key_id

VOUCHED_KEYS: Final = 100_000
VOUCHED_SECONDS: Final = 24 * 3600.0
# The part of an account's budget that keys may use that STS has not vouched for.
STS_NEWCOMERS_SHARE: Final = 0.9
# All keys that name no listed account and that STS has not vouched for: together they get what one account gets.
OTHERS: Final = "others"


class KnownKeys:
    """Remembers the account of each key that STS has vouched for, and returns the waiting places for a request."""

    def __init__(
        self,
        accounts: AccountList,
        *,
        rate: float,
        known: Bulkhead | None = None,
        timer: Timer = time.monotonic,
    ) -> None:
        """Begin with no key.

        Args:
            accounts: each listed account has a limit of its own.
            rate: calls a second to STS, of one account in one region.
            known: the places of decisions about callers that STS has vouched for; None: places of its own.
            timer: seconds of a monotonic clock.
        """
        self._accounts = accounts
        self._rate = rate
        self._keys: ExpiringCache[str] = ExpiringCache(VOUCHED_KEYS, timer)
        self._unknown = Bulkhead("STS for keys not seen before", MAX_WAITING_UNKNOWN)
        self._known = known or Bulkhead("STS", MAX_WAITING_KNOWN)

    def vouch(self, key_id: str, account: str) -> None:
        """Remember that STS has vouched for a key.

        STS vouches for the keys of every AWS account: keys of accounts that are not listed must not use the limits for
        known keys.
        """
        if account in self._accounts.current():
            self._keys.put(key_id, account, VOUCHED_SECONDS, owner=account)

    def account_of(self, key_id: str) -> str | None:
        """Return the listed account of a key that STS has vouched for; the list may have changed since then."""
        account = self._keys.get(key_id)
        return account if account in self._accounts.current() else None

    def hint_of(self, key_id: str) -> str:
        """Return the listed account that a key id names, or `OTHERS`."""
        hint = account_of_key_id(key_id)
        return OTHERS if hint is None or hint not in self._accounts.current() else hint

    def share_of(self, request: ForwardableRequest) -> Share:
        """Return the places that a decision about this request waits in."""
        key_id = request.request.access_key_id
        account = self.account_of(key_id)
        if account is not None:
            return Share(self._known, account, self._rate)
        return Share(self._unknown, self.hint_of(key_id), self._rate * STS_NEWCOMERS_SHARE)
