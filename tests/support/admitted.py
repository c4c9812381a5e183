"""An admitted principal, and two accounts."""

from dataclasses import replace

from app.core.principal import AdmittedPrincipal
from tests.support.principals import PRINCIPAL

ROLE_TTL = 300.0
ACCOUNT, OTHER = "111122223333", "444455556666"


def admitted(**changes: str) -> AdmittedPrincipal:
    return AdmittedPrincipal(replace(PRINCIPAL, **changes))
