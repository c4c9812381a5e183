"""The tasks that present credentials: an agent or another signer, known by its role and its session (the ECS task)."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.core.reasons import Reason
from app.decision.record import DecisionRecord

MAX_AGENTS: Final = 500


@dataclass(slots=True)
class Agent:
    """One task.

    Attributes:
        account: the account of the role.
        role: the name of the role.
        session: the session name, which is the task's id on ECS. The task's owner can choose another one.
        client: the address of the TCP peer that presented the task's credential last; None for a Unix socket. It is the
            task's own address only if no control plane and no Envoy is in between.
        seen_at: when that was.
        reason: the reason of the last decision; None for an approval.
        decisions: the number of decisions about the task.
    """

    account: str
    role: str
    session: str
    client: str | None
    seen_at: datetime
    reason: Reason | None
    decisions: int = 0


class AgentsSeen:
    """The tasks that were seen last, at most `MAX_AGENTS`."""

    def __init__(self, most: int = MAX_AGENTS) -> None:
        self._most = most
        self._agents: OrderedDict[tuple[str, str, str], Agent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._agents)

    def note(self, trail: DecisionRecord, reason: Reason | None, now: datetime) -> None:
        """Record that a task presented a credential, if the record names its principal."""
        principal = trail.principal
        if principal is None:
            return
        key = principal.account, principal.role, principal.session
        agent = self._agents.get(key)
        if agent is None:
            if len(self._agents) >= self._most:
                self._agents.popitem(last=False)
            agent = self._agents[key] = Agent(*key, trail.client, now, reason)
        self._agents.move_to_end(key)
        agent.client, agent.seen_at, agent.reason = trail.client, now, reason
        agent.decisions += 1

    def latest(self) -> list[Agent]:
        """Return all tasks, the last one first."""
        return list(reversed(self._agents.values()))
