"""Read the answers of STS, in XML and JSON (invariant I10). An answer is untrusted until it is completely read."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

from app.core.strict_json import StrictJsonError, parse_object
from app.core.strict_xml import DocumentError, only_child, parse_xml, read_result, text_of

_NAMESPACE: Final = "{https://sts.amazonaws.com/doc/2011-06-15/}"
# The pattern rejects a namespace with a character that ElementTree could read as part of a path.
_ERROR_TAG: Final = re.compile(r"(\{[^{}*]+\}|)ErrorResponse")
_ERROR_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityDocument:
    """The three texts of a GetCallerIdentity answer; each appeared exactly once in it."""

    account: str
    arn: str
    user_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedRole:
    """The role session in an answer of AssumeRole.

    Attributes:
        arn: the ARN of the session, ``arn:aws:sts::…:assumed-role/…``.
        expires_at: when AWS stops accepting the credentials; with a time zone.
    """

    arn: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime


def read_identity_document(media_type: str, body: bytes) -> IdentityDocument:
    """Read a GetCallerIdentity answer of the given media type.

    Unknown fields are ignored, since AWS may add some. A required field that is missing or appears twice is an error.

    Raises:
        DocumentError: the media type is neither XML nor JSON, the text is not this document, has a DTD or trailing content,
            or a field is missing or appears twice.
    """
    if media_type == "application/json":
        return _identity_from_json(body)
    if media_type in ("text/xml", "application/xml"):
        return _identity_from_xml(body)
    raise DocumentError("the answer is neither XML nor JSON")


def read_assumed_role(body: bytes) -> AssumedRole:
    """Read an AssumeRole answer in XML.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html

    Raises:
        DocumentError: the text is not this document, has a DTD or trailing content, a field is missing or appears twice, or
            the expiry has no time zone.
    """
    result = read_result(body, _NAMESPACE, "AssumeRole")
    session = only_child(result, f"{_NAMESPACE}Credentials")
    role = only_child(result, f"{_NAMESPACE}AssumedRoleUser")
    return AssumedRole(
        arn=text_of(only_child(role, f"{_NAMESPACE}Arn")),
        access_key_id=text_of(only_child(session, f"{_NAMESPACE}AccessKeyId")),
        secret_access_key=text_of(only_child(session, f"{_NAMESPACE}SecretAccessKey")),
        session_token=text_of(only_child(session, f"{_NAMESPACE}SessionToken")),
        expires_at=_moment(text_of(only_child(session, f"{_NAMESPACE}Expiration"))),
    )


def read_error_code(body: bytes) -> str | None:
    """Return the code of an AWS error document, or None if the text is not one.

    The media type is ignored: AWS's own front ends send errors with wrong media types. This is safe, because no error code
    leads to an approval.
    """
    try:
        code = _error_code_from_json(body) if body.lstrip()[:1] == b"{" else _error_code_from_xml(body)
    except DocumentError:
        return None
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else None


def read_error_message(body: bytes) -> str:
    """Return the message of an AWS error document, or an empty text. No message decides anything or is logged."""
    try:
        if body.lstrip()[:1] == b"{":
            message = _object(_json(body), "Error").get("Message")
            return message if isinstance(message, str) else ""
        error, namespace = _error_of(body)
        return text_of(only_child(error, f"{namespace}Message"))
    except DocumentError:
        return ""


def _identity_from_json(body: bytes) -> IdentityDocument:
    result = _object(_object(_json(body), "GetCallerIdentityResponse"), "GetCallerIdentityResult")
    account, arn, user_id = result.get("Account"), result.get("Arn"), result.get("UserId")
    if not (isinstance(account, str) and isinstance(arn, str) and isinstance(user_id, str)):
        raise DocumentError("a field of the identity is missing")
    return IdentityDocument(account=account, arn=arn, user_id=user_id)


def _identity_from_xml(body: bytes) -> IdentityDocument:
    result = read_result(body, _NAMESPACE, "GetCallerIdentity")
    return IdentityDocument(
        account=text_of(only_child(result, f"{_NAMESPACE}Account")),
        arn=text_of(only_child(result, f"{_NAMESPACE}Arn")),
        user_id=text_of(only_child(result, f"{_NAMESPACE}UserId")),
    )


def _error_code_from_json(body: bytes) -> Any:
    return _object(_json(body), "Error").get("Code")


def _error_code_from_xml(body: bytes) -> str:
    error, namespace = _error_of(body)
    return text_of(only_child(error, f"{namespace}Code"))


def _error_of(body: bytes) -> tuple[ET.Element, str]:
    """Return the element ``Error`` and its namespace, which differs between actions."""
    root = parse_xml(body)
    match = _ERROR_TAG.fullmatch(root.tag)
    if match is None:
        raise DocumentError("not an error document")
    return only_child(root, f"{match[1]}Error"), match[1]


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


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DocumentError("a field is no time") from error
    if moment.tzinfo is None:
        raise DocumentError("a field is a time without a time zone")
    return moment
