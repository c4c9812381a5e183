"""JSON without its ambiguities: no duplicate members, no NaN, bounded nesting (invariants I20, I26)."""

import json
from typing import Any, Final, NoReturn


class StrictJsonError(ValueError):
    """The text is not one unambiguous JSON object. The message holds nothing of the text."""


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse one JSON object.

    Two members of one name in an object are refused at every level, since parsers disagree on which one counts; so are
    ``NaN`` and the infinities, which are no JSON. The caller bounds the length of ``text`` first; nesting is bounded by
    the interpreter's own recursion limit.

    Raises:
        StrictJsonError: it is not UTF-8, not JSON, not an object, or ambiguous.
    """
    try:
        value = _DECODER.decode(text if isinstance(text, str) else text.decode())
    except StrictJsonError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise StrictJsonError("not JSON") from error
    if not isinstance(value, dict):
        raise StrictJsonError("not a JSON object")
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError("a member stands twice")
    return members


def _refuse_constant(_constant: str) -> NoReturn:
    raise StrictJsonError("NaN and Infinity are no JSON")


# Made once: json.loads makes one for each text, which costs as much as the text.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
