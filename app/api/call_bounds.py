"""Bounds on the JSON of a call: the first fault rejects it, at ten times the cost of a cache hit at most (I20, I26).

A body of 64 KiB holds 31,000 values. `json` takes 3 ms to read them, and calls Python for each object; pydantic takes 25 ms
to report each one. So orjson reads the body, and a few passes in C check everything that can occur many times in a body.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import orjson

from app.core.errors import RequestError
from app.core.reasons import Reason
from app.core.strict_json import MAX_NESTING, StrictJsonError, parse_object

# The caller stands on the same host: a body that dribbles in for longer is an attack or a fault.
BODY_TIMEOUT_SECONDS: Final = 5.0
MAX_TAGS: Final = 256
MAX_LABELS: Final = 256
MAX_VALUES_OF_A_TAG: Final = 64
# Of the body itself and of ``proxy``; the schema has fewer.
MAX_MEMBERS: Final = 16
# Objects and lists. A call with every tag has 260.
MAX_CONTAINERS: Final = 1024
# For a body that orjson refuses, for example because the credential contains half of a surrogate pair; json reads it again.
MAX_VALUES_READ_TWICE: Final = 4096

# Unicode's category Cc. The audit line and Kuma's own names have no use for one.
CONTROL_CHARACTERS: Final = r"\x00-\x1f\x7f-\x9f"
_CONTROL: Final = re.compile(f"[{CONTROL_CHARACTERS}]")
_CONTAINERS: Final = (list, dict)
_NO_MARKS: Final = bytes(set(range(256)) - set(b'"[{:,'))


def read_call(body: bytes) -> dict[str, Any]:
    """Read the body of a call as one unambiguous JSON object whose maps and lists are within their bounds.

    Args:
        body: at most `app.api.authenticate.MAX_BODY_BYTES`.

    Returns:
        The members. All texts of tags and labels are strings without a control character; everything else about the
        members, their lengths included, is the schema's to check.

    Raises:
        RequestError: ``malformed_request``, with the field at fault and no value of it.
    """
    marks = _marks_outside_strings(body)
    if marks.count(b"[") + marks.count(b"{") > MAX_CONTAINERS:
        # Tags alone may have more than one list.
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
        # orjson keeps the last of two members with one name; other parsers keep another one.
        raise RequestError(Reason.MALFORMED_REQUEST, "the body is refused: a member stands twice")
    return call


def _parse(body: bytes, values: int) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # From None, here and below: the error holds the body (I22).
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
    except TypeError:  # it stops at the first one
        _refuse(field, "a value is no string")
    # The first check costs a tenth of the second, and nearly all texts pass the first.
    if not text.isprintable() and _CONTROL.search(text):
        _refuse(field, "a control character")


def _refuse(field: str, fault: str) -> NoReturn:
    raise RequestError(Reason.MALFORMED_REQUEST, f"{field}: {fault}", field=field)


def _count_members(members: dict[str, Any], levels: int = MAX_NESTING) -> int:
    """Count the members of an object and of the objects in it. There is none in a list: the schema has no such member.

    orjson reads 1024 levels, and Python's own stack would end before that.
    """
    if not levels:
        _refuse("the body", f"objects nested in more than {MAX_NESTING} levels")
    count = len(members)
    for value in members.values():
        if isinstance(value, dict):
            count += _count_members(value, levels - 1)
    return count


def _marks_outside_strings(body: bytes) -> bytes:
    r"""Return the opening brackets, colons and commas of a JSON text that are outside its strings.

    Outside strings, a colon is behind the name of each member and nowhere else.

    Without ``\\`` and ``\"``, every second piece between quotation marks is outside strings. Two marks with nothing between
    them are left out first: each piece stays inside or outside, and few are left.
    """
    if b"\\" in body:  # nearly no body has one, and to look for one byte takes a hundredth of the time of two
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = body.translate(None, _NO_MARKS)
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])
