"""The identities of the emulated AWS: roles, principals and the keys that sign for them.

All of them are plain values. `world` stores and replaces them. No `repr` contains a secret.
"""

import base64
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypedDict

from botocore.credentials import ReadOnlyCredentials

Clock: TypeAlias = Callable[[], datetime]
Tags: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_ID_ALPHABET = string.ascii_uppercase + "234567"


def utc_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)


class RoleOptions(TypedDict, total=False):
    """The properties of a new role besides its account and name."""

    path: str
    role_id: str
    tags: Tags
    trusted: tuple[str, ...]
    external_id: str | None
    may_get_roles: tuple[str, ...]
    max_session_duration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """An IAM role at one moment. A change of its tags makes a new `Role`."""

    partition: str
    account: str
    name: str
    role_id: str
    created_at: datetime
    path: str = "/"
    tags: tuple[tuple[str, str], ...] = ()
    trusted: tuple[str, ...] = ("*",)
    """Shell-style patterns of the ARNs that may assume the role."""
    external_id: str | None = None
    """The external id that `sts:AssumeRole` must send; None if none is required."""
    may_get_roles: tuple[str, ...] = ("*",)
    """Shell-style patterns of the role ARNs that this role may read with `iam:GetRole`."""
    max_session_duration: int = 3600

    @property
    def arn(self) -> str:
        """The role's own ARN, path included."""
        return f"arn:{self.partition}:iam::{self.account}:role{self.path}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The signer of a request. GetCallerIdentity returns it, and policies are matched against it."""

    partition: str
    account: str
    arn: str
    user_id: str
    policy_arn: str
    """The ARN that policies match: the role's ARN with its path, or the user's ARN."""
    role_id: str | None = None
    """Set for a session of a role. The session ends if that role is deleted."""
    role_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCredentials:
    """A key pair with its owner: that of a user or of an account's root, which has neither token nor expiry."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expiration: datetime | None = None
    principal: Principal

    def boto3(self) -> dict[str, Any]:
        """Return the keyword arguments for `boto3.client` and `boto3.Session`."""
        return {
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
        }

    def frozen(self) -> ReadOnlyCredentials:
        """Return the credentials in the type that botocore's signers take."""
        return ReadOnlyCredentials(self.access_key_id, self.secret_access_key, self.session_token)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCredentials(UserCredentials):
    """Temporary credentials of a role's session, as STS or the ECS agent issue them."""

    session_token: str = field(repr=False)
    expiration: datetime


def new_unique_id(prefix: str) -> str:
    """Make an id such as `AROA...` for a role or `AIDA...` for a user: 21 characters."""
    return prefix + "".join(secrets.choice(_ID_ALPHABET) for _ in range(17))


def new_access_key_id(prefix: str, account: str) -> str:
    """Make an access key id that encodes its account in the same way as AWS's own."""
    account_bits = (1 << 47 | int(account) << 7).to_bytes(6, "big")
    return prefix + base64.b32encode(account_bits + secrets.token_bytes(4)).decode()


def new_secret() -> str:
    """Make a secret access key of AWS's 40 characters."""
    return base64.b64encode(secrets.token_bytes(30)).decode()


def new_session_token(size: int) -> str:
    """Make a session token that begins like a token of AWS, and that contains `+`, `/` and `=` like one."""
    return "IQoJb3JpZ2luX2Vj" + base64.b64encode(secrets.token_bytes(size)).decode()
