"""Whether the service is ready: settings are valid, its own AWS credentials were obtained once, and it does not drain.

The health of STS and IAM is told beside, and never changes the answer: taking a replica out of service because AWS is
down would turn "could not decide" into "nobody there".
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Readiness:
    """The state behind ``/ready``.

    Attributes:
        credentials_obtained: whether the SDK's chain has given the service credentials of its own once.
        draining: whether the service was told to stop.
        without_tls: upstreams that are reached without TLS, on loopback. They do not affect readiness.
    """

    credentials_obtained: bool = False
    draining: bool = False
    without_tls: tuple[Literal["sts", "iam"], ...] = ()

    @property
    def ready(self) -> bool:
        """Whether new calls should be sent here."""
        return self.credentials_obtained and not self.draining

    def explain(self) -> str:
        """Say in a sentence what is, and what to do about it."""
        if self.draining:
            return "stopping: new calls belong elsewhere"
        if not self.credentials_obtained:
            return "no AWS credentials yet: give the service's task a task role, or set the SDK's AWS_* variables"
        return "ready"
