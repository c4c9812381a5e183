"""Why a renewal failed, and the exit status of an agent that stops because of it."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Failure(StrEnum):
    """The kind of a failure. docs/reference/agent.md describes each kind."""

    DENIED = "denied"
    NO_CREDENTIALS = "no_credentials"
    NOT_WRITTEN = "not_written"
    UNDECIDED = "undecided"

    @property
    def is_definite(self) -> bool:
        """Whether retries fail until an operator changes something. The agent retries all other failures without a limit."""
        return self is not Failure.UNDECIDED


EXIT_STATUSES: Final = MappingProxyType(
    {Failure.DENIED: 1, Failure.NO_CREDENTIALS: 3, Failure.NOT_WRITTEN: 4, Failure.UNDECIDED: 5}
)
"""Exit status 2 means wrong usage. An agent that runs the proxy ends with the proxy's status."""


class RenewalError(Exception):
    """One renewal failed.

    Attributes:
        failure: the kind of the failure.
        reason: the service's reason, or a reason of the agent's own.
        detail: a sentence with the remedy. Neither ``reason`` nor ``detail`` contains a credential, a token or a URL.
        retry_after: the seconds that the service asks the agent to wait.
    """

    def __init__(self, failure: Failure, reason: str, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(failure, reason, detail)
        self.failure = failure
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
