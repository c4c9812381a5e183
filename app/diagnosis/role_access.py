"""Check whether the service may read roles: one that the operator names, or any role of an account."""

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from app.core.errors import AuthError
from app.core.principal import admit
from app.core.reasons import EXPLANATIONS, Reason
from app.diagnosis.finding import Finding, failed, ok, warning
from app.diagnosis.role_name import RoleName
from app.diagnosis.role_report import as_principal
from app.iam.client import IamRoles
from app.iam.missing_permission import RoleUnreadableError


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAccess:
    """How roles are read.

    Attributes:
        iam: the service's client of IAM.
        accounts: the listed accounts.
        partition: the partition of the service.
        deadline: when the last role must be read, in seconds of the event loop's clock.
    """

    iam: IamRoles
    accounts: AbstractSet[str]
    partition: str
    deadline: float

    async def read(self, named: RoleName) -> str:
        """Read a role, and return its ARN.

        Raises:
            AuthError: the account is not listed, or AWS does not give the role.
        """
        admitted = admit(as_principal(named, partition=self.partition), self.accounts)
        return (await self.iam.read_role(admitted, self.deadline)).arn


async def check_reading(access: RoleAccess, probe: RoleName, *, is_own: bool) -> Finding:
    """Check whether the service can read roles of a listed account.

    Args:
        access: how roles are read.
        probe: a role that is probably there: the service's own role, or the reader role. AWS
            checks the permission first, also for a role that does not exist.
        is_own: whether the account is the service's own.
    """
    account, name = probe.account, probe.name
    check = f"roles of {account}"
    works = "iam:GetRole works" if is_own else "sts:AssumeRole and iam:GetRole work"
    try:
        await access.read(probe)
    except RoleUnreadableError as error:
        if error.missing.operation == "GetRole" and error.missing.policy is not None:
            found = f"GetRole of {name} is denied. This is right if the policy is limited to another path"
            return warning(check, found, f"check a workload's role: --role {account}/NAME")
        return _unreadable(check, error)
    except AuthError as error:
        if error.reason is not Reason.ROLE_NOT_FOUND:
            return failed(check, error.detail, EXPLANATIONS[error.reason].detail)
    return ok(check, f"{works}, {'the own account' if is_own else 'through the reader role'}")


async def check_named_role(access: RoleAccess, named: RoleName) -> Finding:
    """Check whether the service can read the role that the operator names."""
    check = f"role {named}"
    try:
        arn = await access.read(named)
    except RoleUnreadableError as error:
        return _unreadable(check, error)
    except AuthError as error:
        return failed(check, error.detail, EXPLANATIONS[error.reason].detail)
    return ok(check, f"{arn} can be read; explain-role shows what it is granted")


def _unreadable(check: str, error: RoleUnreadableError) -> Finding:
    """Return the finding about a denied call, with the policy statement in JSON if a policy is missing."""
    missing = error.missing
    problem = error.detail.removesuffix(f"; {missing.remedy}")
    if missing.policy is None:
        return failed(check, problem, missing.remedy)
    statement = json.dumps(missing.policy["Statement"][0], separators=(",", ":"))
    return failed(check, problem, f"{missing.remedy}. The policy statement: {statement}")
