"""`CallerIdentity` → `Principal` → `AdmittedPrincipal`: the caller is an IAM role, and its account is in the list."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthorizationError
from app.core.reasons import Reason

# Role name and session name: https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html and
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html. A colon is in neither, which keeps out EC2's
# "aws:ec2-instance" identity role.
_ASSUMED_ROLE: Final = re.compile(r"assumed-role/(?P<role>[\w+=,.@-]{1,64})/(?P<session>[\w+=,.@-]{2,64})", re.ASCII)
_USER_ID: Final = re.compile(r"(?P<role_id>AROA[A-Z0-9]{12,124}):[\w+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The IAM role behind a caller. Not yet in any list.

    Attributes:
        partition: ``aws``, ``aws-cn``, ...
        account: the 12-digit account id that STS answered.
        role: the role's name, without its path: STS leaves the path out.
        role_id: the unique ``AROA...`` id; another one after the role is deleted and made anew.
        session: chosen by whoever assumed the role (on ECS the task id); it decides nothing.
        request_id: STS's request id, for the audit line.
    """

    partition: str
    account: str
    role: str
    role_id: str
    session: str
    request_id: str

    @property
    def arn(self) -> str:
        """The STS ARN, as answered."""
        return f"arn:{self.partition}:sts::{self.account}:assumed-role/{self.role}/{self.session}"


@dataclass(frozen=True, slots=True)
class AdmittedPrincipal:
    """A principal whose account is in the list. Only such a one may cost an IAM call (I12)."""

    principal: Principal


def read_principal(identity: CallerIdentity) -> Principal:
    """Take an assumed role out of what STS answered; users, root, federated users and instance roles are none (I11).

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
    """Pass a principal whose account is in the list; runs on every decision, cache hits included (I12).

    Raises:
        AuthorizationError: ``account_not_authorized``.
    """
    if principal.account not in accounts:
        raise AuthorizationError(Reason.ACCOUNT_NOT_AUTHORIZED, "the account is not in the list")
    return AdmittedPrincipal(principal)
