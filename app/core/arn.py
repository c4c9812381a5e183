"""Split Amazon Resource Names into their parts.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
"""

from dataclasses import dataclass
from typing import Final

_PARTS: Final = 6


class ArnError(ValueError):
    """The text is not an ARN. The error message quotes no part of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arn:
    """The parts of an ARN. ``resource`` may itself contain colons and slashes (SPIRE issue 5982)."""

    partition: str
    service: str
    region: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"


def parse_arn(text: str) -> Arn:
    """Split an ARN at its first five colons.

    Raises:
        ArnError: the text has fewer parts, or its partition, service or resource is empty.
    """
    parts = text.split(":", _PARTS - 1)
    if len(parts) != _PARTS or parts[0] != "arn":
        raise ArnError("not an ARN")
    _, partition, service, region, account, resource = parts
    if not (partition and service and resource):
        raise ArnError("an ARN with an empty part")
    return Arn(partition=partition, service=service, region=region, account=account, resource=resource)
