"""Principals as steps 4 and 5 leave them, for tests of what comes after."""

from dataclasses import replace
from typing import Final

from app.core.principal import AdmittedPrincipal, Principal
from app.emulator import Role

PRINCIPAL: Final = Principal(
    partition="aws",
    account="111122223333",
    role="demo-app",
    role_id="AROAEXAMPLEEXAMPLE001",
    session="task-1",
    request_id="request-of-sts",
)


def admitted(role: Role) -> AdmittedPrincipal:
    """Return a role session that STS has confirmed and whose account is listed."""
    return AdmittedPrincipal(
        replace(
            PRINCIPAL,
            partition=role.partition,
            account=role.account,
            role=role.name,
            role_id=role.role_id,
        )
    )
