"""What a refused call of the service itself means: its reason, and for a denial the policy at fault and the remedy."""

from typing import Any, Final

from app.aws.signed_query import RefusedError
from app.core.aws_denials import Denial, PolicyKind, read_denial
from app.core.aws_errors import ACCESS_DENIED_CODES, BAD_CREDENTIAL_CODES, THROTTLING_CODES
from app.core.errors import AuthError, AuthorizationError, UpstreamError
from app.core.principal import Principal
from app.core.reasons import Reason
from app.iam.access import MAKE_READER_ROLE, IamOptions
from app.iam.missing_permission import MissingPermission, RoleUnreadableError
from app.telemetry.audit import get_logger

_SELF: Final = "the service's own role"
_READER: Final = "the role that reads this account (the service's own, or the reader role in it)"


def read_refusal(error: RefusedError) -> AuthError:
    """Convert AWS's error code into a reason. The action shows whether GetRole failed, or AssumeRole before it."""
    if error.code in THROTTLING_CODES:
        return UpstreamError(Reason.IAM_THROTTLED, str(error))
    # If GetCallerIdentity was denied, a change of IAM policies does not help: only the policy of a VPC endpoint can deny it.
    if error.code in ACCESS_DENIED_CODES and error.action == "GetCallerIdentity":
        return UpstreamError(
            Reason.IAM_UNAVAILABLE,
            f"{error} to the service itself, which no IAM policy can cause; correct the policy of the VPC endpoint for STS",
        )
    if error.code in ACCESS_DENIED_CODES:
        denial = read_denial(error.message)
        detail = f"{error}, denied {denial.problem}; {_remedy(denial, error.action)}"
        return UpstreamError(Reason.IAM_ACCESS_DENIED, detail)
    if error.code == "NoSuchEntity" and error.action == "GetRole":
        return AuthorizationError(Reason.ROLE_NOT_FOUND, str(error))
    if error.code in BAD_CREDENTIAL_CODES:
        return UpstreamError(
            Reason.IAM_UNAVAILABLE,
            f"{error}: AWS rejects the session of the reader role; a role that was just created needs a minute, and a proxy "
            "on the path must not change requests",
        )
    return UpstreamError(Reason.IAM_UNAVAILABLE, f"{error}; AWS, or a proxy on the path, sent it: try again")


def deny(refused: RefusedError, detail: str, principal: Principal, options: IamOptions) -> RoleUnreadableError:
    """Log a denied call with the remedy, and with the policy that is missing if a policy is. Return the error with both."""
    denial = read_denial(refused.message)
    lacks_policy = denial.kind is PolicyKind.UNSTATED or (denial.kind is PolicyKind.IDENTITY and not denial.is_explicit)
    policy, attach_to = _mending_policy(refused.action, principal, options) if lacks_policy else (None, None)
    missing = MissingPermission(
        operation=refused.action,
        remedy=_remedy(denial, refused.action),
        denied_by=denial.kind.value,
        policy=policy,
        attach_to=attach_to,
    )
    return _logged(RoleUnreadableError(detail, missing), principal)


def deny_without_reader(detail: str, principal: Principal) -> RoleUnreadableError:
    """Log that a role is in another account than the service, and that no reader role is configured. Return the error."""
    missing = MissingPermission(
        operation="AssumeRole",
        remedy=MAKE_READER_ROLE,
        policy=_allow("iam:GetRole", f"arn:{principal.partition}:iam::{principal.account}:role/*"),
        attach_to=f"the reader role to make in account {principal.account}: it must trust {_SELF}, which needs "
        "sts:AssumeRole on it",
    )
    return _logged(RoleUnreadableError(detail, missing), principal)


def _logged(error: RoleUnreadableError, principal: Principal) -> RoleUnreadableError:
    get_logger().warning("iam access denied", account=principal.account, role=principal.role, **error.missing.members())
    return error


def _remedy(denial: Denial, action: str) -> str:
    if action == "AssumeRole":
        remedy = denial.remedy("sts:AssumeRole", _SELF, "STS")
        if denial.kind is PolicyKind.UNSTATED:
            remedy += (
                ", and check the reader role: it must exist under KMESH_AWSIAM_READER_ROLE_NAME, trust the service's role, "
                "and ask for the external id of KMESH_AWSIAM_READER_EXTERNAL_ID"
            )
        return remedy
    remedy = denial.remedy(f"iam:{action}", _READER, "IAM")
    if denial.kind in (PolicyKind.UNSTATED, PolicyKind.IDENTITY) and not denial.is_explicit:
        remedy += "; if its policy allows only a path, the proxy's role may be under another path or deleted"
    return remedy


def _mending_policy(operation: str, principal: Principal, options: IamOptions) -> tuple[dict[str, Any], str]:
    if operation == "AssumeRole":
        arn = options.reader_role_arn(principal.account)
        attach_to = f"{_SELF}; and {arn} must exist, trust that role, and ask for the same external id"
        action = "sts:AssumeRole"
    else:
        arn = f"arn:{principal.partition}:iam::{principal.account}:role/*"
        attach_to = "the role that reads this account: the service's own, or the reader role in it"
        action = "iam:GetRole"
    return _allow(action, arn), attach_to


def _allow(action: str, resource: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]}
