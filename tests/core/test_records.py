import json
from collections.abc import Callable
from typing import Any

import pytest

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

ACCOUNT = "111122223333"
IDENTITY = CallerIdentity(
    arn=parse_arn(f"arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/4f1c"),
    user_id="AROAEXAMPLEEXAMPLE01:4f1c",
    request_id="r-1",
)
ROLE = RoleRecord(
    arn=f"arn:aws:iam::{ACCOUNT}:role/mesh/demo-app",
    role_id="AROAEXAMPLEEXAMPLE01",
    name="demo-app",
    tags=(("kuma.io/type", "dataplane"), ("KUMA.IO/type", "ingress"), ("team", "mésh 🛸")),
    request_id="i-1",
)

Decode = Callable[[bytes], object]


def identity(payload: bytes) -> CallerIdentity:
    return decode_identity(payload, partition="aws")


def changed(payload: bytes, **members: Any) -> bytes:
    return json.dumps(json.loads(payload) | members).encode()


def without(payload: bytes, name: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(payload).items() if key != name}).encode()


def test_an_identity_comes_back_as_it_was() -> None:
    assert identity(encode_identity(IDENTITY)) == IDENTITY


def test_a_role_comes_back_as_it_was_with_every_tag_in_its_order() -> None:
    assert decode_role(encode_role(ROLE)) == ROLE


def test_what_is_written_is_plain_ascii() -> None:
    assert encode_role(ROLE).isascii()


BOTH = [
    pytest.param(identity, encode_identity(IDENTITY), id="identity"),
    pytest.param(decode_role, encode_role(ROLE), id="role"),
]


@pytest.mark.parametrize(("decode", "payload"), BOTH)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _payload: b"", id="nothing"),
        pytest.param(lambda payload: payload[:-1], id="cut"),
        pytest.param(lambda payload: payload + b"{}", id="something-behind"),
        pytest.param(lambda payload: b"[" + payload + b"]", id="a-list"),
        pytest.param(lambda payload: payload.decode().encode("utf-16"), id="utf-16"),
        pytest.param(lambda payload: payload[:-1] + b',"arn":"x"}', id="a-member-twice"),
        pytest.param(lambda payload: changed(payload, more="x"), id="one-more-member"),
        pytest.param(lambda payload: without(payload, "arn"), id="one-member-less"),
        pytest.param(lambda payload: without(payload, "request_id"), id="no-request-id"),
        pytest.param(lambda payload: changed(payload, arn=None), id="null"),
        pytest.param(lambda payload: changed(payload, request_id=1), id="a-number"),
        pytest.param(lambda payload: changed(payload, arn="demo-app"), id="no-arn"),
        pytest.param(lambda _payload: b"[" * 100_000, id="deep"),
    ],
)
def test_what_is_not_quite_a_record_is_refused(decode: Decode, payload: bytes, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(RecordError):
        decode(spoil(payload))


def test_one_kind_is_not_read_as_the_other() -> None:
    with pytest.raises(RecordError):
        identity(encode_role(ROLE))
    with pytest.raises(RecordError):
        decode_role(encode_identity(IDENTITY))


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"account": "444455556666"}, id="another-account"),
        pytest.param({"account": "11112222333", "arn": "arn:aws:sts::11112222333:assumed-role/a/4f1c"}, id="11-digits"),
        pytest.param({"user_id": "AROAEXAMPLEEXAMPLE01:another"}, id="another-session"),
        pytest.param({"arn": f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/demo-app/4f1c"}, id="another-partition"),
    ],
)
def test_an_identity_is_held_together_like_a_fresh_one(members: dict[str, str]) -> None:
    """I10 applies also to an identity from the store: ARN, account and user id must agree."""
    with pytest.raises(RecordError):
        identity(changed(encode_identity(IDENTITY), **members))


def test_an_identity_is_held_to_the_partition_that_was_asked() -> None:
    with pytest.raises(RecordError):
        decode_identity(encode_identity(IDENTITY), partition="aws-cn")


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({"kuma.io/type": "dataplane"}, id="an-object"),
        pytest.param("kuma.io/type", id="a-text"),
        pytest.param(None, id="null"),
        pytest.param(["ab"], id="a-text-of-two-letters"),
        pytest.param([["kuma.io/type"]], id="one-part"),
        pytest.param([["kuma.io/type", "dataplane", "x"]], id="three-parts"),
        pytest.param([["kuma.io/type", None]], id="null-value"),
        pytest.param([[1, "dataplane"]], id="a-number"),
        pytest.param([{"Key": "kuma.io/type", "Value": "dataplane"}], id="as-iam-writes-them"),
    ],
)
def test_tags_are_pairs_of_texts(tags: Any) -> None:
    with pytest.raises(RecordError):
        decode_role(changed(encode_role(ROLE), tags=tags))


def test_a_role_may_have_no_tags() -> None:
    assert decode_role(changed(encode_role(ROLE), tags=[])).tags == ()


def test_errors_hold_nothing_of_what_was_read() -> None:
    with pytest.raises(RecordError) as raised:
        identity(changed(encode_identity(IDENTITY), user_id="canary:x"))
    assert "canary" not in str(raised.value)


def test_no_two_lists_of_parts_are_framed_alike() -> None:
    lists = [(), ("",), ("", ""), ("ab",), ("a", "b"), ("", "ab"), ("ab", ""), ("\0\0\0\1a",), ("a", b"\xff")]
    assert len({frame(*parts) for parts in lists}) == len(lists)
    assert frame("a", "b") == frame(b"a", b"b") == b"\0\0\0\1a\0\0\0\1b"
