"""The service's own AWS credentials. boto3's chain of credential providers finds and renews them, in one thread.

The providers are an ECS task's endpoint, IMDS, a web identity, a profile and environment variables. The chain blocks, so it
runs in a thread. During a renewal the previous credentials still sign calls, so no call waits for the renewal.
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

# If there are no credentials, a call waits this long for them.
FIND_SECONDS: Final = 4.0
# The shortest pause between two attempts to renew valid credentials, and between two attempts to replace credentials that
# AWS reports as expired.
RENEW_PAUSE_SECONDS: Final = 10.0
# The pause between two checks of the expiry. A check by botocore takes a quarter of the time that a signature takes.
LOOK_PAUSE_SECONDS: Final = 1.0  # no bound: how often the end of credentials is looked at

_Found = tuple[Credentials, ReadOnlyCredentials]


class OwnCredentials:
    """Finds the service's credentials at the first call that needs them. An instance belongs to one event loop."""

    def __init__(self, region: str, timer: Timer = time.monotonic, *, find_seconds: float = FIND_SECONDS) -> None:
        """Start without credentials.

        Args:
            region: the region of the STS endpoint that exchanges a web identity. botocore by itself would read only
                AWS_DEFAULT_REGION.
            timer: returns the seconds of a monotonic clock.
            find_seconds: how long a caller waits if there are no credentials.
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
        """Start no further search. A search in progress runs to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def get(self, deadline: float) -> ReadOnlyCredentials:
        """Return credentials that are valid now. A renewal starts early, and no call waits for it.

        Raises:
            UpstreamDownError: the chain found no credentials, or did not end its search in ``find_seconds``.
            OutOfTimeError: the search did not end before the deadline, in seconds of the event loop's clock.
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
        """Drop credentials that AWS reports as expired, even if their expiry is in the future. `get` then searches again."""
        if expired is self._last and self._timer() >= self._replace_from:
            self._replace_from = self._timer() + RENEW_PAUSE_SECONDS
            self._source = self._last = None

    def _is_due(self, seconds: int | None) -> bool:
        """Return whether the credentials expire within so many seconds. None means the time that botocore uses itself."""
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
        except Exception as error:  # the chain can raise any exception
            raise UpstreamDownError(
                Reason.IAM_UNAVAILABLE, f"the service has no AWS credentials of its own: {type(error).__name__}"
            ) from error

    def _find(self) -> asyncio.Future[_Found]:
        """Start a search in the thread, unless one is running."""
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
            # Calls still succeed now, but they will fail when the credentials expire.
            get_logger().warning("own credentials not renewed", detail=type(error).__name__)


def _search(known: Credentials | None, region: str) -> _Found:
    """Search the SDK's chain of credential providers, or renew the credentials that it found before.

    The SDK blocks, so this runs in a thread of its own.
    """
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
