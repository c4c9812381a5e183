"""STS's answer to the service itself → its own account. It picks the credentials of every call to IAM, so it must agree.

https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

import re
from collections.abc import Mapping
from typing import Final

from app.core.arn import ArnError, parse_arn

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)


class OwnAccountError(Exception):
    """The answer does not agree with itself or with the partition. The message holds nothing of it."""


def read_own_account(answer: Mapping[str, object], partition: str) -> str:
    """Return the 12-digit account of a parsed GetCallerIdentity answer.

    Args:
        answer: as botocore parsed it: what is missing is left out, and what stands twice is a list.
        partition: of every role, and so of ourselves.

    Raises:
        OwnAccountError: no account of 12 digits, or an ARN of another account or partition.
    """
    account, name = answer.get("Account"), answer.get("Arn")
    if not isinstance(account, str) or not _ACCOUNT.fullmatch(account) or not isinstance(name, str):
        raise OwnAccountError("STS answered the service itself without one account and one ARN")
    try:
        arn = parse_arn(name)
    except ArnError as error:
        raise OwnAccountError("STS answered the service itself without an ARN") from error
    if (arn.partition, arn.account) != (partition, account):
        raise OwnAccountError("STS answered the service itself with an ARN of another account or partition")
    return account
