"""Check the service's own AWS credentials, and whether they can read the roles of every listed account."""

import asyncio
from collections.abc import Sequence
from typing import Final

from app.aws.signed_query import RefusedError
from app.core.arn import parse_arn
from app.core.aws_errors import ACCESS_DENIED_CODES, EXPIRED_SESSION_CODES
from app.core.errors import AuthError
from app.core.sts_documents import IdentityDocument
from app.diagnosis.finding import Finding, failed, ok, skipped, warning
from app.diagnosis.role_access import RoleAccess, check_named_role, check_reading
from app.diagnosis.role_name import RoleName
from app.iam.client import IamRoles
from app.settings.environment import Settings

_CREDENTIALS: Final = "own credentials"
_IDENTITY: Final = "own identity"
_ROLES: Final = "reading roles"
# The limits for the credentials and for STS, and for all roles together.
_SECONDS: Final = 7.0
_READING_SECONDS: Final = 14.0
_AT_A_TIME: Final = 8
# More accounts than this share one row, if all is well with them.
_MAX_ROWS: Final = 8
_GIVE_A_ROLE: Final = (
    "give the service's task a task role (taskRoleArn), or set the SDK's AWS_* variables; the role needs "
    "config/iam/service-role-policy.json"
)


async def check_identity(settings: Settings, iam: IamRoles, named: Sequence[RoleName]) -> list[Finding]:
    """Return the findings about the service's credentials, its identity, and the roles that it reads.

    Args:
        settings: the settings of the service.
        iam: the service's client of IAM.
        named: the roles that the operator names.
    """
    try:
        await iam.access.credentials.get(_soon())
    except AuthError as error:
        rest = [skipped(check, "not checked: there are no credentials") for check in (_IDENTITY, _ROLES)]
        return [failed(_CREDENTIALS, error.detail, _GIVE_A_ROLE), *rest]
    findings = [ok(_CREDENTIALS, "found")]
    try:
        identity = await iam.access.identify(_soon())
    except RefusedError as error:
        why = skipped(_ROLES, "not checked: STS does not accept the service's credentials")
        return [*findings, failed(_IDENTITY, str(error), _remedy_for(error.code)), why]
    except AuthError as error:
        why = skipped(_ROLES, "not checked: STS does not answer")
        return [*findings, failed(_IDENTITY, error.detail, "see the rows about STS"), why]
    findings.append(_judge_identity(identity))
    return [*findings, *await _check_accounts(settings, iam, identity, named)]


async def _check_accounts(
    settings: Settings, iam: IamRoles, identity: IdentityDocument, named: Sequence[RoleName]
) -> list[Finding]:
    accounts, partition = settings.authorized_accounts, settings.partition
    deadline = asyncio.get_running_loop().time() + _READING_SECONDS
    access = RoleAccess(iam=iam, accounts=accounts, partition=partition, deadline=deadline)
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def check_account(account: str) -> Finding:
        async with turns:
            own = account == identity.account
            name = _own_role(identity) if own else (settings.reader_role_name or "").rpartition("/")[2]
            return await check_reading(access, RoleName(account=account, name=name or "kuma-aws-iam"), is_own=own)

    async def check_role(role: RoleName) -> Finding:
        async with turns:
            return await check_named_role(access, role)

    ordered = sorted(accounts, key=lambda account: (account != identity.account, account))
    by_account = await asyncio.gather(*map(check_account, ordered))
    by_role = await asyncio.gather(*map(check_role, named))
    good = [finding for finding in by_account if finding.state == "ok"]
    if len(good) > _MAX_ROWS:
        by_account = [finding for finding in by_account if finding.state != "ok"]
        by_account.insert(0, ok(_ROLES, f"iam:GetRole works in {len(good)} accounts"))
    return [*by_account, *by_role]


def _judge_identity(identity: IdentityDocument) -> Finding:
    if _own_role(identity) is None:
        return warning(_IDENTITY, f"{identity.arn} is not a role's session", _GIVE_A_ROLE)
    return ok(_IDENTITY, identity.arn)


def _own_role(identity: IdentityDocument) -> str | None:
    kind, _, rest = parse_arn(identity.arn).resource.partition("/")
    return rest.partition("/")[0] if kind == "assumed-role" else None


def _remedy_for(code: str) -> str:
    if code in ACCESS_DENIED_CODES:
        return "no IAM policy can deny this call: correct the policy of the VPC endpoint for STS"
    if code in EXPIRED_SESSION_CODES:
        return "the credentials have expired: let the task fetch new ones, or remove AWS_* variables that were copied"
    if code == "InvalidClientTokenId":
        return (
            "AWS does not know the access key: its role was deleted, it is of another partition, or its session token is "
            "missing or invalid in the region of AWS_REGION"
        )
    if code == "SignatureDoesNotMatch":
        return "the secret key is wrong, or this host's clock is (see the row clock)"
    return "look up this error code in AWS's documentation of STS"


def _soon() -> float:
    return asyncio.get_running_loop().time() + _SECONDS
