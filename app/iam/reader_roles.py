"""The reader roles of other accounts: one session for each account, assumed with the service's own credentials (I13, I25).

A session takes about 3 kB: the credentials and their expiry. The service renews a session after three quarters of its
lifetime. Until the renewal succeeds, the old credentials sign calls.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from botocore.credentials import ReadOnlyCredentials

from app.aws.signed_query import RefusedError
from app.core.errors import AuthError
from app.core.sts_documents import AssumedRole
from app.limits.single_flight import SingleFlight
from app.limits.ttl_cache import TtlCache
from app.local.clock import Clock, Timer, utc_now
from app.telemetry.audit import get_logger

# Equal to the number of accounts that can have a budget for IAM (`app.calls.limits.MAX_BUDGETS`).
MAX_SESSIONS: Final = 10_000
# A session is renewed after this fraction of its lifetime. If that fails, the next attempt comes after this pause.
REFRESH_AFTER: Final = 0.75
RENEW_PAUSE_SECONDS: Final = 10.0
# The time limit of one AssumeRole call. It includes the search for the service's own credentials and two attempts.
ASSUME_SECONDS: Final = 12.0


@dataclass(slots=True)
class _Session:
    credentials: ReadOnlyCredentials
    renew_at: float


class ReaderRoles:
    """The sessions of reader roles. One AssumeRole call serves all calls to IAM that wait for the session."""

    def __init__(
        self,
        assume: Callable[[str, float], Awaitable[AssumedRole]],
        timer: Timer = time.monotonic,
        clock: Clock = utc_now,
    ) -> None:
        """Start without sessions.

        Args:
            assume: assumes the reader role of an account, or raises an exception. Its second argument is a deadline, in
                seconds of the event loop's clock.
            timer: returns the seconds of a monotonic clock.
            clock: returns the time of day, because AWS names the expiry of a session as a date and time.
        """
        self._assume = assume
        self._timer = timer
        self._clock = clock
        self._sessions: TtlCache[_Session] = TtlCache(MAX_SESSIONS, timer)
        self._single_flight: SingleFlight[ReadOnlyCredentials] = SingleFlight()

    async def get(self, account: str, deadline: float) -> ReadOnlyCredentials:
        """Return credentials of an account's reader role.

        Raises:
            TimeoutError: no answer before the deadline, in seconds of the event loop's clock. The AssumeRole call goes on.
            Exception: the exception that ``assume`` raised.
        """
        session = self._sessions.get(account)
        if session is None:
            return await self._single_flight.join(account, lambda: self._begin(account), deadline)
        if self._timer() >= session.renew_at:
            session.renew_at = self._timer() + RENEW_PAUSE_SECONDS
            self._single_flight.start(account, lambda: self._renew(account))
        return session.credentials

    def drop(self, account: str, expired: ReadOnlyCredentials) -> None:
        """Drop a session that AWS reports as expired, even if its stated expiry is in the future."""
        session = self._sessions.get(account)
        if session is not None and session.credentials is expired:
            self._sessions.drop(account)

    async def _begin(self, account: str) -> ReadOnlyCredentials:
        role = await self._assume(account, asyncio.get_running_loop().time() + ASSUME_SECONDS)
        credentials = ReadOnlyCredentials(role.access_key_id, role.secret_access_key, role.session_token)
        life = (role.expires_at - self._clock()).total_seconds()
        self._sessions.put(account, _Session(credentials, self._timer() + life * REFRESH_AFTER), life)
        return credentials

    async def _renew(self, account: str) -> ReadOnlyCredentials:
        try:
            return await self._begin(account)
        except (AuthError, RefusedError) as error:
            # Calls still succeed now, but they will fail when the session expires.
            get_logger().warning("reader role not renewed", account=account, detail=str(error))
            raise
