"""An upstream that answers, fails, or waits until the test releases it, and counts its calls."""

import asyncio
from dataclasses import dataclass, field

from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthError
from app.core.forwarding import ForwardableRequest
from app.core.principal import AdmittedPrincipal
from app.core.role_tags import RoleRecord
from app.decision.record import UpstreamCall

ACCOUNT = "111122223333"
HANGING_ACCOUNT = "999999999999"


@dataclass
class Upstream:
    """Both ports in one class."""

    error: AuthError | None = None
    waits: bool = False
    account: str = ACCOUNT
    released: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    at_once: int = 0
    most_at_once: int = 0

    async def _ask(self) -> None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.waits:
                await self.released.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.at_once -= 1

    async def identify(self, _request: ForwardableRequest, _seen: UpstreamCall, _deadline: float) -> CallerIdentity:
        """Name a role of the account."""
        await self._ask()
        arn = parse_arn(f"arn:aws:sts::{self.account}:assumed-role/demo-app/task-1")
        return CallerIdentity(arn=arn, user_id="AROAEXAMPLEEXAMPLE001:task-1", request_id="r")

    async def fetch_role(self, admitted: AdmittedPrincipal, _seen: UpstreamCall, _deadline: float) -> RoleRecord:
        """Return the caller's role, or wait for ever in one account."""
        if admitted.principal.account == HANGING_ACCOUNT:
            await asyncio.Event().wait()
        await self._ask()
        principal = admitted.principal
        arn = f"arn:aws:iam::{principal.account}:role/{principal.role}"
        return RoleRecord(arn=arn, role_id=principal.role_id, name=principal.role, tags=(), request_id="r")


async def settle() -> None:
    """Run the event loop until nothing is ready."""
    for _ in range(30):
        await asyncio.sleep(0)
