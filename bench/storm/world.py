"""Who takes part in a storm: sidecars of many roles in some accounts, and a few that pretend to be another service."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.emulator.world import World
from bench.credentials import Signer, call_of, claim_of
from bench.service import ACCOUNT, OWN_ROLE
from bench.storm.shape import Shape

ACCOUNTS: Final = (ACCOUNT, "444455556666", "777788889999", "888899990000", "999900001111")
READER_ROLE: Final = "kuma-aws-iam-reader"
EXTERNAL_ID: Final = "kuma-control-plane"
IMPOSTORS: Final = 200


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar and the call that presents its credential.

    Attributes:
        role: its task role; named as its service.
        session: the task.
        call: the body of its call.
    """

    role: str
    session: str
    call: bytes


def build_world(shape: Shape) -> World:
    """Return the service's own account, and the others of the storm, which the service reads through a reader role."""
    world = World()
    world.add_role(ACCOUNT, OWN_ROLE)
    for account in accounts_of(shape)[1:]:
        trusted = (f"arn:aws:iam::{ACCOUNT}:role/{OWN_ROLE}",)
        world.add_role(account, READER_ROLE, external_id=EXTERNAL_ID, trusted=trusted)
    for number in range(shape.roles):
        name = role_of(number)
        tags = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": name}
        world.add_role(account_of(shape, number), name, tags=tags)
    return world


def accounts_of(shape: Shape) -> tuple[str, ...]:
    """Return the accounts of a storm; the first one is the service's own."""
    return ACCOUNTS[: shape.accounts]


def role_of(number: int) -> str:
    """Return the name of a role."""
    return f"app-{number:03}"


def account_of(shape: Shape, number: int) -> str:
    """Return the account of a role."""
    return ACCOUNTS[number % shape.accounts]


def make_sidecars(world: World, shape: Shape) -> list[Sidecar]:
    """Issue a session to each one, and sign its credential."""
    now = datetime.now(UTC)
    made = []
    for number in range(shape.sidecars):
        owner = number % shape.roles
        role, session = role_of(owner), f"task-{number:05}"
        keys = world.issue_session(account_of(shape, owner), role, session).frozen()
        made.append(Sidecar(role, session, call_of(Signer(keys, now).sign(), claim_of(role))))
    return made


def make_impostors(sidecars: list[Sidecar]) -> list[bytes]:
    """Present some of the very same credentials beside the claim of another service: these must never be let in."""
    step = max(1, len(sidecars) // IMPOSTORS)
    calls = []
    for sidecar, other in zip(sidecars[::step], sidecars[1::step], strict=False):
        own, others = (f'"{one.role}"'.encode() for one in (sidecar, other))
        name, others_name = (f'"{one.role}-1"'.encode() for one in (sidecar, other))
        if own != others:
            calls.append(sidecar.call.replace(own, others).replace(name, others_name))
    return calls
