"""A writer to the store can delete records, but cannot create, exchange or restore one."""

import struct
from itertools import pairwise

import pytest

from app.core.request_policy import MAX_FUTURE_SKEW, MAX_LIFETIME
from app.store.sealing import (
    MAX_IDENTITY_SECONDS,
    MAX_SKEW_SECONDS,
    NONCE_BYTES,
    Fault,
    Kind,
    Opened,
    SealError,
    SealingKey,
    derive_key,
    open_sealed,
    seal,
)

NOW = 1_795_500_000.0
SECRET, OTHER_SECRET = bytes(range(32)), bytes(range(32, 64))
KEY, OTHER_KEY = derive_key(SECRET), derive_key(OTHER_SECRET)
CACHE_KEY = b"partition aws, account 111122223333"
PAYLOAD = b'{"canary":"what STS said"}'
NONCE = b"only once..."


def sealed(
    *,
    key: SealingKey = KEY,
    kind: Kind = "identity",
    cache_key: bytes = CACHE_KEY,
    payload: bytes = PAYLOAD,
    written_at: float = NOW,
    expires_at: float = NOW + 600,
    nonce: bytes = NONCE,
) -> bytes:
    return seal(key, kind, cache_key, payload, written_at=written_at, expires_at=expires_at, nonce=nonce)


def opened(
    record: bytes,
    *,
    keys: tuple[SealingKey, ...] = (KEY,),
    kind: Kind = "identity",
    cache_key: bytes = CACHE_KEY,
    now: float = NOW + 1,
    max_seconds: float = 900,
) -> Opened:
    return open_sealed(record, keys, kind, cache_key, now=now, max_seconds=max_seconds)


def fault(record: bytes, **asked: object) -> Fault:
    with pytest.raises(SealError) as raised:
        opened(record, **asked)  # type: ignore[arg-type]
    return raised.value.fault


def test_a_record_opens_with_what_it_was_bound_to() -> None:
    record = opened(sealed())
    assert (record.payload, record.written_at, record.expires_at) == (PAYLOAD, NOW, NOW + 600)
    assert (record.age, record.remaining) == (1, 599)


def test_a_record_shows_nothing_of_what_is_in_it() -> None:
    record = sealed()
    assert PAYLOAD not in record
    assert CACHE_KEY not in record
    assert struct.pack(">Q", int(NOW * 1000)) not in record
    assert "canary" not in repr(opened(record))


def test_no_changed_byte_is_believed() -> None:
    record = sealed()
    for at in range(len(record)):
        for bit in range(8):
            changed = record[:at] + bytes([record[at] ^ 1 << bit]) + record[at + 1 :]
            assert fault(changed) in {Fault.OTHER_VERSION, Fault.UNKNOWN_KEY, Fault.NOT_AUTHENTIC}


def test_no_cut_or_longer_record_is_believed() -> None:
    record = sealed()
    for length in range(len(record)):
        assert fault(record[:length]) in {Fault.MALFORMED, Fault.NOT_AUTHENTIC}
    assert fault(record + b"\0") is Fault.NOT_AUTHENTIC


def test_a_record_of_one_cache_key_is_none_of_another() -> None:
    assert fault(sealed(), cache_key=CACHE_KEY + b"4") is Fault.NOT_AUTHENTIC
    assert fault(sealed(), cache_key=b"") is Fault.NOT_AUTHENTIC


def test_a_record_of_one_kind_is_none_of_another() -> None:
    assert fault(sealed(kind="role"), kind="identity") is Fault.NOT_AUTHENTIC
    assert fault(sealed(kind="identity"), kind="role") is Fault.NOT_AUTHENTIC


def test_kind_and_cache_key_do_not_run_into_one_another() -> None:
    record = sealed(kind="role", cache_key=b"x")
    assert fault(record, kind="rol", cache_key=b"ex") is Fault.NOT_AUTHENTIC


def test_a_record_of_another_version_is_not_read() -> None:
    assert fault(b"\2" + sealed()[1:]) is Fault.OTHER_VERSION


def test_a_key_that_was_taken_out_opens_nothing() -> None:
    assert fault(sealed(key=OTHER_KEY)) is Fault.UNKNOWN_KEY
    assert fault(sealed(), keys=()) is Fault.UNKNOWN_KEY


def test_a_record_does_not_open_by_saying_another_keys_id() -> None:
    record = sealed(key=OTHER_KEY)
    claimed = record[:1] + KEY.key_id + record[1 + len(KEY.key_id) :]
    assert fault(claimed, keys=(KEY, OTHER_KEY)) is Fault.NOT_AUTHENTIC


