"""Ask STS for the service's own account. This account determines the credentials of every call to IAM.

https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.core.arn import ArnError, parse_arn
from app.core.sts_documents import IdentityDocument
from app.limits.single_flight import SingleFlight
from app.local.clock import Timer
from app.telemetry.audit import get_logger

# The shortest pause between two calls to STS for the service's own account; see `OwnAccount.doubt`.
DOUBT_SECONDS: Final = 30.0
# The time limit of one call. It includes the search for credentials and two attempts.
ASK_SECONDS: Final = 12.0

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)


class OwnAccountError(Exception):
    """STS did not name a valid account of the partition as the service's own. The message quotes nothing from STS."""


def read_own_account(identity: IdentityDocument, partition: str) -> str:
    """Return the 12-digit account of a GetCallerIdentity answer.

    Args:
        identity: the answer of STS.
        partition: the partition of every role, and therefore of the service itself.

    Raises:
        OwnAccountError: the answer has no account of 12 digits, or an ARN of another account or partition.
    """
    if not _ACCOUNT.fullmatch(identity.account):
        raise OwnAccountError("STS answered the service itself without an account")
    try:
        arn = parse_arn(identity.arn)
    except ArnError as error:
        raise OwnAccountError("STS answered the service itself without an ARN") from error
    if (arn.partition, arn.account) != (partition, identity.account):
        raise OwnAccountError("STS answered the service itself with an ARN of another account or partition")
    return identity.account


class OwnAccount:
    """Asks STS once, and keeps the account until an answer of IAM contradicts it."""

    def __init__(self, ask: Callable[[float], Awaitable[str]], timer: Timer = time.monotonic) -> None:
        """Start without an account.

        Args:
            ask: calls STS and returns the account. Its argument is a deadline, in seconds of the event loop's clock. It
                raises an exception if STS's answer is rejected.
            timer: returns the seconds of a monotonic clock.
        """
        self._ask = ask
        self._timer = timer
        self._account: str | None = None
        self._doubt_from = 0.0
        self._single_flight: SingleFlight[str] = SingleFlight()

    async def get(self, deadline: float) -> str:
        """Return the account. The first call of this method calls STS.

        Raises:
            TimeoutError: no answer before the deadline, in seconds of the event loop's clock. The call to STS goes on.
            Exception: the exception that ``ask`` raised.
        """
        if self._account is None:
            return await self._single_flight.join(None, self._learn, deadline)
        return self._account

    def doubt(self) -> None:
        """Ask STS again for the account of the service's credentials, because IAM's answers suggest another account.

        The account can change while the service runs: the SDK replaces expired credentials, for example by the credentials
        of an edited profile. STS may also have named a wrong account once. Without this method, the service could use its
        own credentials where it needs a reader role, or a reader role where it needs its own, until it is restarted.

        STS is called at most once in `DOUBT_SECONDS`, whatever IAM answers. The service uses the known account until STS
        names another one, so an outage of STS changes nothing. No decision waits for the answer.
        """
        if self._account is not None and self._timer() >= self._doubt_from:
            self._single_flight.start(None, self._learn)

    async def _learn(self) -> str:
        self._doubt_from = self._timer() + DOUBT_SECONDS
        account = await self._ask(asyncio.get_running_loop().time() + ASK_SECONDS)
        if self._account is not None and account != self._account:
            get_logger().info("own account", account=account)
        self._account = account
        return account
