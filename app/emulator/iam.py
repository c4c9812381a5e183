"""The emulated IAM: it reads roles and their tags in the caller's own account.

The gateway verifies the caller before it calls this module. The permissions of a role are one list of ARN patterns:
`may_get_roles`.
"""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import quote

from app.emulator.identities import Principal, Role
from app.emulator.query_protocol import Document, Operation, Service, ServiceError

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000


def get_role(operation: Operation) -> Document:
    """Return one role of the caller's account with its tags."""
    name = operation.params.get("RoleName")
    if not name:
        message = "Value null at 'roleName' failed to satisfy constraint: Member must not be null"
        raise ServiceError(400, "ValidationError", f"1 validation error detected: {message}")
    caller = operation.caller
    role = operation.world.find_role(caller.account, name)
    # The path of a role that does not exist is unknown, so the permission is checked for an ARN without a path.
    resource = role.arn if role else f"arn:{caller.partition}:iam::{caller.account}:role/{name}"
    if not _may(operation, resource):
        raise _denied(caller, "iam:GetRole", f"role {name}")
    if role is None:
        raise ServiceError(404, "NoSuchEntity", f"The role with name {name} cannot be found.")
    tags = {"Tags": _tags(role)} if role.tags else {}
    return {"Role": _common(role) | {"MaxSessionDuration": role.max_session_duration} | tags | {"RoleLastUsed": {}}}


def get_account_authorization_details(operation: Operation) -> Document:
    """Return the roles of the caller's account page by page, without users, groups and policies."""
    params = operation.params
    if not _may(operation, "*"):
        raise _denied(operation.caller, "iam:GetAccountAuthorizationDetails", "*")
    filters = {value for name, value in params.items() if name.startswith("Filter.member.")}
    roles = operation.world.roles(operation.caller.account) if not filters or "Role" in filters else ()
    first = _read_number(params, "Marker", 0, len(roles))
    size = _read_number(params, "MaxItems", DEFAULT_PAGE, MAX_PAGE)
    page = roles[first : first + size]
    rest = first + len(page)
    more: Document = {"IsTruncated": True, "Marker": str(rest)} if rest < len(roles) else {"IsTruncated": False}
    empty: Document = {"UserDetailList": [], "GroupDetailList": [], "Policies": []}
    return more | empty | {"RoleDetailList": [_detail(role) for role in page]}


SERVICE: Final = Service(
    name="iam",
    version="2010-05-08",
    namespace="https://iam.amazonaws.com/doc/2010-05-08/",
    actions={"GetRole": get_role, "GetAccountAuthorizationDetails": get_account_authorization_details},
)


def trust_policy(role: Role) -> str:
    """Return the trust policy of a role, as AWS stores one."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": list(role.trusted), "Service": "ecs-tasks.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    if role.external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": role.external_id}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _common(role: Role) -> Document:
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": quote(trust_policy(role), safe=""),
    }


def _detail(role: Role) -> Document:
    nothing: Document = {"InstanceProfileList": [], "RolePolicyList": [], "AttachedManagedPolicies": []}
    return _common(role) | nothing | {"Tags": _tags(role), "RoleLastUsed": {}}


def _tags(role: Role) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in role.tags]


def _may(operation: Operation, resource: str) -> bool:
    caller = operation.caller
    if caller.role_name is None:
        return True  # users are the emulator's administrators
    role = operation.world.find_role(caller.account, caller.role_name)
    return role is not None and any(fnmatchcase(resource, pattern) for pattern in role.may_get_roles)


def _read_number(params: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) > highest:
        raise ServiceError(400, "ValidationError", f"The specified value for {name} is invalid.")
    return int(text)


def _denied(caller: Principal, action: str, resource: str) -> ServiceError:
    message = (
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )
    return ServiceError(403, "AccessDenied", message)
