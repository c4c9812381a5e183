"""The end of a call to an upstream, as every decision that waits for the call receives it."""

import math
import random
from typing import Final, Generic, NamedTuple, TypeVar

from app.core.errors import AuthError, UpstreamError
from app.core.reasons import Reason
from app.decision.record import UpstreamCall

_Answer = TypeVar("_Answer")

MAX_RETRY_SECONDS: Final = 300
# The service spreads retries over one second, or over this fraction of the wait if that is longer, so that callers do not
# all retry at the same moment.
RETRY_SPREAD_SHARE: Final = 0.05
_SILENT: Final = "look at its health, and at a firewall, proxy or VPC endpoint on the path that drops packets"


class Failure(NamedTuple):
    """An error as a value, so that each decision raises its own copy.

    One shared exception would collect the traceback of every decision that raises it, and keep their frames in memory.
    """

    kind: type[AuthError]
    reason: Reason
    detail: str
    retry_after: int | None = None

    @classmethod
    def of(cls, error: AuthError) -> "Failure":
        """Copy the class, the reason, the detail and the retry time of an error, but not its traceback.

        Of a subclass with more attributes, which ``error`` could not fill in, copy the class of `app.core.errors`.
        """
        kind = next(each for each in type(error).__mro__ if each.__module__ == AuthError.__module__)
        return cls(kind, error.reason, error.detail, getattr(error, "retry_after", None))

    def error(self, more: str = "") -> AuthError:
        """Return a new error, with ``more`` at the end of its detail."""
        detail = self.detail + more
        if issubclass(self.kind, UpstreamError):
            return self.kind(self.reason, detail, retry_after=self.retry_after)
        return self.kind(self.reason, detail)


STOPPING: Final = Failure(UpstreamError, Reason.OVERLOADED, "the service is stopping")
# The reasons of errors with which AWS reports that its quota is used up.
THROTTLED: Final = frozenset({Reason.STS_THROTTLED, Reason.IAM_THROTTLED})


class Settled(NamedTuple, Generic[_Answer]):
    """The end of a call.

    Attributes:
        answer: the upstream's answer; None after a failure.
        failure: why there is no answer; None if there is an answer.
        seen: the record of the call; None if no call was made.
        is_shared: True if another replica had the answer.
    """

    answer: _Answer | None
    failure: Failure | None
    seen: UpstreamCall | None = None
    is_shared: bool = False


def overloaded(detail: str, wait: float) -> UpstreamError:
    """Return the error for a decision whose caller should retry after ``wait`` seconds."""
    return UpstreamError(Reason.OVERLOADED, detail, retry_after=retry_seconds(wait))


def not_asked(name: str, unavailable: Reason, cause: str = "") -> Failure:
    """Return the failure for a decision that does not wait because the endpoint does not answer.

    ``cause`` is the detail of the endpoint's last failure; empty if its calls had no answer yet.
    """
    why = f"its last calls failed ({cause})" if cause else f"its last calls failed or had no answer; {_SILENT}"
    return Failure(UpstreamError, unavailable, f"{name} is not asked: {why}")


def no_answer(name: str, unavailable: Reason, cause: str = "") -> Failure:
    """Return the failure for a decision that has no answer at its deadline because the upstream failed."""
    why = f" ({cause})" if cause else f": it did not answer in time; {_SILENT}"
    return Failure(UpstreamError, unavailable, f"no answer of {name} before the deadline{why}")


def retry_seconds(wait: float) -> int:
    """Return the whole seconds for ``Retry-After``: the expected wait plus a random part, between 1 and 300."""
    spread = random.random() * max(1.0, wait * RETRY_SPREAD_SHARE)  # noqa: S311 - no secret
    return max(1, min(MAX_RETRY_SECONDS, math.ceil(wait + spread)))
