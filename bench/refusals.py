"""Credentials that are refused: what a proxy presents again and again whose role, account or claim does not fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.core.reasons import Reason
from app.emulator import Emulator
from app.emulator.identities import Principal
from app.emulator.world import World
from bench.credentials import LONGEST, Signer, call_of, claim_of
from bench.service import ACCOUNT

REFUSED_CREDENTIALS: Final = 200
STRANGER: Final = "999988887777"
# The refusals that need no call to AWS when they come again, since its answer is remembered.
REMEMBERED: Final = (
    Reason.PROXY_MESH_MISMATCH,
    Reason.ROLE_TYPE_MISSING,
    Reason.ROLE_NOT_FOUND,
    Reason.ACCOUNT_NOT_AUTHORIZED,
    Reason.STS_REJECTED,
)
_GONE: Final = "gone"
_TAGS: Final = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default"}
_LONG_AGO: Final = timedelta(minutes=20)


class LongSessions(World):
    """An AWS in which the sessions of a deleted role live on, as they do for hours in the real one."""

    def is_alive(self, principal: Principal) -> bool:  # noqa: ARG002 - every principal
        """Return True."""
        return True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Calls that are refused alike.

    Attributes:
        reason: of each answer.
        status: of each answer.
        bodies: what is posted.
    """

    reason: Reason
    status: int
    bodies: list[bytes]


def add_roles(world: World) -> None:
    """Add the roles of the refused credentials."""
    world.add_role(ACCOUNT, "typeless", tags={})
    world.add_role(ACCOUNT, _GONE, tags=_TAGS)
    world.add_role(STRANGER, "stranger", tags=_TAGS)


def refusals(emulator: Emulator) -> list[Refusal]:
    """Sign the credentials of each kind, and delete the role that is then not found."""
    made = list(_refusals(emulator))
    emulator.world.delete_role(ACCOUNT, _GONE)
    return made


def _refusals(emulator: Emulator) -> Iterator[Refusal]:
    now = datetime.now(UTC)

    def urls(role: str, account: str = ACCOUNT, at: datetime = now) -> list[str]:
        signer = Signer(emulator.issue(account, role, "bench").frozen(), at)
        return [signer.sign(LONGEST - number) for number in range(REFUSED_CREDENTIALS)]

    other_mesh = [call_of(url, claim_of(mesh="other")) for url in urls("demo-app")]
    yield Refusal(Reason.PROXY_MESH_MISMATCH, 403, other_mesh)
    yield Refusal(Reason.ROLE_TYPE_MISSING, 403, [call_of(url) for url in urls("typeless")])
    yield Refusal(Reason.ROLE_NOT_FOUND, 403, [call_of(url) for url in urls(_GONE)])
    yield Refusal(Reason.ACCOUNT_NOT_AUTHORIZED, 403, [call_of(url) for url in urls("stranger", STRANGER)])
    forged = [call_of(url[:-1] + ("1" if url.endswith("0") else "0")) for url in urls("demo-app")]
    yield Refusal(Reason.STS_REJECTED, 401, forged)
    yield Refusal(Reason.CREDENTIAL_EXPIRED, 401, [call_of(url) for url in urls("demo-app", at=now - _LONG_AGO)])
