"""Read the XML answers of IAM (invariants I10, I13, I14). An answer is untrusted until it is completely read.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html
https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html
"""

from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from app.core.role_tags import TYPE_TAG, RoleRecord
from app.core.strict_xml import (
    DocumentError,
    only_child,
    only_children,
    optional_child,
    read_result,
    text_of,
    text_or_empty,
)

_NAMESPACE: Final = "{https://iam.amazonaws.com/doc/2010-05-08/}"
_ARN: Final = f"{_NAMESPACE}Arn"
_ROLE_ID: Final = f"{_NAMESPACE}RoleId"
_ROLE_NAME: Final = f"{_NAMESPACE}RoleName"
_KEY: Final = f"{_NAMESPACE}Key"
_VALUE: Final = f"{_NAMESPACE}Value"


@dataclass(frozen=True, slots=True)
class RolePage:
    """Some of an account's roles.

    Attributes:
        roles: the roles of this page that have the tag ``kuma.io/type``.
        marker: IAM's mark for the start of the next page; None if this page is the last one.
    """

    roles: tuple[RoleRecord, ...]
    marker: str | None


def read_role(body: bytes, request_id: str) -> RoleRecord:
    """Read a GetRole answer.

    Unknown fields are ignored, since AWS may add some. A required field that is missing or appears twice is an error.

    Args:
        body: the answer, in XML.
        request_id: IAM's request id, for the audit line.

    Raises:
        DocumentError: the text is not this document, has a DTD or trailing content, or a field is missing or appears twice.
    """
    result = read_result(body, _NAMESPACE, "GetRole")
    # GetRole returns all tags or none. If AWS changes that, the service must not treat some of the tags as all tags (I14).
    if _is_truncated(result):
        raise DocumentError("the answer is a part of one")
    return _record(only_child(result, f"{_NAMESPACE}Role"), request_id)


def read_role_page(body: bytes, request_id: str) -> RolePage:
    """Read a GetAccountAuthorizationDetails answer, and return only the roles that have the tag ``kuma.io/type``.

    Args:
        body: the answer, in XML.
        request_id: IAM's request id, for the audit line.

    Raises:
        DocumentError: as `read_role` does.
    """
    result = read_result(body, _NAMESPACE, "GetAccountAuthorizationDetails")
    roles = [
        _record(member, request_id)
        for member in _members(only_child(result, f"{_NAMESPACE}RoleDetailList"))
        if any(key == TYPE_TAG for key, _ in _tags(member))
    ]
    marker = text_of(only_child(result, f"{_NAMESPACE}Marker")) if _is_truncated(result) else None
    return RolePage(tuple(roles), marker)


def _record(role: ET.Element, request_id: str) -> RoleRecord:
    arn, role_id, name = map(text_of, only_children(role, _ARN, _ROLE_ID, _ROLE_NAME))
    return RoleRecord(arn=arn, role_id=role_id, name=name, tags=_tags(role), request_id=request_id)


def _tags(role: ET.Element) -> tuple[tuple[str, str], ...]:
    tags = optional_child(role, f"{_NAMESPACE}Tags")
    return () if tags is None else tuple(_tag(member) for member in _members(tags))


def _tag(member: ET.Element) -> tuple[str, str]:
    key, value = only_children(member, _KEY, _VALUE)
    return text_of(key), text_or_empty(value)


def _members(elements: ET.Element) -> list[ET.Element]:
    if any(element.tag != f"{_NAMESPACE}member" for element in elements):
        raise DocumentError("a list holds something else than members")
    return list(elements)


def _is_truncated(result: ET.Element) -> bool:
    truncated = optional_child(result, f"{_NAMESPACE}IsTruncated")
    return truncated is not None and text_of(truncated) != "false"
