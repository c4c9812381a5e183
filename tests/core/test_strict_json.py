import json

import pytest

from app.core.strict_json import MAX_NESTING, StrictJsonError, parse_object


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
    """Parsers disagree on which one counts, so the program that checks and the one that uses it may see two values."""
    with pytest.raises(StrictJsonError, match="a member appears twice"):
        parse_object(text)


def nested(levels: int, opening: str, closing: str, inside: str = "1") -> str:
    """Return an object with so many levels, the outermost one included."""
    return '{"a":' + opening * (levels - 1) + inside + closing * (levels - 1) + "}"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize(
    ("levels", "message"), [(1, "not JSON"), (MAX_NESTING, "not JSON"), (MAX_NESTING + 1, "its brackets do not match")]
)
def test_parse_object_blames_the_nesting_only_if_the_brackets_are_enough_for_it(
    opening: str, levels: int, message: str
) -> None:
    with pytest.raises(StrictJsonError, match=message):
        parse_object(opening * levels)


NESTS = [
    pytest.param('{"a":', "}", id="objects"),
    pytest.param("[", "]", id="lists"),
    pytest.param('[[],"]",', "]", id="lists-with-a-bracket-in-a-string"),
    pytest.param('["\\\\",{"]":1},"\\"]",', "]", id="lists-with-escapes"),
]


@pytest.mark.parametrize(("opening", "closing"), NESTS)
def test_parse_object_bounds_the_nesting_itself(opening: str, closing: str) -> None:
    """The bound is the same on every interpreter: 3.11 stops at about 1,000 levels, 3.12 and later parse 5,000."""
    assert parse_object(nested(MAX_NESTING - 1, opening, closing))
    for levels in (MAX_NESTING + 2, 900, 5000):
        with pytest.raises(StrictJsonError, match=f"nested more than {MAX_NESTING} levels deep"):
            parse_object(nested(levels, opening, closing))


def test_the_last_level_that_is_allowed_is_read() -> None:
    assert parse_object(nested(MAX_NESTING, "[", "]"))
    with pytest.raises(StrictJsonError):
        parse_object(nested(MAX_NESTING + 1, "[", "]"))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([[]] * 1000, id="lists-side-by-side"),
        pytest.param([{"a": {}}] * 1000, id="objects-side-by-side"),
        pytest.param("[" * 1000, id="opening-brackets-in-a-string"),
        pytest.param("}" * 1000, id="closing-brackets-in-a-string"),
        pytest.param('"[' * 1000, id="behind-quotes-in-a-string"),
        pytest.param("\\[" * 1000, id="behind-backslashes-in-a-string"),
        pytest.param(["\\", "["] * 1000, id="behind-a-string-that-ends-with-a-backslash"),
        pytest.param(['\\"', "[é\ud800"] * 1000, id="with-characters-that-utf-8-does-not-have"),
    ],
)
def test_many_brackets_are_no_deep_nesting(value: object) -> None:
    for ascii_alone in (True, False):
        assert parse_object(json.dumps({"a": value}, ensure_ascii=ascii_alone)) == {"a": value}


@pytest.mark.parametrize("text", ['{"a": [' + "[]," * 20 + "1}", '{"a": ' + "[}" * 20 + "}", '{"a": "' + "[" * 20])
def test_many_brackets_that_do_not_match_are_refused(text: str) -> None:
    with pytest.raises(StrictJsonError):
        parse_object(text)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_parse_object_rejects_constants_that_json_does_not_have(constant: str) -> None:
    with pytest.raises(StrictJsonError):
        parse_object(f'{{"a": {constant}}}')


def test_errors_hold_nothing_of_the_text() -> None:
    with pytest.raises(StrictJsonError) as raised:
        parse_object('{"secret": "token"')
    assert "token" not in str(raised.value)
