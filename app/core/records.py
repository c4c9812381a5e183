"""Encode the answers of AWS as bytes, and decode them again, for a store that replicas share.

Other programs may be able to write to that store. `app.store.sealing` checks that a replica of this service wrote the bytes.
This module reads the bytes as strictly as AWS's answers: it uses the same parsers, and accepts exactly the expected members,
each once.
"""

import json
from typing import Any, Final

from app.core.arn import ArnError, parse_arn
from app.core.caller_identity import CallerIdentity, hold_together
from app.core.role_tags import RoleRecord
from app.core.strict_json import StrictJsonError, parse_object
from app.core.strict_xml import DocumentError
from app.core.sts_documents import IdentityDocument

_LENGTH_BYTES: Final = 4
_IDENTITY_MEMBERS: Final = frozenset({"account", "arn", "user_id", "request_id"})
_ROLE_MEMBERS: Final = frozenset({"arn", "role_id", "name", "tags", "request_id"})
_PAIR: Final = 2


class RecordError(ValueError):
    """The bytes are not a valid record. The error message quotes none of the bytes."""


def frame(*parts: str | bytes) -> bytes:
    """Write the length of each part and then the part, so that two different lists of parts never give the same bytes."""
    raw = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in raw)


def encode_identity(identity: CallerIdentity) -> bytes:
    """Encode the identity from STS's answer."""
    return _write(
        {
            "account": identity.account,
            "arn": str(identity.arn),
            "user_id": identity.user_id,
            "request_id": identity.request_id,
        }
    )


def decode_identity(payload: bytes, *, partition: str) -> CallerIdentity:
    """Decode the bytes of `encode_identity`, and check the identity and its partition as in a new answer of STS.

    Raises:
        RecordError: `encode_identity` cannot have written the bytes, or the identity is of another partition.
    """
    texts = _texts(_read(payload, _IDENTITY_MEMBERS), _IDENTITY_MEMBERS)
    document = IdentityDocument(account=texts["account"], arn=texts["arn"], user_id=texts["user_id"])
    try:
        return hold_together(document, partition=partition, request_id=texts["request_id"])
    except (ArnError, DocumentError) as error:
        raise RecordError(str(error)) from error


def encode_role(role: RoleRecord) -> bytes:
    """Encode the role from IAM's answer, with every tag in IAM's order."""
    return _write(
        {
            "arn": role.arn,
            "role_id": role.role_id,
            "name": role.name,
            "tags": role.tags,
            "request_id": role.request_id,
        }
    )


def decode_role(payload: bytes) -> RoleRecord:
    """Decode the bytes of `encode_role`. `read_grant` checks whether the role is the caller's role.

    Raises:
        RecordError: `encode_role` cannot have written the bytes, or the ARN in them is invalid.
    """
    members = _read(payload, _ROLE_MEMBERS)
    texts = _texts(members, _ROLE_MEMBERS - {"tags"})
    try:
        parse_arn(texts["arn"])
    except ArnError as error:
        raise RecordError(str(error)) from error
    return RoleRecord(
        arn=texts["arn"],
        role_id=texts["role_id"],
        name=texts["name"],
        tags=_tags(members["tags"]),
        request_id=texts["request_id"],
    )


def _write(members: dict[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _read(payload: bytes, names: frozenset[str]) -> dict[str, Any]:
    try:
        members = parse_object(payload)
    except StrictJsonError as error:
        raise RecordError(str(error)) from error
    if members.keys() != names:
        raise RecordError("a member is missing, or is one too many")
    return members


def _texts(members: dict[str, Any], names: frozenset[str]) -> dict[str, str]:
    texts = {name: members[name] for name in names}
    if not all(isinstance(text, str) for text in texts.values()):
        raise RecordError("a member is no text")
    return texts


def _tags(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise RecordError("the tags are no list")
    return tuple(_tag(each) for each in value)


def _tag(value: Any) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != _PAIR or not all(isinstance(part, str) for part in value):
        raise RecordError("a tag is no pair of texts")
    return value[0], value[1]
