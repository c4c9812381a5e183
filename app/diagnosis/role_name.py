"""The role that an operator names: ``ACCOUNT/NAME``, or an ARN of a role or of its session."""

import re
from dataclasses import dataclass
from typing import Final

from app.core.arn import Arn, ArnError, parse_arn

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
_NAME: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_PATH: Final = re.compile(r"/(?:[!-~]{1,510}/)?", re.ASCII)
_HOW: Final = (
    "write ACCOUNT/NAME, as 111122223333/demo-app, or the role's ARN, as arn:aws:iam::111122223333:role/mesh/demo-app"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleName:
    """A role by its name.

    Attributes:
        account: the 12-digit account id.
        name: the role's name, without its path.
        path: the role's path, with a slash at both ends; None if the operator gave none.
        partition: the partition of the ARN; None if the operator gave no ARN.
    """

    account: str
    name: str
    path: str | None = None
    partition: str | None = None

    def __str__(self) -> str:
        return f"{self.account}/{self.name}"


def parse_role_name(text: str) -> RoleName:
    """Parse a role's name. IAM looks for a role by its name alone, so a path is only compared with IAM's answer.

    Raises:
        ValueError: the message is a sentence with the remedy.
    """
    if text.startswith("arn:"):
        try:
            return _from_arn(parse_arn(text))
        except ArnError as error:
            raise ValueError(f"it is no ARN of a role; {_HOW}") from error
    account, slash, resource = text.partition("/")
    if not slash:
        raise ValueError(f"it names no account; {_HOW}")
    before, middle, name = resource.rpartition("/")
    return _checked(account, name, f"/{before}{middle}" if middle else None, None)


def _from_arn(arn: Arn) -> RoleName:
    kind, _, resource = arn.resource.partition("/")
    if arn.service == "iam" and kind == "role":
        before, slash, name = resource.rpartition("/")
        return _checked(arn.account, name, f"/{before}{slash}", arn.partition)
    if arn.service == "sts" and kind == "assumed-role":
        # The ARN of a session has no path.
        return _checked(arn.account, resource.partition("/")[0], None, arn.partition)
    raise ArnError("it names no role")


def _checked(account: str, name: str, path: str | None, partition: str | None) -> RoleName:
    if not _ACCOUNT.fullmatch(account):
        raise ValueError(f"an account is 12 digits; {_HOW}")
    if not _NAME.fullmatch(name) or (path is not None and not _PATH.fullmatch(path)):
        raise ValueError(f"a role's name has 1 to 64 letters, digits and _+=,.@-; {_HOW}")
    return RoleName(account=account, name=name, path=path, partition=partition)
