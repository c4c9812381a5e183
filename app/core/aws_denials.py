"""Which policy denied a call, by the words of AWS's error message.

AWS names the kind of policy, and whether it denies explicitly or only does not allow:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html

The message decides nothing: it selects a remedy for the log. Names of roles and sessions contain no spaces, so nobody can
choose a name that looks like one of these phrases.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_EXPLICIT: Final = "with an explicit deny in"
_IMPLICIT: Final = "because no "


class PolicyKind(StrEnum):
    """The kinds of policies, by the words that AWS uses for them."""

    VPC_ENDPOINT = "VPC endpoint policy"
    SERVICE_CONTROL = "service control policy"
    RESOURCE_CONTROL = "resource control policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"
    TRUST = "role trust policy"
    RESOURCE = "resource-based policy"
    IDENTITY = "identity-based policy"
    UNSTATED = "policy that AWS does not name"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why AWS denied a call.

    Attributes:
        kind: the kind of the policy that decided.
        is_explicit: True if the policy has a Deny statement for the call; False if it only does not allow the call.
    """

    kind: PolicyKind
    is_explicit: bool = False

    @property
    def problem(self) -> str:
        """Return what decided, in words that follow "denied"."""
        if self.kind is PolicyKind.UNSTATED:
            return "by a policy that AWS does not name"
        return f"by an explicit deny in a {self.kind}" if self.is_explicit else f"because no {self.kind} allows it"

    def remedy(self, action: str, who: str, service: str) -> str:
        """Return what to change.

        Args:
            action: the action, such as ``iam:GetRole``.
            who: the role whose call was denied, in words.
            service: the service that was called, such as ``IAM``.
        """
        if self.kind is PolicyKind.IDENTITY and self.is_explicit:
            return f"remove the Deny for {action} from the policies of {who}"
        return _REMEDIES[self.kind].format(action=action, who=who, service=service)


_REMEDIES: Final = {
    PolicyKind.VPC_ENDPOINT: (
        "allow {action} for {who} in the policy of the VPC endpoint through which the service calls {service}; the policies "
        "of the role are not at fault"
    ),
    PolicyKind.SERVICE_CONTROL: (
        "the organisation must allow {action} in the service control policies (SCP) of the account of {who}; a policy of "
        "the role cannot override them"
    ),
    PolicyKind.RESOURCE_CONTROL: (
        "the organisation must allow {action} for {who} in its resource control policies (RCP); a policy of the role "
        "cannot override them"
    ),
    PolicyKind.BOUNDARY: "allow {action} in the permissions boundary of {who} as well",
    PolicyKind.SESSION: "allow {action} in the session policy with which {who} was assumed",
    PolicyKind.TRUST: "let the trust policy of the role to assume name {who}, with the same external id",
    PolicyKind.RESOURCE: "let the trust policy of the role to assume name {who}, with the same external id",
    PolicyKind.IDENTITY: "attach a policy that allows {action} to {who}",
    PolicyKind.UNSTATED: "attach a policy that allows {action} to {who}",
}
_KINDS: Final = tuple(kind for kind in PolicyKind if kind is not PolicyKind.UNSTATED)


def read_denial(message: str) -> Denial:
    """Return what an access-denied message names. A message in another format names nothing."""
    for phrase, is_explicit in ((_EXPLICIT, True), (_IMPLICIT, False)):
        # An ARN of the policy may follow the words.
        named = message.partition(phrase)[2]
        kind = next((kind for kind in _KINDS if kind in named), None)
        if kind is not None:
            return Denial(kind, is_explicit)
    return Denial(PolicyKind.UNSTATED)
