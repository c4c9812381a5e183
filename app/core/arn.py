"""Amazon Resource Names, split once.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
"""

from dataclasses import dataclass
from typing import Final

_PARTS: Final = 6


class ArnError(ValueError):
    """The text is no ARN. The message holds nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arn:
    """An ARN in parts. ``resource`` may hold colons and slashes of its own (SPIRE issue 5982)."""

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
        ArnError: it has fewer parts, or one of partition, service and resource is empty.
    """
    parts = text.split(":", _PARTS - 1)
    if len(parts) != _PARTS or parts[0] != "arn":
        raise ArnError("not an ARN")
    _, partition, service, region, account, resource = parts
    if not (partition and service and resource):
        raise ArnError("an ARN with an empty part")
    return Arn(partition=partition, service=service, region=region, account=account, resource=resource)
