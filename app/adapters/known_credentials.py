"""Credentials by their exact text, so that what depends on their bytes alone is found out once.

A proxy presents the same text again at each stream that it opens. The key is a keyed digest of all of it (I16): it gives
nothing away, and nobody can make two texts that share one. What is remembered ends with the signature (I17), and says who
signed, never what was decided: time, accounts, tags and claim are looked at on every decision.
"""

import hashlib
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from app.adapters.expiring import ExpiringCache, Timer
from app.core.known_credential import KnownCredential
from app.metrics import Metrics

# About 900 bytes each: 90 MB when full. A proxy has one credential at a time.
MAX_KNOWN: Final = 100_000
_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 32

Clock = Callable[[], datetime]


class KnownCredentials:
    """A bounded memory of credentials that STS has vouched for."""

    def __init__(self, clock: Clock, timer: Timer = time.monotonic, metrics: Metrics | None = None) -> None:
        self._clock = clock
        self._metrics = metrics
        self._known: ExpiringCache[KnownCredential] = ExpiringCache(MAX_KNOWN, timer)
        self._key = secrets.token_bytes(_KEY_BYTES)

    def __len__(self) -> int:
        return len(self._known)

    def key_of(self, credential: str) -> bytes:
        """Return the key of a text: a keyed digest of all of it."""
        # Text that is no Unicode, as JSON can hold it, is no credential; it has a key all the same.
        data = credential.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=_DIGEST_BYTES).digest()

    def recall_key(self, key: bytes) -> KnownCredential | None:
        """Return what is known of the text of this key."""
        return self._known.get(key)

    def recall(self, credential: str) -> KnownCredential | None:
        """Return what is known of exactly this text."""
        return self.recall_key(self.key_of(credential))

    def remember(self, credential: str, known: KnownCredential) -> None:
        """Keep it until the end of its signature."""
        left = known.signed_at + known.lifetime - self._clock()
        self._known.put(self.key_of(credential), _compact(known), left.total_seconds())
        if self._metrics is not None:
            self._metrics.cache_size("identity", len(self._known))


def _compact(known: KnownCredential) -> KnownCredential:
    """Share the texts that thousands of sessions of one role have in common."""
    principal = replace(
        known.principal,
        partition=sys.intern(known.principal.partition),
        account=sys.intern(known.principal.account),
        role=sys.intern(known.principal.role),
        role_id=sys.intern(known.principal.role_id),
    )
    return replace(known, principal=principal)
