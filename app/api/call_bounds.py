"""Bounds on the JSON of a call.

The first fault rejects the call, at no more than ten times the cost of a cache hit (I20, I26).

A body of 64 KiB can contain 31,000 values. `json` takes 3 ms to read them, and calls a Python function for each object.
pydantic takes 25 ms to report a fault for each of them. So orjson reads the body, and a few functions that are written in C
check everything that can occur many times in a body.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import orjson

from app.core.errors import RequestError
from app.core.reasons import Reason
from app.core.strict_json import MAX_NESTING, StrictJsonError, parse_object

# The caller runs on the same host: a body that takes longer to arrive is an attack or a fault.
BODY_TIMEOUT_SECONDS: Final = 5.0
MAX_TAGS: Final = 256
MAX_LABELS: Final = 256
MAX_VALUES_OF_A_TAG: Final = 64
# The limit for the members of the body, and for the members of ``proxy``. The schema has fewer.
MAX_MEMBERS: Final = 16
# The number of objects and lists in a body. A call with the largest number of tags has 260.
MAX_CONTAINERS: Final = 1024
# The limit for a body that orjson rejects and `json` reads again, for example because the credential contains half of a
# surrogate pair.
MAX_VALUES_READ_TWICE: Final = 4096

# The characters of Unicode's category Cc. Neither the audit line nor Kuma's names need such a character.
CONTROL_CHARACTERS: Final = r"\x00-\x1f\x7f-\x9f"
_CONTROL: Final = re.compile(f"[{CONTROL_CHARACTERS}]")
_CONTAINERS: Final = (list, dict)
_NO_MARKS: Final = bytes(set(range(256)) - set(b'"[{:,'))


def read_call(body: bytes) -> dict[str, Any]:
    """Read the body of a call as one unambiguous JSON object whose maps and lists are within their bounds.

    Args:
        body: at most `app.api.authenticate.MAX_BODY_BYTES`.

    Returns:
        The members. All texts of tags and labels are strings without a control character; the schema checks everything else,
        for example lengths.

    Raises:
        RequestError: ``malformed_request``, with the name of the invalid field and without its value.
    """
    marks = _marks_outside_strings(body)
    if marks.count(b"[") + marks.count(b"{") > MAX_CONTAINERS:
        # In a valid call only tags can have many lists, so the error names the tags if the call has any.
        _refuse("proxy.tags" if b'"tags"' in body else "the body", f"more than {MAX_CONTAINERS} objects and lists")
    call = _parse(body, values=marks.count(b","))
    if not isinstance(call, dict):
        raise RequestError(Reason.MALFORMED_REQUEST, "the body is refused: not a JSON object")
    if len(call) > MAX_MEMBERS:
        _refuse("an unknown member", f"more than {MAX_MEMBERS} members")
    proxy = call.get("proxy")
    if isinstance(proxy, dict):
        _require_bounded(proxy)
    if _count_members(call) != marks.count(b":"):
        # orjson keeps the last of two members with the same name; other parsers keep the first.
        raise RequestError(Reason.MALFORMED_REQUEST, "the body is refused: a member appears twice")
    return call


def _parse(body: bytes, values: int) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # "from None", here and below, because the error of the parser contains the body (I22).
        if values > MAX_VALUES_READ_TWICE:
            raise RequestError(Reason.MALFORMED_REQUEST, "the body is refused: not JSON") from None
    try:
        return parse_object(body)
    except StrictJsonError as error:
        raise RequestError(Reason.MALFORMED_REQUEST, f"the body is refused: {error}") from None


def _require_bounded(proxy: dict[str, Any]) -> None:
    if len(proxy) > MAX_MEMBERS:
        _refuse("proxy.an unknown member", f"more than {MAX_MEMBERS} members")
    for name, member in proxy.items():
        if name == "tags" and isinstance(member, dict):
            _require_tags(member)
        elif name == "labels" and isinstance(member, dict):
            if len(member) > MAX_LABELS:
                _refuse("proxy.labels", f"more than {MAX_LABELS} labels")
            _require_texts("proxy.labels", [*member, *member.values()])
        elif isinstance(member, _CONTAINERS) and len(member) > MAX_VALUES_OF_A_TAG:
            field = "proxy.listeners" if name == "listeners" else "proxy"
            _refuse(field, f"a member with more than {MAX_VALUES_OF_A_TAG} values")


def _require_tags(tags: dict[str, Any]) -> None:
    if len(tags) > MAX_TAGS:
        _refuse("proxy.tags", f"more than {MAX_TAGS} tags")
    texts = list(tags)
    for values in tags.values():
        if not isinstance(values, list):
            _refuse("proxy.tags", "the values of a tag are no list")
        if len(values) > MAX_VALUES_OF_A_TAG:
            _refuse("proxy.tags", f"more than {MAX_VALUES_OF_A_TAG} values of a tag")
        texts += values
    _require_texts("proxy.tags", texts)


def _require_texts(field: str, texts: Iterable[Any]) -> None:
    try:
        text = "".join(texts)
    except TypeError:  # `join` stops at the first value that is no string
        _refuse(field, "a value is no string")
    # The first check takes a tenth of the time of the second one, and nearly all texts pass it.
    if not text.isprintable() and _CONTROL.search(text):
        _refuse(field, "a control character")


def _refuse(field: str, fault: str) -> NoReturn:
    raise RequestError(Reason.MALFORMED_REQUEST, f"{field}: {fault}", field=field)


def _count_members(members: dict[str, Any], levels: int = MAX_NESTING) -> int:
    """Count the members of an object and of the objects in it. No list in the schema contains objects.

    The depth is limited because orjson accepts 1024 levels, which would exhaust Python's own stack.
    """
    if not levels:
        _refuse("the body", f"objects nested in more than {MAX_NESTING} levels")
    count = len(members)
    for value in members.values():
        if isinstance(value, dict):
            count += _count_members(value, levels - 1)
    return count


def _marks_outside_strings(body: bytes) -> bytes:
    r"""Return the opening brackets, colons and commas of a JSON text outside its strings.

    Outside strings, a colon follows the name of each member and appears nowhere else.

    After ``\\`` and ``\"`` are removed, every second piece between quotation marks is outside strings. Pairs of adjacent
    quotation marks are removed first. This makes fewer pieces, and moves no piece in or out of a string.
    """
    # Very few bodies contain a backslash, and this search for one byte takes a hundredth of the time of the two below.
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = body.translate(None, _NO_MARKS)
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])
