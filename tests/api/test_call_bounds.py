"""Limits on lists in a call, and the cost of refusing a call that exceeds them: one pass, one error (I20, I26)."""

import contextlib
import json
import sys
import tracemalloc
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.authenticate import MAX_BODY_BYTES
from app.api.call_bounds import MAX_LABELS, MAX_TAGS, MAX_VALUES_OF_A_TAG, read_call
from app.api.schemas import MAX_VALUES, parse_call
from app.core.errors import RequestError
from app.core.proxy import SERVICE_TAG, ProxyAssertion
from app.core.reasons import Reason

PROXY = {"type": "dataplane", "mesh": "default"}


def body(**members: Any) -> bytes:
    return json.dumps({"credential": "x", "proxy": {**PROXY, **members}}, separators=(",", ":")).encode()


def raw(text: str) -> bytes:
    """Return a body whose proxy has a member that is written as given."""
    return body()[:-2] + b"," + text.encode() + b"}}"


def read(text: bytes) -> ProxyAssertion:
    _, proxy = parse_call(text)
    assert proxy is not None
    return proxy


def fault(text: bytes) -> RequestError:
    with pytest.raises(RequestError) as raised:
        parse_call(text)
    assert raised.value.reason is Reason.MALFORMED_REQUEST
    return raised.value


