"""The two ports to AWS in memory, and a clock that only the test moves."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthError
from app.core.forwarding import ForwardableRequest
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.decision.record import DecisionRecord, UpstreamCall
from app.store.sealing import Kind, Opened
from tests.support.signing import NOW


@dataclass
class Time:
    """A clock and a timer that only the test moves."""

    passed: float = 0.0

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def timer(self) -> float:
        return self.passed


@dataclass
class Sts:
    """An `IdentitySource` that answers each call anew, or with an error."""

    asked: int = 0
    error: AuthError | None = None
    released: asyncio.Event | None = None
    """Answers wait for it."""
    account: str = "111122223333"

    async def identify(self, request: ForwardableRequest, seen: UpstreamCall, deadline: float) -> CallerIdentity:  # noqa: ARG002 - the port's
        self.asked += 1
        if self.released is not None:
            await self.released.wait()
        if self.error is not None:
            raise self.error
        request_id = seen.request_id = f"sts-{self.asked}"
        arn = parse_arn(f"arn:aws:sts::{self.account}:assumed-role/demo-app/task-1")
        return CallerIdentity(arn=arn, user_id="AROAEXAMPLEEXAMPLE001:task-1", request_id=request_id)


@dataclass
class Iam:
    """A `RoleSource` of the same kind."""

    asked: int = 0
    error: AuthError | None = None
    errors: dict[str, AuthError] = field(default_factory=dict)
    """By role name."""
    released: asyncio.Event | None = None
    changes: dict[str, str] = field(default_factory=dict)
    """What is wrong with every record."""

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:  # noqa: ARG002 - the port's
        self.asked += 1
        if self.released is not None:
            await self.released.wait()
        principal = admitted.principal
        if error := self.errors.get(principal.role, self.error):
            raise error
        request_id = seen.request_id = f"iam-{self.asked}"
        arn = f"arn:aws:iam::{principal.account}:role/{principal.role}"
        record = RoleRecord(
            arn=arn,
            role_id=principal.role_id,
            name=principal.role,
            tags=(("k", str(self.asked)),),
            request_id=request_id,
        )
        return replace(record, **self.changes)  # type: ignore[arg-type]


def new_trail() -> DecisionRecord:
    return DecisionRecord(request_id="request-1")


def soon(seconds: float = 60.0) -> float:
    """Return the deadline of a decision that has so many seconds left."""
    return asyncio.get_running_loop().time() + seconds


@dataclass
class SharedStore:
    """A `Store` in memory, which several caches share. It trusts its content; `app.store.sealing` has its own tests."""

    time: Time
    records: dict[tuple[str, bytes], Opened] = field(default_factory=dict)
    claims: set[tuple[str, bytes]] = field(default_factory=set)

    async def get(self, kind: Kind, key: bytes) -> Opened | None:
        opened = self.records.get((kind, key))
        now = self.time.clock().timestamp()
        return None if opened is None or opened.expires_at <= now else replace(opened, opened_at=now)

    def put(self, kind: Kind, key: bytes, payload: bytes, seconds: float) -> None:
        now = self.time.clock().timestamp()
        self.records[kind, key] = Opened(payload=payload, written_at=now, expires_at=now + seconds, opened_at=now)

    async def delete(self, kind: Kind, key: bytes) -> None:
        self.records.pop((kind, key), None)

    async def take(self, budget: str, rate: float, burst: float) -> float:  # noqa: ARG002 - the port's
        return 0.0

    async def claim(self, kind: Kind, key: bytes, seconds: float) -> bool:  # noqa: ARG002 - likewise
        is_free = (kind, key) not in self.claims
        self.claims.add((kind, key))
        return is_free

    def release(self, kind: Kind, key: bytes) -> None:
        self.claims.discard((kind, key))
