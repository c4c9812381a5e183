"""What the controller needs of the issuer of tokens, and its own check of each token before it is put."""

from datetime import datetime, timedelta
from typing import Protocol

from app.controller.held_token import RENEW_AT_SHARE, TokenFacts, read_facts, why_replace
from app.controller.metrics import ControllerMetrics
from app.controller.reasons import Call, CallError, Failure, PutReason
from app.controller.tasks import TaskIdentity


class Issuer(Protocol):
    """Issues tokens for a mesh and a service."""

    async def issue(self, identity: TaskIdentity) -> str:
        """Return a new token.

        Raises:
            CallError: there is none.
        """

    def check(self, token: str, facts: TokenFacts, identity: TaskIdentity) -> PutReason | None:
        """Return why a token must be replaced, if only the issuer can know it; None if it sees no such reason."""


class UnfitTokenError(CallError):
    """The issuer gave a token that the controller would replace at once. ``facts`` are its claims."""

    def __init__(self, facts: TokenFacts, detail: str) -> None:
        super().__init__(Call.ISSUE_TOKEN, Failure.ANSWER_INVALID, detail)
        self.facts = facts


async def issue_checked(
    issuer: Issuer, identity: TaskIdentity, now: datetime, valid_for: timedelta, metrics: ControllerMetrics
) -> tuple[str, TokenFacts]:
    """Issue a token, check that it has the requested identity and life, and return it with its claims.

    ``metrics`` counts a token that fails the check as an invalid answer. The issuer counts its own failures.

    Raises:
        UnfitTokenError: the controller would replace the token at once.
        CallError: the issuer gave no token.
    """
    token = await issuer.issue(identity)
    try:
        facts = read_facts(token)
    except ValueError:
        metrics.call_failed(Call.ISSUE_TOKEN, Failure.ANSWER_INVALID)
        raise CallError(Call.ISSUE_TOKEN, Failure.ANSWER_INVALID, "the answer is no token") from None
    # A token that ends too soon must not replace a working one: the next put comes after ten minutes at the earliest.
    is_long = facts.ends_at is not None and facts.ends_at - now >= valid_for * RENEW_AT_SHARE
    if is_long and facts.identity == identity and why_replace(facts, identity, now, valid_for) is None:
        return token, facts
    detail = "the token is not bound and limited as asked for; compare the clocks"
    if identity.workload is not None and facts.identity is not None and facts.identity.workload is None:
        # Kuma before 2.13 ignores the member. Its token would be valid for every workload.
        detail = "the control plane does not bind the workload, which Kuma does from 2.13 on; remove kuma.io/workload"
    metrics.call_failed(Call.ISSUE_TOKEN, Failure.ANSWER_INVALID)
    raise UnfitTokenError(facts, detail)
