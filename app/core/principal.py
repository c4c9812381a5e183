"""`CallerIdentity` → `Principal` → `AdmittedPrincipal`: the caller is an IAM role, and its account is in the list."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthorizationError
from app.core.reasons import Reason

# The grammar of role names and session names:
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html and
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
# These names contain no colon, so the patterns do not match EC2's identity role "aws:ec2-instance".
_ASSUMED_ROLE: Final = re.compile(r"assumed-role/(?P<role>[\w+=,.@-]{1,64})/(?P<session>[\w+=,.@-]{2,64})", re.ASCII)
_USER_ID: Final = re.compile(r"(?P<role_id>AROA[A-Z0-9]{12,124}):[\w+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The IAM role of a caller. Nothing has checked yet whether the role's account is in the list.

    Attributes:
        partition: ``aws``, ``aws-cn``, ...
        account: the 12-digit account id from STS's answer.
        role: the role's name, without its path: STS leaves the path out.
        role_id: the unique ``AROA...`` id; a deleted and recreated role has another id.
        session: the session name, which the caller of AssumeRole chose (on ECS the task id). It has no effect on a decision.
        request_id: STS's request id, for the audit line.
    """

    partition: str
    account: str
    role: str
    role_id: str
    session: str
    request_id: str

    @property
    def role_identifiers(self) -> tuple[str, str, str, str]:
        """Partition, account, unique id and name of the role, to compare with those of a record of IAM."""
        return self.partition, self.account, self.role_id, self.role

    def members(self) -> dict[str, str]:
        """Return the role and its session as answers and tokens contain them."""
        return {
            "partition": self.partition,
            "account": self.account,
            "role": self.role,
            "roleId": self.role_id,
            "session": self.session,
        }

    @property
    def arn(self) -> str:
        """The ARN as STS wrote it in its answer."""
        return f"arn:{self.partition}:sts::{self.account}:assumed-role/{self.role}/{self.session}"


@dataclass(frozen=True, slots=True)
class AdmittedPrincipal:
    """A principal whose account is in the list. Only such a principal may cause an IAM call (I12)."""

    principal: Principal


def read_principal(identity: CallerIdentity) -> Principal:
    """Read the assumed role from the answer of STS. Deny users, root, federated users and instance roles (I11).

    Raises:
        AuthorizationError: ``principal_not_a_role``.
    """
    resource = _ASSUMED_ROLE.fullmatch(identity.arn.resource)
    user_id = _USER_ID.fullmatch(identity.user_id)
    if identity.arn.service != "sts" or identity.arn.region or resource is None or user_id is None:
        raise AuthorizationError(Reason.PRINCIPAL_NOT_A_ROLE, "STS answered another kind of principal than a role")
    return Principal(
        partition=identity.arn.partition,
        account=identity.account,
        role=resource["role"],
        role_id=user_id["role_id"],
        session=resource["session"],
        request_id=identity.request_id,
    )


def admit(principal: Principal, accounts: AbstractSet[str]) -> AdmittedPrincipal:
    """Admit a principal whose account is in the list. This check runs on every decision, cache hits included (I12).

    Raises:
        AuthorizationError: ``account_not_authorized``.
    """
    if principal.account not in accounts:
        raise AuthorizationError(Reason.ACCOUNT_NOT_AUTHORIZED, "the account is not in the list")
    return AdmittedPrincipal(principal)
