"""Check the service's own AWS credentials, and whether they can read the roles of every listed account."""

import asyncio
from collections.abc import Sequence
from typing import Final

from app.aws.signed_query import RefusedError
from app.core.arn import parse_arn
from app.core.errors import AuthError, OwnCredentialsError
from app.core.sts_documents import IdentityDocument
from app.diagnosis.finding import Finding, failed, ok, skipped, warning
from app.diagnosis.role_access import RoleAccess, check_named_role, check_reading
from app.diagnosis.role_name import RoleName
from app.iam.client import IamRoles
from app.iam.refusals import read_refusal
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
    access = iam.access
    findings: list[Finding] = []
    try:
        await access.credentials.get(_soon())
        findings.append(ok(_CREDENTIALS, "found"))
        identity = await access.identify(_soon())
    except OwnCredentialsError as error:
        cause = None if access.credentials.problem is None else access.credentials.problem.cause
        return _without_identity(
            [failed(_CREDENTIALS, *(cause or (error.detail, _GIVE_A_ROLE)))], "no usable credentials"
        )
    except RefusedError as error:
        return _without_identity([*findings, failed(_IDENTITY, read_refusal(error).detail)], "no answer of STS")
    except AuthError as error:
        return _without_identity([*findings, failed(_IDENTITY, error.detail)], "no answer of STS")
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


def _without_identity(findings: list[Finding], why: str) -> list[Finding]:
    """Return the findings so far, and say for each later check why it was skipped."""
    seen = {finding.check for finding in findings}
    rest = (check for check in (_IDENTITY, _ROLES) if check not in seen)
    return [*findings, *(skipped(check, f"not checked: {why}") for check in rest)]


def _soon() -> float:
    return asyncio.get_running_loop().time() + _SECONDS
