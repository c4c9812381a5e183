"""What IAM answered, as botocore hands it out, → `RoleRecord`. An answer that lacks something is not believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.core.role_tags import TYPE_TAG, RoleRecord
from app.errors import UpstreamError
from app.reasons import Reason

if TYPE_CHECKING:
    from types_boto3_iam.client import IAMClient
    from types_boto3_iam.type_defs import GetRoleResponseTypeDef

# Of ``GetAccountAuthorizationDetails``: each role comes with all its policies, some 10 kB.
PAGE_ROLES: Final = 200


@dataclass(frozen=True, slots=True)
class RolePage:
    """Some of an account's roles.

    Attributes:
        roles: those that have a ``kuma.io/type``.
        marker: where the next page begins; None after the last one.
    """

    roles: tuple[RoleRecord, ...]
    marker: str | None


def read_answer(answer: "GetRoleResponseTypeDef") -> RoleRecord:
    """Read what ``GetRole`` answered.

    Raises:
        UpstreamError: ``iam_unavailable``.
    """
    try:
        return _record(answer["Role"], answer["ResponseMetadata"].get("RequestId", ""))
    except (KeyError, TypeError) as error:  # botocore leaves out what an answer lacks
        raise _not_believed() from error


def read_page(client: "IAMClient", marker: str | None) -> RolePage:
    """Ask for a page of roles, and keep those of proxies.

    Raises:
        UpstreamError: ``iam_unavailable``.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: what botocore raises.
    """
    more = {} if marker is None else {"Marker": marker}
    answer = client.get_account_authorization_details(Filter=["Role"], MaxItems=PAGE_ROLES, **more)
    try:
        request_id = answer["ResponseMetadata"].get("RequestId", "")
        roles = tuple(_record(role, request_id) for role in answer["RoleDetailList"] if _is_of_a_proxy(role))
        next_marker = _text(answer["Marker"]) if answer.get("IsTruncated") else None
    except (KeyError, TypeError) as error:
        raise _not_believed() from error
    return RolePage(roles, next_marker)


def _record(role: Mapping[str, Any], request_id: str) -> RoleRecord:
    return RoleRecord(
        arn=_text(role["Arn"]),
        role_id=_text(role["RoleId"]),
        name=_text(role["RoleName"]),
        tags=tuple((_text(tag["Key"]), _text(tag["Value"])) for tag in role.get("Tags", ())),
        request_id=request_id,
    )


def _is_of_a_proxy(role: Mapping[str, Any]) -> bool:
    return any(tag["Key"] == TYPE_TAG for tag in role.get("Tags", ()))


def _not_believed() -> UpstreamError:
    return UpstreamError(Reason.IAM_UNAVAILABLE, "the answer of IAM is not believed: a member is missing")


def _text(value: object) -> str:
    """Return a member that is one text; botocore makes a list of an element that stands twice."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
