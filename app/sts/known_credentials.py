"""A cache of credentials by their exact text. What depends only on the text is computed only once.

A proxy presents the same text again in each stream that it opens. The cache key is a keyed digest of the whole text (I16).
The cache key reveals nothing about the text, and nobody can make two texts with the same cache key. A cache entry expires
with the signature (I17). The entry names the signer and contains no decision: every decision checks the time, the accounts,
the tags and what the proxy asserts.

Approved credentials have a separate cache. STS accepts credentials of every role of a listed account, even of roles that
belong to no proxy. Credentials of such roles never evict an approved credential. Two more caches contain credentials that
nobody may use here: those that STS denied, and those of strangers.
"""

import hashlib
import secrets
import sys
import time
from dataclasses import replace
from typing import Final

from app.core.known_credential import KnownCredential, RefusedCredential, RememberedCredential
from app.core.principal import Principal
from app.limits.ttl_cache import TtlCache
from app.local.clock import Clock, Timer
from app.telemetry.metrics import Metrics

# An entry takes about 850 bytes, or 920 if the session's key was known before. So both full caches take at most 120 MB. A
# proxy has one credential at a time.
MAX_KNOWN: Final = 100_000
# Credentials that are not approved yet. If many proxies connect at once, a credential can wait long for its role, and must
# not need a second call to STS.
MAX_UNAPPROVED: Final = 30_000
MAX_UNAPPROVED_OF_ACCOUNT: Final = 20_000
# Credentials that STS accepts, but whose account is not listed or whose principal is no role. Everybody can have such
# credentials, so they have a separate cache.
MAX_STRANGERS: Final = 10_000
MAX_DENIALS: Final = 20_000
# How long STS's denial of one exact credential is cached. The time is short: parts of AWS may not know a new key yet.
DENIAL_SECONDS: Final = 10.0
_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 32


class KnownCredentials:
    """Bounded caches of STS's answers about credentials."""

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
        self._clock = clock
        self._approved: TtlCache[KnownCredential] = TtlCache(max_known, timer)
        self._unapproved: TtlCache[KnownCredential] = TtlCache(
            max_unapproved, timer, most_of_one=max_unapproved_of_account
        )
        self._strangers: TtlCache[RememberedCredential] = TtlCache(MAX_STRANGERS, timer)
        self._denials: TtlCache[RefusedCredential] = TtlCache(MAX_DENIALS, timer)
        self._key = secrets.token_bytes(_KEY_BYTES)
        if metrics is not None:
            metrics.watch_cache("identity", self.__len__)

    def __len__(self) -> int:
        return len(self._approved) + len(self._unapproved)

    def key_of(self, credential: str) -> bytes:
        """Return the cache key of a text: a keyed digest of the whole text."""
        # JSON can contain text that is not valid Unicode. Such text is no credential, but it needs a cache key too.
        data = credential.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=_DIGEST_BYTES).digest()

    def recall(self, key: bytes) -> RememberedCredential | None:
        """Return the cached credential with this key, or None."""
        return (
            self._approved.get(key) or self._unapproved.get(key) or self._denials.get(key) or self._strangers.get(key)
        )

    def remember(self, known: KnownCredential) -> None:
        """Cache a credential until its signature expires."""
        left = known.signed_at + known.lifetime - self._clock()
        cache = self._approved if known.is_approved else self._unapproved
        cache.put(known.key, known, left.total_seconds(), owner=known.principal.account)

    def approve(self, known: KnownCredential) -> None:
        """Move a cached credential to the cache of approved credentials."""
        self._unapproved.drop(known.key)
        self._strangers.drop(known.key)  # the account may have been added to the list since then
        self.remember(replace(known, is_approved=True))

    def deny(self, refused: RefusedCredential, owner: str) -> None:
        """Cache for a short time that STS denied a credential (I18).

        Args:
            refused: the credential.
            owner: the account whose denials it may evict; its key id names the account.
        """
        self._denials.put(refused.key, refused, DENIAL_SECONDS, owner=owner)

    def remember_stranger(self, stranger: RememberedCredential, seconds: float) -> None:
        """Cache for so many seconds a credential whose account is not listed, or whose principal is no role."""
        self._strangers.put(stranger.key, stranger, seconds)


def share_texts(principal: Principal) -> Principal:
    """Return an equal principal whose texts are interned, so that all sessions of a role share them in memory."""
    return Principal(
        partition=sys.intern(principal.partition),
        account=sys.intern(principal.account),
        role=sys.intern(principal.role),
        role_id=sys.intern(principal.role_id),
        session=principal.session,
        request_id=principal.request_id,
    )
