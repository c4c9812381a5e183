"""A small AWS with tagged roles, and credentials with real signatures of these roles."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Unpack

from app.core.signed_request import CredentialForm
from app.emulator import Emulator, Role, SessionCredentials, World
from app.emulator.calls import Call
from app.emulator.identities import RoleOptions
from tests.support.signing import AUDIENCE, Recipe

ACCOUNT: Final = "111122223333"  # the service's own
OTHER_ACCOUNT: Final = "444455556666"  # listed, and read through the reader role
STRANGERS_ACCOUNT: Final = "999988887777"  # not listed

SERVICE_ROLE: Final = "kuma-aws-iam"
READER_ROLE: Final = "kuma-aws-iam-reader"
EXTERNAL_ID: Final = "external-id-of-the-reader"

DATAPLANE: Final[Mapping[str, str]] = {
    "kuma.io/type": "dataplane",
    "kuma.io/mesh": "default",
    "kuma.io/service": "demo-app",
}
INGRESS: Final[Mapping[str, str]] = {"kuma.io/type": "ingress"}
EGRESS: Final[Mapping[str, str]] = {"kuma.io/type": "egress"}

PROXY: Final[Mapping[str, Any]] = {
    "type": "dataplane",
    "mesh": "default",
    "name": "demo-app-1",
    "tags": {"kuma.io/service": ["demo-app"]},
}
"""What a proxy of a `DATAPLANE` role says it is."""

OLD_GENERATION: Final[Mapping[str, str]] = {
    "KUMA_DP_SERVER_AUTH_TYPE": "aws-iam",
    "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH": "true",
    "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ACCOUNT,
}
NEW_GENERATION: Final[Mapping[str, str]] = {
    "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "aws-iam",
    "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE": "aws-iam",
    "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS": "true",
    "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ACCOUNT,
}

_NUMBERS: Final[Iterator[int]] = itertools.count(1)


def make_world() -> World:
    """Make the roles that every test may use. A test that changes a role adds its own one."""
    world = World()
    world.add_role(ACCOUNT, SERVICE_ROLE)
    world.add_role(ACCOUNT, "demo-app", path="/workloads/", tags=DATAPLANE)
    world.add_role(OTHER_ACCOUNT, READER_ROLE, external_id=EXTERNAL_ID, trusted=(f"arn:aws:iam::{ACCOUNT}:role/*",))
    world.add_role(OTHER_ACCOUNT, "backend", tags={**DATAPLANE, "kuma.io/service": "backend"})
    world.add_role(STRANGERS_ACCOUNT, "demo-app", tags=DATAPLANE)
    return world


def recipe_of(
    session: SessionCredentials, form: CredentialForm = CredentialForm.NATIVE, *, now: datetime | None = None
) -> Recipe:
    """Return a recipe that signs with a session of the emulator, now unless another time is given."""
    return Recipe(
        form=form,
        now=now or datetime.now(UTC),
        access_key_id=session.access_key_id,
        secret_key=session.secret_access_key,
        token=session.session_token,
    )


@dataclass(frozen=True)
class Aws:
    """The emulator, with short methods for the tests."""

    emulator: Emulator
    roles: list[Role] = field(default_factory=list)

    def add_role(
        self, tags: Mapping[str, str] | tuple[tuple[str, str], ...] = DATAPLANE, account: str = ACCOUNT
    ) -> Role:
        """Add a role that no other test uses. It is removed after the test."""
        return self.add_named_role(account, f"role-{next(_NUMBERS)}", tags=tags)

    def add_named_role(self, account: str, name: str, **options: Unpack[RoleOptions]) -> Role:
        """Add a role with the given name. It is removed after the test."""
        role = self.emulator.world.add_role(account, name, **options)
        self.roles.append(role)
        return role

    def session_of(self, role: Role) -> SessionCredentials:
        """Open a new session, about which nothing is cached."""
        return self.emulator.issue(role.account, role.name, f"task-{next(_NUMBERS)}")

    def task(self, role: str = "demo-app", account: str = ACCOUNT) -> SessionCredentials:
        """Open a new session of a role, by the role's name."""
        return self.emulator.issue(account, role, f"task-{next(_NUMBERS)}")

    def credential(
        self, role: str = "demo-app", account: str = ACCOUNT, form: CredentialForm = CredentialForm.NATIVE
    ) -> str:
        """Return a valid credential of a fresh task."""
        return recipe_of(self.task(role, account), form).credential()

    def environment(self) -> dict[str, str]:
        """Return the variables that lead the service, as its own role, to this AWS."""
        return self.emulator.environment(ACCOUNT, SERVICE_ROLE)

    def service_environment(self) -> dict[str, str]:
        """Return the whole environment of a service that serves both accounts."""
        return {
            **self.environment(),
            **NEW_GENERATION,
            "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": f"{ACCOUNT},{OTHER_ACCOUNT}",
            "KMESH_AWSIAM_AUDIENCE": AUDIENCE,
            "KMESH_AWSIAM_READER_ROLE_NAME": READER_ROLE,
            "KMESH_AWSIAM_READER_EXTERNAL_ID": EXTERNAL_ID,
        }

    def sts_calls(self) -> list[Call]:
        """Return the number of GetCallerIdentity calls so far."""
        return [call for call in self.emulator.calls if call.action == "GetCallerIdentity"]

    def iam_calls(self) -> list[Call]:
        """Return the number of calls to IAM so far."""
        return [call for call in self.emulator.calls if call.service == "iam"]

    def settle(self) -> None:
        """Remove all faults."""
        self.emulator.faults.clear()

    def remove_roles(self) -> None:
        """Remove the roles that `add_role` added."""
        for role in self.roles:
            if self.emulator.world.find_role(role.account, role.name):
                self.emulator.world.delete_role(role.account, role.name)
        self.roles.clear()
