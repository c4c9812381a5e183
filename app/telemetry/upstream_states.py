"""The last results of STS and IAM, and of the service's own credentials, in words. ``/ready`` reports them."""

from typing import Final, Literal, get_args

from app.core.reasons import EXPLANATIONS, Reason
from app.decision.record import NONE

Upstream = Literal["sts", "iam"]
Subject = Literal["sts", "iam", "own_credentials"]

UPSTREAMS: Final[tuple[Upstream, ...]] = get_args(Upstream)
OK: Final = "ok"
_UNDECIDED: Final = frozenset(
    reason.value for reason, explanation in EXPLANATIONS.items() if explanation.status not in (401, 403)
)


class UpstreamStates:
    """What happened last.

    Attributes:
        outcomes: by upstream, ``ok``, a reason, or ``none`` before the first call.
        own_credentials: ``ok``, ``own_credentials_unavailable``, or ``none`` before the first search.
        causes: why the last call failed or the credentials cannot be used, with the remedy. Denials are not listed: they say
            nothing about the upstream.
    """

    def __init__(self) -> None:
        self.outcomes: dict[Upstream, str] = dict.fromkeys(UPSTREAMS, NONE)
        self.own_credentials = NONE
        self.causes: dict[Subject, str] = {}

    def called(self, upstream: Upstream, outcome: str, cause: str) -> None:
        """Record the result of a call."""
        self.outcomes[upstream] = outcome
        if outcome in _UNDECIDED:
            self.causes[upstream] = cause
        elif self.causes:
            self.causes.pop(upstream, None)

    def own_credentials_changed(self, cause: str | None) -> None:
        """Record why the service's own credentials cannot be used; None if they can."""
        if cause is None:
            self.own_credentials = OK
            self.causes.pop("own_credentials", None)
        else:
            self.own_credentials = Reason.OWN_CREDENTIALS_UNAVAILABLE.value
            self.causes["own_credentials"] = cause
