"""Seal records for an untrusted store: an attacker with access to it can neither read, make, swap nor revive a record.

A record is encrypted and authenticated with AES-256-GCM-SIV (RFC 8452), bound to this format, its kind, its whole cache key
and the key that sealed it. The record contains its times of writing and expiry. So an attacker who controls the store can
only remove records, or put back an old record of the same cache key until that record expires.

Why GCM-SIV and not GCM: every replica writes, with random nonces of 96 bits, as long as the key is in use. With GCM, one
repeated nonce breaks the authentication, and a key is limited to 2^32 records. With GCM-SIV, a repeated nonce only reveals
whether two records of one key are equal.

The functions are pure: time and nonce are parameters. They are not in `app.core` because they need the library
`cryptography`, which takes 7 MB. A service without a store does not load it.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from app.core.records import frame
from app.core.request_policy import MAX_FUTURE_SKEW, MAX_LIFETIME

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

Kind = Literal["identity", "role"]

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12
# A credential may be dated 5 minutes in the future, and lives 15 minutes from its date.
MAX_IDENTITY_SECONDS: Final = (MAX_LIFETIME + MAX_FUTURE_SKEW).total_seconds()
# The tolerated difference between the clocks of two replicas. AWS allows five minutes; NTP keeps clocks within milliseconds.
MAX_SKEW_SECONDS: Final = 10.0

_VERSION: Final = 1
_KEY_ID_BYTES: Final = 8
_CONTEXT: Final = "kuma-aws-iam store 1"
_HEADER: Final = struct.Struct(f">B{_KEY_ID_BYTES}s{NONCE_BYTES}s")
# Milliseconds since the epoch: the time of writing, and the expiry.
_TIMES: Final = struct.Struct(">QQ")
_MILLISECONDS: Final = 1000


class Fault(StrEnum):
    """Why a record is rejected."""

    MALFORMED = "malformed"
    OTHER_VERSION = "of another version"
    UNKNOWN_KEY = "sealed with a key that is not known"
    NOT_AUTHENTIC = "not authentic"
    FROM_THE_FUTURE = "written in the future"
    TOO_LONG_LIVED = "lives longer than its kind may"
    EXPIRED = "expired"
    REVIVED = "expired long ago"


class SealError(ValueError):
    """A record is rejected; ``fault`` says why. The error contains nothing of the record."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The keys that are derived from one secret of the operator.

    Attributes:
        key_id: the identifier of the secret; records contain it, and it reveals nothing about the secret.
        aead: the cipher that seals and opens records.
        name_key: the key for the names of records.
    """

    key_id: bytes
    aead: "AESGCMSIV" = field(repr=False)
    name_key: bytes = field(repr=False)

    def name(self, kind: str, cache_key: bytes) -> str:
        """Return the name of a record in the store.

        It is the same on every replica, and reveals nothing about the cache key.
        """
        return hashlib.blake2b(frame(_CONTEXT, kind, cache_key), key=self.name_key, digest_size=32).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A record that a replica of this service wrote under this cache key and that has not expired.

    Attributes:
        payload: the sealed content.
        written_at: the time of writing by the writer's clock, in seconds since the epoch.
        expires_at: the expiry by the writer's clock, in seconds since the epoch.
        opened_at: the time of opening by this host's clock, in seconds since the epoch.
    """

    payload: bytes = field(repr=False)
    written_at: float
    expires_at: float
    opened_at: float

    @property
    def age(self) -> float:
        """The age of the record in seconds; never negative, even if the clocks of two replicas differ."""
        return max(0.0, self.opened_at - self.written_at)

    @property
    def remaining(self) -> float:
        """The remaining lifetime of the record in seconds; always positive."""
        return self.expires_at - self.opened_at


