"""The tasks that were seen last."""

from dataclasses import replace

from app.core.reasons import Reason
from app.decision.record import DecisionRecord
from app.page.agents_seen import AgentsSeen
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW


def of(session: str) -> DecisionRecord:
    return DecisionRecord("request-1", client="10.0.0.7", principal=replace(PRINCIPAL, session=session))


def test_the_task_that_was_seen_longest_ago_is_forgotten_first() -> None:
    agents = AgentsSeen(most=2)
    for session in ("a", "b", "a", "c"):
        agents.note(of(session), None, NOW)
    assert [(agent.session, agent.decisions) for agent in agents.latest()] == [("c", 1), ("a", 2)]


def test_a_task_has_what_was_seen_last() -> None:
    agents = AgentsSeen()
    agents.note(of("a"), None, NOW)
    agents.note(replace(of("a"), client=None), Reason.IAM_THROTTLED, NOW)
    [agent] = agents.latest()
    assert (agent.client, agent.reason, agent.seen_at) == (None, Reason.IAM_THROTTLED, NOW)


def test_without_a_principal_there_is_no_task() -> None:
    agents = AgentsSeen()
    agents.note(DecisionRecord("request-1"), None, NOW)
    assert len(agents) == 0
