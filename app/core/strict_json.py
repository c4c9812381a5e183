"""Parse JSON strictly: no duplicate members, no NaN, bounded nesting (invariants I20, I26)."""

import json
from typing import Any, Final, NoReturn

# The deepest document that the service needs has 4 levels: in the body of a call, a value of a tag is at level 4.
MAX_NESTING: Final = 16

# Two tables for `bytes.translate`: it deletes all bytes except brackets, and replaces braces by square brackets.
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))


class StrictJsonError(ValueError):
    """The text is not one unambiguous JSON object. The error message quotes no part of the text."""


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse one JSON object.

    An object at any level must not have two members with the same name, since parsers disagree on which of the two counts.
    ``NaN`` and the infinities are rejected, because they are not JSON. The caller must bound the length of ``text`` first.
    Objects and lists may have `MAX_NESTING` levels; the outermost object is level 1. The interpreter's own limit is too
    high: CPython 3.11 stops at about 1,000 levels, and CPython 3.12 and later parse 5,000.

    Raises:
        StrictJsonError: the text is not UTF-8, not JSON, not an object, ambiguous, or nested too deeply.
    """
    try:
        document = text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError as error:
        raise StrictJsonError("not JSON") from error
    if _has_many_brackets(document) and not _is_nested_well(document):
        raise StrictJsonError(f"nested more than {MAX_NESTING} levels deep, or its brackets do not match")
    try:
        value = _DECODER.decode(document)
    except StrictJsonError:
        raise
    except ValueError as error:
        raise StrictJsonError("not JSON") from error
    if not isinstance(value, dict):
        raise StrictJsonError("not a JSON object")
    return value


def _has_many_brackets(document: str) -> bool:
    """Return whether a document has so many opening brackets that it could be nested too deeply. A usual call has fewer.

    ``find`` uses ``memchr``, which is fast over a long credential. ``count`` reads each character and takes twice as long.
    """
    brackets = 0
    for bracket in "{[":
        at = document.find(bracket)
        while at >= 0:
            brackets += 1
            if brackets > MAX_NESTING:
                return True
            at = document.find(bracket, at + 1)
    return False


def _is_nested_well(document: str) -> bool:
    """Return whether the brackets outside strings match, and are nested at most `MAX_NESTING` deep.

    Each step is one linear pass in C: a loop in Python over 64 KiB of brackets would take longer than parsing them.
    """
    outside_strings = "".join(document.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    brackets = outside_strings.encode(errors="replace").translate(_ONE_KIND, _NO_BRACKETS)
    if b"[" * (MAX_NESTING + 1) in brackets:
        return False
    for _ in range(MAX_NESTING):
        brackets = brackets.replace(b"[]", b"")  # each pass removes the innermost level
    return not brackets


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError("a member appears twice")
    return members


def _refuse_constant(_constant: str) -> NoReturn:
    raise StrictJsonError("NaN and Infinity are no JSON")


# One decoder serves all texts: `json.loads` would make a decoder for each text, which takes as long as parsing the text.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
