"""The emulated STS: GetCallerIdentity, and sessions of roles.

The gateway verifies the caller before it calls this module.
"""

import re
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Final

from app.emulator import web_identity
from app.emulator.identities import Principal, Role
from app.emulator.query_protocol import Document, Operation, Service, ServiceError

MIN_DURATION: Final = 900
CHAINED_MAX_DURATION: Final = 3600
"""The longest session of a role that was assumed by another role: one hour."""

_ROLE_ARN: Final = re.compile(r"arn:([a-z-]+):iam::(\d{12}):role(/(?:[!-~]+/)?)([\w+=,.@-]{1,64})", re.ASCII)
SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


def get_caller_identity(operation: Operation) -> Document:
    """Return the signer of the request. The call needs no permission."""
    caller = operation.caller
    return {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account}


def assume_role(operation: Operation) -> Document:
    """Return a session of another role, if that role trusts the caller."""
    params = operation.params
    if operation.caller.arn.endswith(":root"):
        raise ServiceError(403, "AccessDenied", "Roles may not be assumed by root accounts.")
    arn = _require(params.get("RoleArn"), "roleArn")
    session_name = _require(params.get("RoleSessionName"), "roleSessionName")
    parsed = _ROLE_ARN.fullmatch(arn)
    if parsed is None:
        raise ServiceError(400, "ValidationError", f"{arn} is invalid")
    if not SESSION_NAME.fullmatch(session_name):
        raise _constraint(session_name, "roleSessionName", "satisfy regular expression pattern: [\\w+=,.@-]{2,64}")
    # The answer is the same if the role does not exist, if its path is wrong and if it does not trust the caller. So callers
    # cannot find out which roles exist.
    role = operation.world.find_role(parsed[2], parsed[4])
    if role is None or role.arn != arn or not _trusts(role, operation.caller, params.get("ExternalId")):
        raise _denied(operation.caller, arn)
    duration = _read_duration(params.get("DurationSeconds"), role, operation.caller)
    session = operation.world.issue_session(role.account, role.name, session_name, duration)
    return {
        "AssumedRoleUser": {"AssumedRoleId": session.principal.user_id, "Arn": session.principal.arn},
        "Credentials": {
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "SessionToken": session.session_token,
            "Expiration": session.expiration,
        },
    }


def assume_role_with_web_identity(operation: Operation) -> Document:
    """Return a session of a role that trusts the subject of the caller's token."""
    return {**assume_role(operation), "SubjectFromWebIdentityToken": operation.caller.arn}


SERVICE: Final = Service(
    name="sts",
    version="2011-06-15",
    namespace="https://sts.amazonaws.com/doc/2011-06-15/",
    actions={
        "GetCallerIdentity": get_caller_identity,
        "AssumeRole": assume_role,
        web_identity.ACTION: assume_role_with_web_identity,
    },
)


def _trusts(role: Role, caller: Principal, external_id: str | None) -> bool:
    if role.partition != caller.partition:
        return False
    if role.external_id is not None and external_id != role.external_id:
        return False
    return any(fnmatchcase(arn, pattern) for pattern in role.trusted for arn in (caller.policy_arn, caller.arn))


def _read_duration(text: str | None, role: Role, caller: Principal) -> timedelta:
    if text is None:
        return timedelta(seconds=min(CHAINED_MAX_DURATION, role.max_session_duration))
    if not text.isascii() or not text.isdigit() or int(text) < MIN_DURATION:
        raise _constraint(text, "durationSeconds", f"have value greater than or equal to {MIN_DURATION}")
    seconds = int(text)
    if caller.role_id is not None and seconds > CHAINED_MAX_DURATION:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise ServiceError(400, "ValidationError", message)
    if seconds > role.max_session_duration:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise ServiceError(400, "ValidationError", message)
    return timedelta(seconds=seconds)


def _require(value: str | None, name: str) -> str:
    if not value:
        raise _constraint("null", name, "not be null")
    return value


def _constraint(value: str, name: str, rule: str) -> ServiceError:
    shown = value if value == "null" else f"'{value}'"
    message = f"1 validation error detected: Value {shown} at '{name}' failed to satisfy constraint: Member must {rule}"
    return ServiceError(400, "ValidationError", message)


def _denied(caller: Principal, role_arn: str) -> ServiceError:
    message = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
    return ServiceError(403, "AccessDenied", message)
