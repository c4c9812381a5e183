import pytest

from app.core.strict_json import StrictJsonError, parse_object


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ('{"a": 1, "b": [true, null, "x"], "c": {"a": -1.5e3}}', {"a": 1, "b": [True, None, "x"], "c": {"a": -1500.0}}),
        (b' {"a":"\xc3\xa9"}\n', {"a": "é"}),
        ('{"a": {"x": 1}, "b": {"x": 1}}', {"a": {"x": 1}, "b": {"x": 1}}),
        ('{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    ],
)
def test_parse_object_reads_an_object_from_text_and_from_bytes(text: str | bytes, expected: dict[str, object]) -> None:
    assert parse_object(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="list"),
        pytest.param('"{}"', id="string"),
        pytest.param("1", id="number"),
        pytest.param("{} {}", id="two-documents"),
        pytest.param("{}x", id="trailing-content"),
        pytest.param('{"a": 1,}', id="trailing-comma"),
        pytest.param("{'a': 1}", id="single-quotes"),
        pytest.param("{a: 1}", id="no-quotes"),
        pytest.param('{"a": 1 /* x */}', id="comment"),
        pytest.param('{"a": "\n"}', id="raw-newline-in-a-string"),
        pytest.param('{"a": 01}', id="leading-zero"),
        pytest.param("\ufeff{}", id="byte-order-mark"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark-in-bytes"),
        pytest.param(b'{"a": "\xff"}', id="no-utf-8"),
        pytest.param('{"a": "x"}'.encode("utf-16"), id="utf-16-that-json-would-guess"),
        pytest.param('{"a": "x"}'.encode("utf-32"), id="utf-32-that-json-would-guess"),
        pytest.param('{"a":' * 4000 + "1" + "}" * 4000, id="deep-objects"),
        pytest.param('{"a":' + "[" * 100_000, id="deep-lists"),
        pytest.param('{"a": ' + "1" * 5000 + "}", id="number-too-long-to-convert"),
    ],
)
def test_parse_object_rejects_what_is_not_one_json_object(text: str | bytes) -> None:
    with pytest.raises(StrictJsonError):
        parse_object(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a": 1, "a": 2}', id="at-the-top"),
        pytest.param('{"a": 1, "a": 1}', id="with-equal-values"),
        pytest.param('{"a": 1, "\\u0061": 2}', id="in-two-spellings"),
        pytest.param('{"x": {"a": 1, "a": 2}}', id="below"),
        pytest.param('{"x": [{"a": 1, "a": 2}]}', id="in-a-list"),
        pytest.param('{"x": {"a": 1, "a": 2}, "x": 1}', id="in-a-member-that-stands-twice-itself"),
    ],
)
def test_parse_object_rejects_a_member_that_stands_twice(text: str) -> None:
    """Parsers disagree on which one counts, so whoever checks and whoever uses may see two values."""
    with pytest.raises(StrictJsonError, match="a member stands twice"):
        parse_object(text)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_parse_object_rejects_constants_that_json_does_not_have(constant: str) -> None:
    with pytest.raises(StrictJsonError):
        parse_object(f'{{"a": {constant}}}')


def test_errors_hold_nothing_of_the_text() -> None:
    with pytest.raises(StrictJsonError) as raised:
        parse_object('{"secret": "token"')
    assert "token" not in str(raised.value)
