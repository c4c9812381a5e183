"""The permission that the service lacks if it cannot read a role. The log and the command ``explain-role`` show it."""

from dataclasses import dataclass
from typing import Any

from app.core.errors import UpstreamError
from app.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPermission:
    """What is to be changed in AWS or in the settings.

    Attributes:
        operation: the call that was denied or is not possible: ``GetRole`` or ``AssumeRole``.
        remedy: what to do.
        denied_by: the kind of the policy that denied the call; None if no call was made.
        policy: the IAM policy that is missing; None if another kind of policy denied the call.
        attach_to: the principal that needs the policy; None without a policy.
    """

    operation: str
    remedy: str
    denied_by: str | None = None
    policy: dict[str, Any] | None = None
    attach_to: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the fields of the log line ``iam access denied``."""
        by = {} if self.denied_by is None else {"denied_by": self.denied_by}
        policy = {} if self.policy is None else {"mending_policy": self.policy, "attach_to": self.attach_to}
        return {"operation": self.operation, **by, "remedy": self.remedy, **policy}


class RoleUnreadableError(UpstreamError):
    """The reason is ``iam_access_denied``: the service may not read the role."""

    def __init__(self, detail: str, missing: MissingPermission) -> None:
        super().__init__(Reason.IAM_ACCESS_DENIED, detail)
        self.missing = missing
