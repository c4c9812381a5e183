"""Readiness: the settings are valid, the service has found AWS credentials once, and it is not stopping.

The answer of ``/ready`` also reports the last result of STS and IAM, but this never changes readiness: if AWS is down and
the load balancer removes every replica, callers get no answer at all instead of a 503.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Readiness:
    """The state behind ``/ready``.

    Attributes:
        credentials_obtained: whether the SDK's chain has found credentials for the service once.
        draining: whether the service is stopping.
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
        """Return a sentence with the state and the remedy."""
        if self.draining:
            return "stopping: new calls belong elsewhere"
        if not self.credentials_obtained:
            return "no AWS credentials yet: give the service's task a task role, or set the SDK's AWS_* variables"
        return "ready"
