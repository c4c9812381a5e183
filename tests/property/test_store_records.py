"""Records that replicas share: each is read back unchanged, and no other record is trusted."""

from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.records import (
    RecordError,
    decode_identity,
    decode_role,
    encode_identity,
    encode_role,
    frame,
)
from app.core.role_tags import RoleRecord
from app.store.sealing import NONCE_BYTES, SECRET_BYTES, Kind, SealError, derive_key, open_sealed, seal
from app.store.url import parse_store_url

bounded = settings(max_examples=200, deadline=None)

NOW = 1_795_500_000.0
SESSIONS = st.from_regex(r"[\w+=,.@-]{2,64}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KINDS: st.SearchStrategy[Kind] = st.sampled_from(["identity", "role"])


@st.composite
def identities(draw: st.DrawFn) -> CallerIdentity:
    account, session = draw(st.from_regex(r"[0-9]{12}", fullmatch=True)), draw(SESSIONS)
    return CallerIdentity(
        arn=parse_arn(f"arn:aws:sts::{account}:assumed-role/{draw(SESSIONS)}/{session}"),
        user_id=f"AROAEXAMPLE:{session}",
        request_id=draw(TEXTS),
    )


@bounded
@given(identities())
def test_an_identity_round_trips(identity: CallerIdentity) -> None:
    assert decode_identity(encode_identity(identity), partition="aws") == identity


@bounded
@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS)), TEXTS)
def test_a_role_round_trips(role_id: str, name: str, tags: list[tuple[str, str]], request_id: str) -> None:
    role = RoleRecord(
        arn="arn:aws:iam::111122223333:role/demo-app",
        role_id=role_id,
        name=name,
        tags=tuple(tags),
        request_id=request_id,
    )
    assert decode_role(encode_role(role)) == role


@bounded
@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_refused(payload: bytes) -> None:
    with suppress(RecordError):
        decode_identity(payload, partition="aws")
    with suppress(RecordError):
        decode_role(payload)


@bounded
@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_framing_is_one_to_one(left: list[bytes], right: list[bytes]) -> None:
    assert (frame(*left) == frame(*right)) == (left == right)


@bounded
@given(
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    KINDS,
    st.binary(max_size=60),
    st.binary(max_size=200),
    st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES),
    st.floats(0, 1000),
)
def test_what_is_sealed_opens_until_its_end(
    secret: bytes, kind: Kind, cache_key: bytes, payload: bytes, nonce: bytes, seconds: float
) -> None:
    key = derive_key(secret)
    record = seal(key, kind, cache_key, payload, written_at=NOW, expires_at=NOW + 500, nonce=nonce)
    try:
        opened = open_sealed(record, [key], kind, cache_key, now=NOW + seconds, max_seconds=500)
    except SealError:
        assert seconds >= 500
    else:
        assert seconds < 500
        assert opened.payload == payload


@bounded
@given(st.binary(max_size=300), KINDS)
def test_no_made_up_record_is_believed(record: bytes, kind: Kind) -> None:
    key = derive_key(bytes(range(32)))
    made_up = b"\1" + key.key_id + record
    for each in (record, made_up):
        with pytest.raises(SealError):
            open_sealed(each, [key], kind, b"key", now=NOW, max_seconds=500)


@bounded
@given(st.data())
def test_no_mix_of_two_records_is_believed(data: st.DataObject) -> None:
    """For example, one record of a role from before a change of its tags, and a current one."""
    key = derive_key(bytes(range(32)))
    old, new = (
        seal(key, "role", b"key", payload, written_at=NOW, expires_at=NOW + 500, nonce=nonce)
        for payload, nonce in ((b"old tags", b"o" * NONCE_BYTES), (b"new tags", b"n" * NONCE_BYTES))
    )
    at = data.draw(st.integers(0, len(old)))
    mixed = old[:at] + new[at:]
    assume(mixed not in (old, new))
    with pytest.raises(SealError):
        open_sealed(mixed, [key], "role", b"key", now=NOW, max_seconds=500)


@bounded
@given(st.text(max_size=60) | st.text("redis:/@%2F[]1.", max_size=60))
def test_a_url_of_a_store_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        parse_store_url(text)
    with suppress(ValueError):
        parse_store_url(f"redis://{text}")
