"""The tags that roles are to get, from a JSON file of role ARNs: for a preview of a change of tags."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.core.arn import ArnError
from app.core.principal import Principal
from app.core.role_tags import RoleRecord
from app.core.strict_json import StrictJsonError, parse_object
from app.policy.facts import Tags

_EXAMPLE: Final = (
    '{"arn:aws:iam::111122223333:role/demo-app": {"kuma.io/type": "dataplane", "kuma.io/mesh": "default"}}'
)

# Partition, account and name. A name is unique in an account, whatever the path.
RoleKey = tuple[str, str, str]


class RoleTagsError(ValueError):
    """The file is invalid; the message is a sentence with the fault and the remedy."""


@dataclass(frozen=True, slots=True)
class NewTags:
    """All tags that one role is to have, and the role's ARN and path."""

    arn: str
    path: str
    tags: Tags


def key_of(principal: Principal) -> RoleKey:
    """Return the key of the role of a principal."""
    return principal.partition, principal.account, principal.role


def parse_role_tags(text: bytes) -> dict[RoleKey, NewTags]:
    """Parse the file: an object of role ARNs, each with **all** tags of the role.

    The tags are an object of keys and values, or a list as ``aws iam list-role-tags`` prints it.

    Raises:
        RoleTagsError: the text is not such an object.
    """
    try:
        members = parse_object(text)
    except StrictJsonError as error:
        raise RoleTagsError(f"it is no JSON object ({error}); write {_EXAMPLE}") from error
    roles: dict[RoleKey, NewTags] = {}
    for arn, value in members.items():
        key, new = _role(arn, value)
        if key in roles:
            raise RoleTagsError(f"{arn}: the role is already there as {roles[key].arn}; remove one of the two")
        roles[key] = new
    if not roles:
        raise RoleTagsError(f"it names no role; write {_EXAMPLE}")
    return roles


def _role(arn: str, value: Any) -> tuple[RoleKey, NewTags]:
    try:
        parts = RoleRecord(arn=arn, role_id="", name="", tags=(), request_id="").parts
    except ArnError as error:
        raise RoleTagsError(
            f"{arn[:80]}: no ARN of a role ({error}); write it as IAM has it: arn:aws:iam::111122223333:role/demo-app"
        ) from error
    try:
        tags = tuple(_tags(value))
    except (KeyError, TypeError) as error:
        raise RoleTagsError(
            f'{arn}: write the tags as {{"KEY": "VALUE"}}, or as aws iam list-role-tags prints them'
        ) from error
    return (parts.partition, parts.account, parts.name), NewTags(arn, parts.path, tags)


def _tags(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and isinstance(value.get("Tags"), list):
        value = value["Tags"]
    pairs = value.items() if isinstance(value, Mapping) else [(tag["Key"], tag["Value"]) for tag in value]
    for key, text in pairs:
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError("a key or a value is no text")
        yield key, text
