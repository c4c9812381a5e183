"""Credentials by their exact text, so that what depends on their bytes alone is found out once.

A proxy presents the same text again at each stream that it opens. The key is a keyed digest of all of it (I16): it gives
nothing away, and nobody can make two texts that share one. What is remembered ends with the signature (I17), and says who
signed, never what was decided: time, accounts, tags and claim are looked at on every decision.

Credentials that were approved before are kept apart from all others. STS vouches for every role of a listed account, even
for a role of no proxy; credentials of such roles never evict one that was approved.
"""

import asyncio
import hashlib
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from app.adapters.expiring import ExpiringCache, Timer
from app.core.known_credential import KnownCredential
from app.core.principal import Principal
from app.errors import AuthError, OutOfTimeError
from app.metrics import Metrics
from app.reasons import Reason

# About 900 bytes for each entry: 120 MB when both caches are full. A proxy has one credential at a time.
MAX_KNOWN: Final = 100_000
# Credentials that were not approved, or not yet: in a storm they wait for their roles, and must not cost another STS call.
MAX_UNAPPROVED: Final = 30_000
MAX_UNAPPROVED_OF_ACCOUNT: Final = 20_000
_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 32

Clock = Callable[[], datetime]
# Nothing: whoever was finding out was not told.
_Outcome = KnownCredential | AuthError | None
_Places = Callable[[], AbstractContextManager[object] | None]


class _Introduction(NamedTuple):
    """A single flight: one decision evaluates a text, and others with the same text wait for the outcome.

    Attributes:
        told: the outcome, once there is one.
        places: returns the places that the waiting decisions take.
    """

    told: "asyncio.Future[_Outcome]"
    places: _Places


class KnownCredentials:
    """A bounded memory of credentials that STS has vouched for."""

    def __init__(self, clock: Clock, timer: Timer = time.monotonic, metrics: Metrics | None = None) -> None:
        self._clock = clock
        self._metrics = metrics
        self._approved: ExpiringCache[KnownCredential] = ExpiringCache(MAX_KNOWN, timer)
        self._unapproved: ExpiringCache[KnownCredential] = ExpiringCache(
            MAX_UNAPPROVED, timer, most_of_one=MAX_UNAPPROVED_OF_ACCOUNT
        )
        self._introductions: dict[bytes, _Introduction] = {}
        self._key = secrets.token_bytes(_KEY_BYTES)

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

    def remember(self, key: bytes, known: KnownCredential) -> KnownCredential:
        """Cache a credential until its signature ends, apart from approved ones; return what is cached."""
        kept = _compact(key, known)
        self._keep(kept)
        return kept

    def approve(self, known: KnownCredential) -> None:
        """Move a cached credential to the cache of approved ones."""
        self._unapproved.drop(known.key)
        self._keep(replace(known, is_approved=True))

    def _keep(self, known: KnownCredential) -> None:
        left = known.signed_at + known.lifetime - self._clock()
        cache = self._approved if known.is_approved else self._unapproved
        cache.put(known.key, known, left.total_seconds(), owner=known.principal.account)
        if self._metrics is not None:
            self._metrics.cache_size("identity", len(self))

    def is_introduced(self, key: bytes) -> bool:
        """Whether somebody is finding out about this text at this moment."""
        return key in self._introductions

    async def introduce(
        self,
        key: bytes,
        find_out: Callable[[], Awaitable[KnownCredential]],
        deadline: float,
        places: _Places = nullcontext,
    ) -> KnownCredential:
        """Evaluate a text once for all decisions that present it at the same time (single flight, I19).

        The first decision (the leader) runs ``find_out`` itself, without a task, since most texts come only once at a
        time. If the leader times out or is cancelled, the decisions that wait for it start again.

        Args:
            key: of the text.
            find_out: evaluates the text; bounds its own time.
            deadline: until when to wait for another decision's outcome, in seconds of the event loop's clock. If this
                decision becomes the leader itself, ``find_out`` bounds the time.
            places: returns the places that decisions waiting for this one take, as soon as its account is known.

        Raises:
            AuthError: as ``find_out`` does; the decisions that waited get the same error, and later ones do not.
            UpstreamError: ``overloaded``: there is no place to wait.
        """
        while (first := self._introductions.get(key)) is not None:
            try:
                with first.places() or nullcontext():
                    async with asyncio.timeout_at(deadline):
                        outcome = await asyncio.shield(first.told)
                if isinstance(outcome, AuthError):
                    raise outcome
                if outcome is not None:
                    return outcome
            except TimeoutError:
                detail = "somebody else was still finding out about this credential"
                raise OutOfTimeError(Reason.STS_UNAVAILABLE, detail) from None
            finally:
                # A failure's traceback holds this frame: what holds the failure would be left to the collector.
                first = outcome = None
            # Told nothing: the first one who looks again finds out for the others.
        return await self._introduce(key, find_out, places)

    async def _introduce(
        self, key: bytes, find_out: Callable[[], Awaitable[KnownCredential]], places: _Places
    ) -> KnownCredential:
        told: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._introductions[key] = _Introduction(told, places)
        outcome: _Outcome = None
        try:
            outcome = await find_out()
        except OutOfTimeError:
            raise  # it tells of one decision's time, and not of the credential
        except AuthError as error:
            outcome = error
            raise
        else:
            return outcome
        finally:
            del self._introductions[key]
            told.set_result(outcome)
            del told, outcome  # likewise


def _compact(key: bytes, known: KnownCredential) -> KnownCredential:
    """Share the texts that thousands of sessions of one role have in common."""
    principal = known.principal
    shared = Principal(
        partition=sys.intern(principal.partition),
        account=sys.intern(principal.account),
        role=sys.intern(principal.role),
        role_id=sys.intern(principal.role_id),
        session=principal.session,
        request_id=principal.request_id,
    )
    return KnownCredential(
        form=known.form, signed_at=known.signed_at, lifetime=known.lifetime, principal=shared, key=key
    )