def repeated(item: str, bytes_: int = 62_000) -> str:
    return ",".join([item] * (bytes_ // (len(item) + 1)))


def numbered(value: str, number: int) -> str:
    return ",".join(f'"{each:x}":{value}' for each in range(number))


# The bounds.


def test_the_bounds_are_those_of_the_documentation() -> None:
    assert (MAX_TAGS, MAX_LABELS, MAX_VALUES_OF_A_TAG) == (256, 256, 64)


@pytest.mark.parametrize(
    ("member", "more"),
    [
        pytest.param({"tags": {f"tag-{n}": ["v"] for n in range(MAX_TAGS)}}, {"one": ["v"]}, id="tags"),
        pytest.param({"labels": {f"label-{n}": "v" for n in range(MAX_LABELS)}}, {"one": "v"}, id="labels"),
        pytest.param({"tags": {f"tag-{n}": ["v"] * 40 for n in range(MAX_TAGS)}}, {"one": []}, id="values-of-all-tags"),
    ],
)
def test_as_many_as_the_bound_are_read_and_one_more_is_refused(member: dict[str, Any], more: dict[str, Any]) -> None:
    [(name, held)] = member.items()
    assert read(body(**member)).mesh == "default"
    assert fault(body(**{name: held | more})).field == f"proxy.{name}"


@pytest.mark.parametrize("key", [SERVICE_TAG, "version"])
def test_a_tag_has_so_many_values_and_no_more(key: str) -> None:
    assert read(body(tags={key: ["v"] * MAX_VALUES_OF_A_TAG})).mesh == "default"
    assert fault(body(tags={key: ["v"] * (MAX_VALUES_OF_A_TAG + 1)})).field == "proxy.tags"


@pytest.mark.parametrize("at", [0, 1, MAX_VALUES - 1, MAX_VALUES, MAX_VALUES_OF_A_TAG - 1])
def test_no_value_of_the_service_is_overlooked(at: int) -> None:
    """Every value must equal the role's, at any place in the list."""
    values = ["web"] * MAX_VALUES_OF_A_TAG
    values[at] = "payments"
    assert read(body(tags={SERVICE_TAG: values})).services == {"web", "payments"}


# The first error ends the check.

ZERO = '"",'
FLOODS = {
    "wrong-values-of-a-tag": (raw(f'"tags":{{"k":[{repeated("1")}]}}'), "proxy.tags"),
    "values-of-a-tag": (raw(f'"tags":{{"k":[{repeated(chr(34) * 2)}]}}'), "proxy.tags"),
    "fractions": (raw(f'"tags":{{"k":[{repeated("0.1")}]}}'), "proxy.tags"),
    "tags-that-are-no-lists": (raw(f'"tags":{{{numbered("1", 5900)}}}'), "proxy.tags"),
    "tags": (raw(f'"tags":{{{numbered("[]", 5500)}}}'), "proxy.tags"),
    "tags-with-a-wrong-value": (raw(f'"tags":{{{numbered("[1]", 5300)}}}'), "proxy.tags"),
    "256-tags-with-wrong-values": (raw(f'"tags":{{{numbered("[" + "1," * 63 + "1]", 256)}}}'), "proxy.tags"),
    "256-tags-whose-last-value-is-wrong": (
        raw(f'"tags":{{{numbered("[" + ZERO * 63 + "1]", 256)}}}'),
        "proxy.tags",
    ),
    "objects-for-values": (raw(f'"tags":{{"k":[{repeated("{}")}]}}'), "proxy.tags"),
    "lists-for-values": (raw(f'"tags":{{"k":[{repeated("[]")}]}}'), "proxy.tags"),
    "wrong-labels": (raw(f'"labels":{{{numbered("1", 5900)}}}'), "proxy.labels"),
    "256-wrong-labels": (raw(f'"labels":{{{numbered("1", 256)}}}'), "proxy.labels"),
    "labels": (raw(f'"labels":{{{numbered(chr(34) * 2, 5300)}}}'), "proxy.labels"),
    "unknown-members": (f'{{"credential":"x",{numbered("1", 5900)}}}'.encode(), "an unknown member"),
    "unknown-members-of-the-proxy": (raw(numbered("1", 5900)), "proxy.an unknown member"),
    "another-member-that-is-a-list": (raw(f'"name":[{repeated("1")}]'), "proxy"),
    "a-credential-that-is-a-list": (f'{{"credential":[{repeated("1")}]}}'.encode(), "credential"),
    "objects": (f'{{"credential":[{repeated("{}")}]}}'.encode(), "the body"),
    "deep-lists": (b'{"credential":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "the body"),
    "objects-that-orjson-reads": (
        b'{"credential":"x","proxy":' + b'{"":' * 1000 + b"1" + b"}" * 1000 + b"}",
        "the body",
    ),
    "deep-objects": (b'{"credential":' + b'{"":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "the body"),
}


@pytest.mark.parametrize(("text", "field"), FLOODS.values(), ids=FLOODS)
def test_a_flood_is_refused_by_the_name_of_its_field(text: bytes, field: str) -> None:
    assert len(text) <= MAX_BODY_BYTES
    assert fault(text).field == field


def calls_and_bytes(text: bytes) -> tuple[int, int]:
    """Count the function calls of a refusal, and its peak memory. Both determine its time."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def refuse() -> None:
        with contextlib.suppress(RequestError):
            parse_call(text)

    refuse()
    sys.setprofile(count)
    refuse()
    sys.setprofile(None)
    tracemalloc.start()
    try:
        refuse()
        return calls, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# A body of 31,000 small integers is a list of as many pointers, which grows by doubling.
MOST_BYTES = 2 * 1024 * 1024
MOST_CALLS = 2000

# orjson keeps only the last of equal members, so the schema does not see the earlier ones.
HIDDEN = {
    "a-name-many-times": f'{{"credential":"x",{repeated(chr(34) + "a" + chr(34) + ":1")}}}'.encode(),
    "values-behind-a-second-member": raw(f'"tags":{{"k":[{repeated("1")}]}},"tags":{{}}'),
    "labels-behind-a-second-member": raw(f'"labels":{{{numbered("1", 5800)}}},"labels":{{}}'),
    "what-orjson-does-not-read": f'{{"credential":["\\ud800",{repeated("0.1")}]}}'.encode(),
}


@pytest.mark.parametrize("text", [*(text for text, _ in FLOODS.values()), *HIDDEN.values()], ids=[*FLOODS, *HIDDEN])
def test_no_flood_takes_more_than_a_body_of_its_size_has_to(text: bytes) -> None:
    """31,000 wrong values once took 25 ms: each produced an error report, and all but the first were dropped."""
    calls, taken = calls_and_bytes(text)
    assert calls < MOST_CALLS
    assert taken < MOST_BYTES


def test_the_largest_call_takes_no_more_either() -> None:
    text = body(tags={str(n): [""] * 55 for n in range(MAX_TAGS)}, labels={str(n): "" for n in range(MAX_LABELS)})
    assert read(text).mesh == "default"
    calls, taken = calls_and_bytes(text)
    assert calls < MOST_CALLS
    assert taken < MOST_BYTES


# Control characters.


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1b", "\x7f", "\x80", "\x9f"])
@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("mesh", "{}"),
        ("name", "{}"),
        ("zone", "{}"),
        ("tags", {"{}": []}),
        ("tags", {SERVICE_TAG: ["web", "{}"]}),
        ("labels", {"{}": "v"}),
        ("labels", {"k": "{}"}),
    ],
    ids=["mesh", "name", "zone", "key-of-a-tag", "value-of-a-tag", "key-of-a-label", "label"],
)
def test_no_text_of_the_proxy_has_a_control_character(name: str, member: object, character: str) -> None:
    escaped = json.dumps(f"a{character}b")[1:-1]
    for spelling in {escaped, f"a{character}b" if character >= "\x7f" else escaped}:
        text = body(**{name: member}).replace(b"{}", spelling.encode(), 1) if member != {"{}": []} else b""
        text = text or body(**{name: {"MARK": []}}).replace(b"MARK", spelling.encode())
        assert fault(text).field == f"proxy.{name}"


@pytest.mark.parametrize("text", ["a\xa0b", "a\u2028b", "\u202egnp", "d\u00e9mo", "\U0001f600"])
def test_other_characters_are_read(text: str) -> None:
    """No name of Kuma's contains them. A rule that compares names refuses them."""
    assert read(body(name=text, tags={"k": [text]}, labels={text: text})).name == text


# One reading.


@pytest.mark.parametrize(
    "text",
    [
        b'{"credential":"x","credential":"y"}',
        b'{"credential":"x","cr\\u0065dential":"y"}',
        b'{"credential":"a:b,c{d[e","proxy":null , "proxy" : null}',
        b'{"credential":"\\\\","credential":"\\""}',
        raw('"labels":{"a":"1","a":"1"}'),
        raw('"tags":{"a":["x"],"a":["x"]}'),
        raw('"labels":{"a":"1"},"labels":{"b":"1"}'),
        b'{"credential":"\\ud800","credential":"\\ud800"}',
    ],
)
def test_a_member_that_stands_twice_is_refused(text: bytes) -> None:
    assert "twice" in fault(text).detail


texts = st.text(st.sampled_from(':"\\,{}[] aé\u2028'), max_size=8)


@given(
    credential=texts,
    tags=st.dictionaries(texts, st.lists(texts, max_size=3), max_size=4),
    labels=st.dictionaries(texts, texts, max_size=4),
    ascii_alone=st.booleans(),
)
def test_marks_in_texts_are_not_taken_for_those_of_the_json(
    credential: str, tags: dict[str, list[str]], labels: dict[str, str], *, ascii_alone: bool
) -> None:
    call = {"credential": credential, "proxy": {**PROXY, "tags": tags, "labels": labels}}
    assert read_call(json.dumps(call, ensure_ascii=ascii_alone).encode()) == call
