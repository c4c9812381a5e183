"""Credentials by their exact text, so that what depends on their bytes alone is found out once.

A proxy presents the same text again at each stream that it opens. The key is a keyed digest of all of it (I16): it gives
nothing away, and nobody can make two texts that share one. What is remembered ends with the signature (I17), and says who
signed, never what was decided: time, accounts, tags and claim are looked at on every decision.

Credentials that were approved before are kept apart from all others. STS vouches for every role of a listed account, even
for a role of no proxy; credentials of such roles never evict one that was approved.
"""

import hashlib
import secrets
import sys
import time
from dataclasses import replace
from typing import Final

from app.core.known_credential import KnownCredential
from app.core.principal import Principal
from app.limits.ttl_cache import TtlCache
from app.local.clock import Clock, Timer
from app.telemetry.metrics import Metrics

# About 820 bytes for each entry: 107 MB when both caches are full. A proxy has one credential at a time.
MAX_KNOWN: Final = 100_000
# Credentials that were not approved, or not yet: in a storm they wait for their roles, and must not cost another STS call.
MAX_UNAPPROVED: Final = 30_000
MAX_UNAPPROVED_OF_ACCOUNT: Final = 20_000
_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 32


class KnownCredentials:
    """A bounded memory of credentials that STS has vouched for."""

    def __init__(
        self,
        clock: Clock,
        timer: Timer = time.monotonic,
        metrics: Metrics | None = None,
        *,
        max_known: int = MAX_KNOWN,
        max_unapproved: int = MAX_UNAPPROVED,
        max_unapproved_of_account: int = MAX_UNAPPROVED_OF_ACCOUNT,
    ) -> None:
        """Know nothing yet.

        Args:
            clock: tells when a signature ends.
            timer: seconds of a monotonic clock.
            metrics: shows the size.
            max_known: number of credentials that were approved.
            max_unapproved: number of all others.
            max_unapproved_of_account: number of those of one account.
        """
        self._clock = clock
        self._approved: TtlCache[KnownCredential] = TtlCache(max_known, timer)
        self._unapproved: TtlCache[KnownCredential] = TtlCache(
            max_unapproved, timer, most_of_one=max_unapproved_of_account
        )
        self._key = secrets.token_bytes(_KEY_BYTES)
        if metrics is not None:
            metrics.watch_cache("identity", self.__len__)

    def __len__(self) -> int:
        return len(self._approved) + len(self._unapproved)

    def key_of(self, credential: str) -> bytes:
        """Return the key of a text: a keyed digest of all of it."""
        # Text that is no Unicode, as JSON can hold it, is no credential; it has a key all the same.
        data = credential.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=_DIGEST_BYTES).digest()

    def recall(self, key: bytes) -> KnownCredential | None:
        """Return what is known of the text of this key."""
        return self._approved.get(key) or self._unapproved.get(key)

    def remember(self, known: KnownCredential) -> None:
        """Cache a credential until its signature ends, apart from approved ones."""
        self._keep(known)

    def approve(self, known: KnownCredential) -> None:
        """Move a cached credential to the cache of approved ones."""
        self._unapproved.drop(known.key)
        self._keep(replace(known, is_approved=True))

    def _keep(self, known: KnownCredential) -> None:
        left = known.signed_at + known.lifetime - self._clock()
        cache = self._approved if known.is_approved else self._unapproved
        cache.put(known.key, known, left.total_seconds(), owner=known.principal.account)


def share_texts(principal: Principal) -> Principal:
    """Return an equal principal that holds once in memory what thousands of sessions of one role have in common."""
    return Principal(
        partition=sys.intern(principal.partition),
        account=sys.intern(principal.account),
        role=sys.intern(principal.role),
        role_id=sys.intern(principal.role_id),
        session=principal.session,
        request_id=principal.request_id,
    )