def derive_key(secret: bytes) -> SealingKey:
    """Derive the keys from one secret of `SECRET_BYTES` random bytes (HKDF, RFC 5869).

    Raises:
        UnsupportedAlgorithm: `cryptography` uses an OpenSSL older than 3.2. The wheels of `cryptography` have a newer one.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV  # noqa: PLC0415 - see above

    return SealingKey(
        key_id=_derive(secret, "id", _KEY_ID_BYTES),
        aead=AESGCMSIV(_derive(secret, "seal", SECRET_BYTES)),
        name_key=_derive(secret, "name", SECRET_BYTES),
    )


def seal(
    key: SealingKey, kind: Kind, cache_key: bytes, payload: bytes, *, written_at: float, expires_at: float, nonce: bytes
) -> bytes:
    """Seal a payload.

    Args:
        key: the key that currently seals.
        kind: the kind of the record.
        cache_key: the whole cache key; the seal authenticates it, and the record does not contain it.
        payload: the content of the record.
        written_at: the current time, in seconds since the epoch.
        expires_at: the expiry; rounded down, so that the record never lives longer.
        nonce: `NONCE_BYTES` random bytes, used only for this record.
    """
    times = _TIMES.pack(math.ceil(written_at * _MILLISECONDS), math.floor(expires_at * _MILLISECONDS))
    sealed = key.aead.encrypt(nonce, times + payload, _bound(key, kind, cache_key))
    return _HEADER.pack(_VERSION, key.key_id, nonce) + sealed


def open_sealed(
    sealed: bytes, keys: Iterable[SealingKey], kind: Kind, cache_key: bytes, *, now: float, max_seconds: float
) -> Opened:
    """Open a record of this kind and cache key.

    Args:
        sealed: the bytes from the store; untrusted.
        keys: the keys that are currently accepted.
        kind: the requested kind.
        cache_key: the requested cache key, whole.
        now: the current time, in seconds since the epoch.
        max_seconds: how long a record of this kind may live.

    Raises:
        SealError: the record is rejected.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see above

    if len(sealed) < _HEADER.size:
        raise SealError(Fault.MALFORMED)
    version, key_id, nonce = _HEADER.unpack_from(sealed)
    if version != _VERSION:
        raise SealError(Fault.OTHER_VERSION)
    key = _by_id(keys).get(key_id)
    if key is None:
        raise SealError(Fault.UNKNOWN_KEY)
    try:
        inner = key.aead.decrypt(nonce, sealed[_HEADER.size :], _bound(key, kind, cache_key))
    except (InvalidTag, ValueError) as error:
        raise SealError(Fault.NOT_AUTHENTIC) from error
    if len(inner) < _TIMES.size:
        raise SealError(Fault.MALFORMED)
    written, expires = _TIMES.unpack_from(inner)
    if (expires - written) / _MILLISECONDS > max_seconds:
        raise SealError(Fault.TOO_LONG_LIVED)
    opened = Opened(
        payload=inner[_TIMES.size :],
        written_at=written / _MILLISECONDS,
        expires_at=expires / _MILLISECONDS,
        opened_at=now,
    )
    _require_in_time(opened)
    return opened


def _require_in_time(opened: Opened) -> None:
    """Check the times by this host's clock. The store deletes expired records itself, but it is not trusted to do so."""
    if opened.written_at > opened.opened_at + MAX_SKEW_SECONDS:
        raise SealError(Fault.FROM_THE_FUTURE)
    if opened.remaining <= -MAX_SKEW_SECONDS:
        raise SealError(Fault.REVIVED)
    if opened.remaining <= 0:
        raise SealError(Fault.EXPIRED)


def _bound(key: SealingKey, kind: Kind, cache_key: bytes) -> bytes:
    return frame(_CONTEXT, bytes([_VERSION]), key.key_id, kind, cache_key)


def _by_id(keys: Iterable[SealingKey]) -> Mapping[bytes, SealingKey]:
    return {key.key_id: key for key in keys}


def _derive(secret: bytes, purpose: str, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - likewise

    return HKDF(SHA256(), length, salt=None, info=f"{_CONTEXT}: {purpose}".encode()).derive(secret)
