"""The service's own AWS credentials, found by the SDK's chain and kept fresh by it, in one thread.

The chain is boto3's (an ECS task's endpoint, IMDS, a web identity, a profile, variables), and it blocks. So it runs in a
thread, the only one towards AWS, and nobody waits for it who can do without: while it renews, the last credentials sign.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import boto3
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from app.aws.sdk_data import new_session
from app.core.errors import OutOfTimeError, UpstreamDownError
from app.core.reasons import Reason
from app.local.clock import Timer
from app.telemetry.audit import get_logger

# Whoever has no credentials at all waits so long for them.
FIND_SECONDS: Final = 4.0
# Between two tries to renew credentials that are still good, and between two tries to replace some that AWS calls expired.
RENEW_PAUSE_SECONDS: Final = 10.0
# botocore takes a quarter of a signature's time to tell whether credentials are near their end.
LOOK_PAUSE_SECONDS: Final = 1.0  # no bound: how often the end of credentials is looked at

_Found = tuple[Credentials, ReadOnlyCredentials]


class OwnCredentials:
    """Found when they are asked for first. Belongs to one event loop."""

    def __init__(self, region: str, timer: Timer = time.monotonic, *, find_seconds: float = FIND_SECONDS) -> None:
        """Find nothing yet.

        Args:
            region: whose STS a web identity is exchanged at; botocore itself reads AWS_DEFAULT_REGION alone.
            timer: seconds of a monotonic clock.
            find_seconds: how long a caller waits where there are none.
        """
        self._region = region
        self._find_seconds = find_seconds
        self._timer = timer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="credentials")
        self._source: Credentials | None = None
        self._last: ReadOnlyCredentials | None = None
        self._search: asyncio.Future[_Found] | None = None
        self._good_until = self._renew_from = self._replace_from = float("-inf")

    def close(self) -> None:
        """Begin nothing more; a search under way is left to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def get(self, deadline: float) -> ReadOnlyCredentials:
        """Return credentials that are good at this moment; renew them in time, without waiting for that.

        Raises:
            UpstreamDownError: there are none.
            OutOfTimeError: there are none before the deadline, in seconds of the event loop's clock.
        """
        if self._last is None:
            return await self._wait(deadline)
        now = self._timer()
        if now < self._good_until:
            return self._last
        if not self._is_due(None):
            self._good_until = now + LOOK_PAUSE_SECONDS
        elif self._is_due(0):
            return await self._wait(deadline)
        elif now >= self._renew_from:
            self._find()
        return self._last

    def replace(self, expired: ReadOnlyCredentials) -> None:
        """Forget credentials that AWS reports as expired, even if their expiry lies ahead; search the chain again."""
        if expired is self._last and self._timer() >= self._replace_from:
            self._replace_from = self._timer() + RENEW_PAUSE_SECONDS
            self._source = self._last = None

    def _is_due(self, seconds: int | None) -> bool:
        """Whether the credentials end within so many seconds, or (None) within botocore's time for renewing them."""
        return isinstance(self._source, RefreshableCredentials) and self._source.refresh_needed(seconds)

    async def _wait(self, deadline: float) -> ReadOnlyCredentials:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._find_seconds
        try:
            async with asyncio.timeout_at(min(deadline, until)):
                return (await asyncio.shield(self._find()))[1]
        except TimeoutError as error:
            kind = UpstreamDownError if until <= deadline else OutOfTimeError
            raise kind(Reason.IAM_UNAVAILABLE, "the service's own AWS credentials were not found in time") from error
        except Exception as error:  # the chain raises what it likes
            raise UpstreamDownError(
                Reason.IAM_UNAVAILABLE, f"the service has no AWS credentials of its own: {type(error).__name__}"
            ) from error

    def _find(self) -> asyncio.Future[_Found]:
        """Have the thread look, unless it does already."""
        if self._search is None:
            self._renew_from = self._timer() + RENEW_PAUSE_SECONDS
            loop = asyncio.get_running_loop()
            self._search = loop.run_in_executor(self._thread, _search, self._source, self._region)
            self._search.add_done_callback(self._found)
        return self._search

    def _found(self, search: asyncio.Future[_Found]) -> None:
        self._search = None
        if search.cancelled():
            return
        error = search.exception()
        if error is None:
            self._source, self._last = search.result()
        elif self._last is not None:
            # Nobody is refused yet, but everybody will be.
            get_logger().warning("own credentials not renewed", detail=type(error).__name__)


def _search(known: Credentials | None, region: str) -> _Found:
    """Run in the thread: go through the chain, or have what it found last time renewed."""
    source = known
    if source is None:
        session = boto3.Session(botocore_session=new_session(), region_name=region)
        source = session.get_credentials()
    if source is None:
        raise NoCredentialsError
    frozen = source.get_frozen_credentials()
    if not (frozen.access_key and frozen.secret_key):
        raise NoCredentialsError
    return source, frozen