@pytest.mark.parametrize("keys", [(KEY, OTHER_KEY), (OTHER_KEY, KEY)])
def test_while_keys_are_exchanged_both_open(keys: tuple[SealingKey, ...]) -> None:
    assert opened(sealed(key=KEY), keys=keys).payload == PAYLOAD
    assert opened(sealed(key=OTHER_KEY), keys=keys).payload == PAYLOAD


def test_a_record_ends_at_its_time_whatever_the_store_keeps() -> None:
    record = sealed(expires_at=NOW + 600)
    assert opened(record, now=NOW + 599.999).remaining > 0
    assert fault(record, now=NOW + 600) is Fault.EXPIRED
    assert fault(record, now=NOW + 600 + MAX_SKEW_SECONDS - 0.001) is Fault.EXPIRED


def test_an_ended_record_that_is_put_back_is_told_from_one_that_has_just_ended() -> None:
    assert fault(sealed(), now=NOW + 600 + MAX_SKEW_SECONDS) is Fault.REVIVED
    assert fault(sealed(), now=NOW + 10_000_000) is Fault.REVIVED


def test_a_record_is_not_written_in_the_future() -> None:
    """Except for the difference between the clocks of two replicas; then the record counts as new."""
    record = sealed()
    assert opened(record, now=NOW - MAX_SKEW_SECONDS).age == 0
    assert fault(record, now=NOW - MAX_SKEW_SECONDS - 0.001) is Fault.FROM_THE_FUTURE


def test_a_record_lives_no_longer_than_its_kind_may() -> None:
    assert opened(sealed(expires_at=NOW + 900), max_seconds=900).remaining == 899
    assert fault(sealed(expires_at=NOW + 900.001), max_seconds=900) is Fault.TOO_LONG_LIVED


def test_a_record_that_ends_before_it_begins_has_ended() -> None:
    assert fault(sealed(expires_at=NOW - 1), now=NOW) is Fault.EXPIRED


def test_an_identity_may_live_as_long_as_its_signature() -> None:
    assert MAX_LIFETIME.total_seconds() + MAX_FUTURE_SKEW.total_seconds() == MAX_IDENTITY_SECONDS == 1200


def test_rounding_never_lengthens_a_life() -> None:
    record = opened(sealed(written_at=NOW + 0.0004, expires_at=NOW + 0.9996), now=NOW + 0.5)
    assert record.written_at >= NOW + 0.0004
    assert record.expires_at <= NOW + 0.9996


def test_another_nonce_gives_another_record() -> None:
    assert sealed(nonce=bytes(NONCE_BYTES)) != sealed(nonce=NONCE)


def test_what_is_authentic_and_too_short_for_its_times_is_malformed() -> None:
    record = sealed()
    bound = KEY.aead.encrypt(NONCE, b"short", _associated(record))
    assert fault(record[: 1 + 8 + NONCE_BYTES] + bound) is Fault.MALFORMED


def _associated(record: bytes) -> bytes:
    """The data to which a record is bound, computed independently of the code under test."""
    parts = [b"kuma-aws-iam store 1", b"\1", record[1:9], b"identity", CACHE_KEY]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


# The keys.


def test_every_replica_derives_the_same_from_one_secret() -> None:
    again = derive_key(SECRET)
    assert (again.key_id, again.name("role", CACHE_KEY)) == (KEY.key_id, KEY.name("role", CACHE_KEY))
    assert opened(sealed(key=again)).payload == PAYLOAD


def test_what_is_derived_differs_by_secret_and_purpose() -> None:
    derived = [SECRET, KEY.name_key, KEY.key_id * 4, OTHER_SECRET, OTHER_KEY.name_key, OTHER_KEY.key_id * 4]
    assert len(set(derived)) == len(derived)


def test_a_name_depends_on_key_kind_and_cache_key_and_shows_none() -> None:
    names = [
        KEY.name("identity", CACHE_KEY),
        KEY.name("role", CACHE_KEY),
        KEY.name("role", CACHE_KEY + b"4"),
        KEY.name("rol", b"e" + CACHE_KEY),
        OTHER_KEY.name("role", CACHE_KEY),
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in names)
    assert all(a[:8] != b[:8] for a, b in pairwise(names))


def test_no_repr_holds_a_key() -> None:
    assert repr(KEY) == f"SealingKey(key_id={KEY.key_id!r})"
