"""The service's own AWS credentials. boto3's chain of credential providers finds and renews them, in one thread.

The providers are an ECS task's endpoint, IMDS, a web identity, a profile and environment variables. The chain blocks, so it
runs in a thread. During a renewal the previous credentials still sign calls, so no call waits for the renewal.

Credentials that AWS rejects are dropped. The chain is searched again at once, and then once in a few seconds, so that the
service recovers by itself when its source hands out good ones. Between two searches every call fails at once.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import boto3
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from app.aws.credential_causes import CredentialProblem, explain_rejection, explain_search
from app.aws.sdk_data import new_session
from app.core.errors import OutOfTimeError, OwnCredentialsError
from app.core.reasons import Reason
from app.local.causes import Cause
from app.local.clock import Timer
from app.telemetry.audit import get_logger

# If there are no credentials, a call waits this long for them.
FIND_SECONDS: Final = 4.0
# The shortest pause between two attempts to renew valid credentials.
RENEW_PAUSE_SECONDS: Final = 10.0
# The shortest pause between two searches while there are no credentials, or AWS rejects them.
SEARCH_PAUSE_SECONDS: Final = 5.0
# The pause between two checks of the expiry. A check by botocore takes a quarter of the time that a signature takes.
LOOK_PAUSE_SECONDS: Final = 1.0  # no bound: how often the end of credentials is looked at

_SLOW: Final = CredentialProblem(
    "slow",
    Cause(
        "the AWS SDK did not find them in time",
        "their source (container endpoint, IMDS or STS) hangs: check it, and that no proxy is on the way to it",
    ),
)
_Found = tuple[Credentials, ReadOnlyCredentials]
# Called with each new problem of the credentials, and with None when they can be used again.
Report = Callable[[CredentialProblem | None], None]


def report_to_nobody(_problem: CredentialProblem | None) -> None:
    """Report nothing."""


class OwnCredentials:
    """Finds the service's credentials at the first call that needs them. An instance belongs to one event loop.

    Attributes:
        problem: why the credentials cannot be used; None if they can, as far as is known.
    """

    def __init__(
        self,
        region: str,
        timer: Timer = time.monotonic,
        *,
        find_seconds: float = FIND_SECONDS,
        report: Report = report_to_nobody,
    ) -> None:
        """Start without credentials.

        Args:
            region: the region of the STS endpoint that exchanges a web identity. botocore by itself would read only
                AWS_DEFAULT_REGION.
            timer: returns the seconds of a monotonic clock.
            find_seconds: how long a caller waits if there are no credentials.
            report: is called whenever the credentials become unusable or usable.
        """
        self.problem: CredentialProblem | None = None
        self._region = region
        self._find_seconds = find_seconds
        self._timer = timer
        self._report = report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="credentials")
        self._source: Credentials | None = None
        self._last: ReadOnlyCredentials | None = None
        self._rejected: ReadOnlyCredentials | None = None
        self._search: asyncio.Future[_Found] | None = None
        self._good_until = self._renew_from = self._search_from = self._search_again_from = float("-inf")
        self._searching_since = 0.0

    def close(self) -> None:
        """Start no further search. A search in progress runs to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def is_due(self) -> bool:
        """Whether the credentials cannot be used, and may be searched for again now."""
        return self.problem is not None and self._timer() >= self._search_from

    async def get(self, deadline: float) -> ReadOnlyCredentials:
        """Return credentials that are valid now. A renewal starts early, and no call waits for it.

        Raises:
            OwnCredentialsError: the chain found no credentials, did not end its search in ``find_seconds``, or found only
                those that AWS has just rejected.
            OutOfTimeError: the search did not end before the deadline, in seconds of the event loop's clock.
        """
        if self._last is None:
            if self.problem is not None and self._timer() < self._search_from:
                raise own_credentials_error(self.problem)
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

    async def search(self, deadline: float) -> ReadOnlyCredentials:
        """Do as `get` does, but without the pause after a failed search. For the start of the service."""
        self._search_from = float("-inf")
        return await self.get(deadline)

    def accept(self, credentials: ReadOnlyCredentials) -> None:
        """Note that AWS accepted a signature of these credentials."""
        if self.problem is not None and credentials is self._last:
            self._rejected = None
            self._set(None)

    def reject(self, credentials: ReadOnlyCredentials, code: str, message: str = "") -> None:
        """Drop credentials that AWS rejects, even if their expiry is in the future. `get` then searches again.

        Args:
            credentials: those that signed the call. If others have been found meanwhile, nothing happens.
            code: AWS's error code.
            message: AWS's text about the error.
        """
        if credentials is not self._last:
            return
        now = self._timer()
        self._rejected, self._source, self._last = credentials, None, None
        # A renewal in progress can return the same credentials again. It does not ask every source.
        self._search = None
        self._search_from = max(now, self._search_again_from)
        if now >= self._search_again_from:
            self._search_again_from = now + SEARCH_PAUSE_SECONDS
        self._set(explain_rejection(code, message))

    def _is_due(self, seconds: int | None) -> bool:
        """Return whether the credentials expire within so many seconds. None means the time that botocore uses itself."""
        return isinstance(self._source, RefreshableCredentials) and self._source.refresh_needed(seconds)

    async def _wait(self, deadline: float) -> ReadOnlyCredentials:
        if self._search is not None and self._timer() - self._searching_since >= self._find_seconds:
            raise own_credentials_error(_SLOW)  # the search has had its time, and nobody need wait as long again
        loop = asyncio.get_running_loop()
        until = loop.time() + self._find_seconds
        search = self._find()
        try:
            async with asyncio.timeout_at(min(deadline, until)):
                await asyncio.shield(search)
        except TimeoutError as error:
            if until > deadline:
                raise OutOfTimeError(
                    Reason.OWN_CREDENTIALS_UNAVAILABLE, "the search for the service's own AWS credentials goes on"
                ) from error
            self._set(_SLOW)
            raise own_credentials_error(_SLOW) from error
        except Exception as error:  # the chain can raise any exception
            raise own_credentials_error(explain_search(error)) from error
        self._found(search)  # the event loop calls it only in the turn after the end of the search
        if self._last is None:
            raise own_credentials_error(self.problem or _SLOW)
        return self._last

    def _find(self) -> asyncio.Future[_Found]:
        """Start a search in the thread, unless one is running."""
        if self._search is None:
            self._searching_since = self._timer()
            self._renew_from = self._searching_since + RENEW_PAUSE_SECONDS
            loop = asyncio.get_running_loop()
            self._search = loop.run_in_executor(self._thread, _search, self._source, self._region)
            self._search.add_done_callback(self._found)
        return self._search

    def _found(self, search: asyncio.Future[_Found]) -> None:
        """Note the result of a search, once. The result of a search that `reject` gave up is not used."""
        error = None if search.cancelled() else search.exception()
        if search is not self._search:
            return
        self._search = None
        if search.cancelled():
            return
        if error is not None:
            self._not_found(explain_search(error))
            return
        source, found = search.result()
        if found == self._rejected and self._timer() < self._search_again_from:
            # AWS has just rejected these: they are tried again after the pause.
            self._search_from = self._search_again_from
            return
        self._source, self._last = source, found
        if found != self._rejected:
            self._set(None)

    def _not_found(self, problem: CredentialProblem) -> None:
        if self._last is None or self._is_due(0):
            # The next search asks every source again, because the source of these credentials may have been replaced.
            self._source = self._last = None
            self._search_from = self._timer() + SEARCH_PAUSE_SECONDS
            self._set(problem)
        else:
            # Calls still succeed now, but they will fail when the credentials expire.
            get_logger().warning(
                "own credentials not renewed", problem=problem.cause.problem, remedy=problem.cause.remedy
            )

    def _set(self, problem: CredentialProblem | None) -> None:
        """Note and report whether the credentials can be used. The log has a line for each change."""
        before, self.problem = self.problem, problem
        self._report(problem)
        if problem is not None and problem != before:
            get_logger().error(
                "own credentials unavailable", problem=problem.cause.problem, remedy=problem.cause.remedy
            )
        elif problem is None and before is not None:
            get_logger().info("own credentials found again")


def own_credentials_error(problem: CredentialProblem) -> OwnCredentialsError:
    """Return the error of a call that the service's own credentials cannot sign."""
    return OwnCredentialsError(
        Reason.OWN_CREDENTIALS_UNAVAILABLE, f"the service's own AWS credentials cannot be used: {problem.cause}"
    )


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
