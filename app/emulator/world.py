"""The emulated AWS: accounts, their roles and users, and every issued key.

The world is the only mutable state besides `faults`, `calls` and the sessions of `container_credentials`. All methods are
thread-safe. A reader gets frozen values, so no lock is held while a request is answered.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar, Unpack

from app.emulator import identities, world_file
from app.emulator.identities import (
    Clock,
    Principal,
    Role,
    RoleOptions,
    SessionCredentials,
    Tags,
    UserCredentials,
)

_Credentials = TypeVar("_Credentials", bound=UserCredentials)

MAX_KEYS: Final = 200_000
"""The limit of keys. Above it the oldest keys are deleted, so that an emulator can run for weeks."""


class World:
    """An in-memory AWS of one or several accounts."""

    def __init__(
        self,
        *,
        partition: str = "aws",
        clock: Clock = identities.utc_now,
        session_token_bytes: int = 540,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self.clock = clock
        self._partition = partition
        self._session_token_bytes = session_token_bytes
        self._max_keys = max_keys
        self._lock = threading.RLock()
        self._accounts: dict[str, str] = {}
        self._roles: dict[tuple[str, str], Role] = {}  # role names that differ only in case are equal
        self._live_role_ids: set[str] = set()
        self._keys: dict[str, UserCredentials] = {}

    @classmethod
    def from_text(cls, text: str, *, clock: Clock = identities.utc_now) -> Self:
        """Make the world that a TOML text describes.

        Raises:
            WorldFileError: the text is invalid; the error lists every problem, with its table and key.
        """
        plan = world_file.parse(text)
        world = cls(partition=plan.partition, clock=clock)
        for account, table in plan.accounts.items():
            world.add_account(account, partition=table.partition)
            for role_name, role in table.roles.items():
                world.add_role(account, role_name, **role.model_dump(exclude_unset=True))
            for user_name, user in table.users.items():
                world.add_user(account, user_name, **user.model_dump(exclude_unset=True))
        return world

    @classmethod
    def from_toml(cls, path: str | Path, *, clock: Clock = identities.utc_now) -> Self:
        """Make the world that a TOML file describes; see `from_text`."""
        return cls.from_text(Path(path).read_text(encoding="utf-8"), clock=clock)

    def add_account(self, account: str, *, partition: str | None = None) -> None:
        """Add an account. Its partition is the world's if none is given. If the account exists, nothing changes."""
        with self._lock:
            self._accounts.setdefault(account, partition or self._partition)

    def accounts(self) -> Mapping[str, str]:
        """Return the partition of each account."""
        with self._lock:
            return dict(self._accounts)

    def add_role(self, account: str, name: str, **options: Unpack[RoleOptions]) -> Role:
        """Create a role, and its account if the account does not exist.

        Raises:
            ValueError: the account already has a role of this name, ignoring case.
        """
        details: dict[str, Any] = {"role_id": identities.new_unique_id("AROA"), **options}
        details["tags"] = _as_pairs(options.get("tags", ()))
        with self._lock:
            self.add_account(account)
            if (account, name.lower()) in self._roles:
                raise ValueError(f"role {name} exists in account {account}")
            role = Role(
                partition=self._accounts[account],
                account=account,
                name=name,
                created_at=self.clock().replace(microsecond=0),
                **details,
            )
            self._roles[account, name.lower()] = role
            self._live_role_ids.add(role.role_id)
            return role

    def set_role_tags(self, account: str, name: str, tags: Tags) -> Role:
        """Replace all tags of a role. All tags are accepted, even those that AWS would reject.

        Raises:
            LookupError: when there is no such role.
        """
        with self._lock:
            role = replace(self._require_role(account, name), tags=_as_pairs(tags))
            self._roles[account, name.lower()] = role
            return role

    def delete_role(self, account: str, name: str) -> None:
        """Delete a role. Its sessions become invalid, and stay invalid if a role of the same name is created later.

        Raises:
            LookupError: when there is no such role.
        """
        with self._lock:
            self._live_role_ids.discard(self._require_role(account, name).role_id)
            del self._roles[account, name.lower()]

    def find_role(self, account: str, name: str) -> Role | None:
        """Find a role by its name, ignoring case; return None if there is none."""
        return self._roles.get((account, name.lower()))

    def roles(self, account: str) -> tuple[Role, ...]:
        """Return the roles of an account in the order of their names."""
        with self._lock:
            return tuple(sorted((r for r in self._roles.values() if r.account == account), key=lambda r: r.name))

    def add_user(
        self,
        account: str,
        name: str,
        *,
        path: str = "/",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
    ) -> UserCredentials:
        """Create a user with one key pair. The name `root` means the root user of the account."""
        self.add_account(account)
        partition = self._accounts[account]
        arn = f"arn:{partition}:iam::{account}:" + ("root" if name == "root" else f"user{path}{name}")
        user_id = account if name == "root" else identities.new_unique_id("AIDA")
        principal = Principal(partition=partition, account=account, arn=arn, user_id=user_id, policy_arn=arn)
        credentials = UserCredentials(
            access_key_id=access_key_id or identities.new_access_key_id("AKIA", account),
            secret_access_key=secret_access_key or identities.new_secret(),
            principal=principal,
        )
        return self._remember(credentials)

    def issue_session(
        self, account: str, role: str, session_name: str, duration: timedelta = timedelta(hours=1)
    ) -> SessionCredentials:
        """Issue new credentials of a role as STS does, without a check of its trust policy.

        Raises:
            LookupError: when there is no such role.
        """
        held = self._require_role(account, role)
        principal = Principal(
            partition=held.partition,
            account=account,
            arn=f"arn:{held.partition}:sts::{account}:assumed-role/{held.name}/{session_name}",
            user_id=f"{held.role_id}:{session_name}",
            policy_arn=held.arn,
            role_id=held.role_id,
            role_name=held.name,
        )
        return self._issue(principal, duration)

    def issue_federated_user(
        self, account: str, name: str, duration: timedelta = timedelta(hours=1)
    ) -> SessionCredentials:
        """Issue credentials as `sts:GetFederationToken` does: temporary, and without a role."""
        self.add_account(account)
        partition = self._accounts[account]
        arn = f"arn:{partition}:sts::{account}:federated-user/{name}"
        principal = Principal(
            partition=partition, account=account, arn=arn, user_id=f"{account}:{name}", policy_arn=arn
        )
        return self._issue(principal, duration)

    def find_key(self, access_key_id: str) -> UserCredentials | None:
        """Find an access key, including expired and invalid keys. Return None if there is no such key."""
        return self._keys.get(access_key_id)

    def is_alive(self, principal: Principal) -> bool:
        """Return whether the role of a session still exists. For users the result is always True."""
        return principal.role_id is None or principal.role_id in self._live_role_ids

    def _issue(self, principal: Principal, duration: timedelta) -> SessionCredentials:
        credentials = SessionCredentials(
            access_key_id=identities.new_access_key_id("ASIA", principal.account),
            secret_access_key=identities.new_secret(),
            session_token=identities.new_session_token(self._session_token_bytes),
            expiration=(self.clock() + duration).replace(microsecond=0),
            principal=principal,
        )
        return self._remember(credentials)

    def _remember(self, credentials: _Credentials) -> _Credentials:
        with self._lock:
            self._keys[credentials.access_key_id] = credentials
            if len(self._keys) > self._max_keys:
                del self._keys[next(iter(self._keys))]
        return credentials

    def _require_role(self, account: str, name: str) -> Role:
        role = self.find_role(account, name)
        if role is None:
            raise LookupError(f"account {account} has no role {name}")
        return role


def _as_pairs(tags: Tags) -> tuple[tuple[str, str], ...]:
    return tuple(tags.items() if isinstance(tags, Mapping) else tags)
