"""The documents of STS, in XML and JSON, read to the end (invariant I10). They are untrusted until they are read."""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree import ElementTree as ET

from app.core.strict_json import StrictJsonError, parse_object

_NAMESPACE: Final = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_XML_DECLARATION: Final = re.compile(rb"<\?xml [^<>]{0,100}\?>\s*")
_ERROR_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,128}", re.ASCII)


class DocumentError(ValueError):
    """It is not the document that was expected. The message holds nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityDocument:
    """The three texts of a GetCallerIdentity answer, each of which stood in it exactly once."""

    account: str
    arn: str
    user_id: str = field(repr=False)


def read_identity_document(media_type: str, body: bytes) -> IdentityDocument:
    """Read a GetCallerIdentity answer of the given media type.

    Fields that AWS may add one day are passed over; one of ours that is missing or stands twice is an error.

    Raises:
        DocumentError: another type, another document, trailing content, a DTD, or a field missing or doubled.
    """
    if media_type == "application/json":
        return _identity_from_json(body)
    if media_type in ("text/xml", "application/xml"):
        return _identity_from_xml(body)
    raise DocumentError("the answer is neither XML nor JSON")


def read_error_code(body: bytes) -> str | None:
    """Return the code of an AWS error document, or None when it is no such document.

    The media type is not asked: AWS's own front ends mislabel errors, and a code only ever denies or defers.
    """
    try:
        code = _error_code_from_json(body) if body.lstrip()[:1] == b"{" else _error_code_from_xml(body)
    except DocumentError:
        return None
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else None


def _identity_from_json(body: bytes) -> IdentityDocument:
    result = _object(_object(_json(body), "GetCallerIdentityResponse"), "GetCallerIdentityResult")
    texts = {name: result.get(name) for name in ("Account", "Arn", "UserId")}
    account, arn, user_id = texts.values()
    if not (isinstance(account, str) and isinstance(arn, str) and isinstance(user_id, str)):
        raise DocumentError("a field of the identity is missing")
    return IdentityDocument(account=account, arn=arn, user_id=user_id)


def _identity_from_xml(body: bytes) -> IdentityDocument:
    root = _xml(body)
    if root.tag != f"{_NAMESPACE}GetCallerIdentityResponse":
        raise DocumentError("the answer is of another action")
    result = _only_child(root, f"{_NAMESPACE}GetCallerIdentityResult")
    return IdentityDocument(
        account=_text(_only_child(result, f"{_NAMESPACE}Account")),
        arn=_text(_only_child(result, f"{_NAMESPACE}Arn")),
        user_id=_text(_only_child(result, f"{_NAMESPACE}UserId")),
    )


def _error_code_from_json(body: bytes) -> Any:
    return _object(_json(body), "Error").get("Code")


def _error_code_from_xml(body: bytes) -> str:
    # Its namespace differs from action to action, so names are compared without.
    root = _xml(body)
    if root.tag.rpartition("}")[2] != "ErrorResponse":
        raise DocumentError("not an error document")
    namespace = root.tag.removesuffix("ErrorResponse")
    return _text(_only_child(_only_child(root, f"{namespace}Error"), f"{namespace}Code"))


def _json(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except StrictJsonError as error:
        raise DocumentError(f"refused: {error}") from error


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    child = parent.get(name)
    if not isinstance(child, dict):
        raise DocumentError("a member is missing")
    return child


def _xml(body: bytes) -> ET.Element:
    """Parse one XML document that is made of elements and text alone.

    No DTD, comment, CDATA or processing instruction comes from STS, so their openings are refused before the parser sees
    them: with that, expat has no entities to expand (the CVE-2013-0340 family).
    """
    content = body[match.end() :] if (match := _XML_DECLARATION.match(body)) else body
    if b"<!" in content or b"<?" in content or b"\0" in content:
        raise DocumentError("the XML holds a DTD, a comment, CDATA or a processing instruction")
    try:
        text = content.decode()
        return ET.fromstring(text)  # noqa: S314 - see above: nothing is left to expand
    except (ValueError, ET.ParseError) as error:
        raise DocumentError("not XML in UTF-8") from error


def _only_child(parent: ET.Element, tag: str) -> ET.Element:
    children = [child for child in parent if child.tag == tag]
    if len(children) != 1:
        raise DocumentError("a field is missing or stands twice")
    return children[0]


def _text(element: ET.Element) -> str:
    if len(element) or not element.text:
        raise DocumentError("a field is empty or not text")
    return element.text
