"""The client of IAM: it reads the tags and the unique id of the caller's role (GetRole), or pages of an account's roles.

The client returns IAM's answer. `app.core.role_tags` checks whether the answer describes the caller's role.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from app.aws.credential_causes import CredentialProblem
from app.aws.signed_query import Query, RefusedError
from app.core.errors import AuthError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.core.iam_documents import RolePage, read_role, read_role_page
from app.core.principal import AdmittedPrincipal, Principal
from app.core.reasons import Reason
from app.core.role_tags import RoleRecord
from app.core.strict_xml import DocumentError
from app.decision.record import UpstreamCall
from app.http.http1 import HttpReply
from app.http.network import NetworkOptions
from app.http.pool import HttpPool
from app.iam.access import IamAccess, IamOptions, NoReaderRoleError
from app.iam.refusals import deny, deny_without_reader, read_refusal
from app.local.clock import Timer
from app.telemetry.metrics import Metrics

# By IAM's model the largest answer of GetRole has about 900 kB: a trust policy of 131,072 characters, each of up to six
# bytes when escaped; 50 tags of 384 characters; and about 10 kB of other text. IAM does not count white space in a policy.
MAX_ANSWER_BYTES: Final = 1024 * 1024
# The limits on an answer of ``GetAccountAuthorizationDetails``. A role with all its policies has about 10 kB. Pages are
# small, because the event loop takes 10 ms to read a page of 1 MB. If a page is larger than the limit, its roles are read
# one by one.
PAGE_ROLES: Final = 100
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
PAGE_SECONDS: Final = 20.0

_Answer = TypeVar("_Answer")

# IAM has one endpoint per partition.
_REGION: Final = "global"
# The time limit for finding the service's own credentials, or its own account.
OWN_SECONDS: Final = 12.0
# IAM returns one of these errors if the service uses credentials of the wrong account. Each error has other causes as well.
_DOUBTFUL: Final = frozenset({Reason.IAM_ACCESS_DENIED, Reason.ROLE_NOT_FOUND})


class IamRoles:
    """The `RoleSource` that calls IAM.

    Attributes:
        access: the credentials of calls to IAM.
        problem: why `obtain_credentials` or `own_account` had no result the last time.
    """

    def __init__(
        self,
        options: IamOptions,
        pool: HttpPool,
        network: NetworkOptions,
        metrics: Metrics,
        timer: Timer = time.monotonic,
    ) -> None:
        """Call this inside the event loop, and call `close` at the end."""
        self.problem = ""
        self._options = options
        self._network = network
        self._metrics = metrics
        self.access = IamAccess(options, pool, network, timer, self._report)

    def close(self) -> None:
        """Stop the search for credentials. A call in flight goes on until it ends by itself."""
        self.access.credentials.close()

    @property
    def must_recover(self) -> bool:
        """Whether the service's own credentials cannot be used, and may be tried again now."""
        return self.access.credentials.is_due

    async def obtain_credentials(self) -> bool:
        """Return whether the service finds its own AWS credentials. An error of AWS means False; see ``problem``."""
        try:
            await self.access.credentials.search(_soon())
        except AuthError as error:
            self.problem = error.detail
            return False
        return True

    async def own_account(self) -> str | None:
        """Return the service's own account, or None if AWS gives no usable answer; see ``problem``."""
        try:
            return await self.access.account.get(_soon())
        except AuthError as error:
            self.problem = error.detail
        except RefusedError as error:
            self.problem = read_refusal(error).detail
        except TimeoutError:
            self.problem = "STS did not answer in time"
        return None

    async def recover(self) -> None:
        """Try the service's own credentials by a call to STS, which needs no permission."""
        with contextlib.suppress(AuthError, RefusedError, TimeoutError):
            await self.access.ask_own_account(_soon())

    def _report(self, problem: CredentialProblem | None) -> None:
        if problem is None:
            self._metrics.own_credentials_work()
        else:
            self._metrics.own_credentials_failed(problem.fault, str(problem.cause))

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
        """Read the role; see `app.decision.authenticator.RoleSource`."""
        started = time.perf_counter()
        try:
            role = await self._counted(lambda: self._get_role(admitted.principal, deadline))
            seen.request_id = role.request_id
        except AuthError as error:
            if error.reason in _DOUBTFUL:
                self.access.account.doubt()
            raise
        finally:
            seen.seconds += time.perf_counter() - started
        if role.identifiers != admitted.principal.role_identifiers:
            self.access.account.doubt()
        return role

    async def read_role(self, admitted: AdmittedPrincipal, deadline: float) -> RoleRecord:
        """Read the role with a name, whatever its unique id. For a diagnosis: no proxy has signed anything.

        Raises:
            UpstreamError, AuthorizationError: for the same reasons as in `fetch_role`.
        """
        return await self._counted(lambda: self._get_role(admitted.principal, deadline))

    async def read_page(self, account: str, marker: str | None, deadline: float) -> RolePage:
        """Read one page of an account's roles; see `app.iam.upstream.RoleReader`."""
        return await self._counted(lambda: self._get_page(account, marker, deadline))

    async def _counted(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        started = time.perf_counter()
        outcome, cause = "ok", ""
        try:
            return await call()
        except AuthError as error:
            outcome, cause = error.reason.value, error.detail
            raise
        finally:
            self._metrics.upstream_call("iam", outcome, _REGION, time.perf_counter() - started, cause)

    async def _get_role(self, principal: Principal, deadline: float) -> RoleRecord:
        query = Query(action="GetRole", parameters={"RoleName": principal.role}, max_bytes=MAX_ANSWER_BYTES)
        try:
            reply = await self._ask(principal.account, query, deadline)
        except NoReaderRoleError as error:
            raise deny_without_reader(str(error), principal) from error
        except RefusedError as error:
            refusal = read_refusal(error)
            if refusal.reason is Reason.IAM_ACCESS_DENIED:
                refusal = deny(error, refusal.detail, principal, self._options)
            raise refusal from error
        try:
            return read_role(reply.body, reply.request_id)
        except DocumentError as error:
            raise _not_believed(error) from error

    async def _get_page(self, account: str, marker: str | None, deadline: float) -> RolePage:
        more = {} if marker is None else {"Marker": marker}
        parameters = {"Filter.member.1": "Role", "MaxItems": str(PAGE_ROLES), **more}
        query = Query(
            action="GetAccountAuthorizationDetails",
            parameters=parameters,
            max_bytes=MAX_PAGE_BYTES,
            seconds=PAGE_SECONDS,
        )
        try:
            reply = await self._ask(account, query, deadline)
            return read_role_page(reply.body, reply.request_id)
        except NoReaderRoleError as error:
            raise UpstreamError(Reason.IAM_ACCESS_DENIED, str(error)) from error
        except RefusedError as error:
            raise read_refusal(error) from error
        except DocumentError as error:
            raise _not_believed(error) from error

    async def _ask(self, account: str, query: Query, deadline: float) -> HttpReply:
        began_in_time = deadline - asyncio.get_running_loop().time() >= self._network.total_timeout
        try:
            return await self.access.ask_iam(account, query, deadline)
        except TimeoutError as error:
            # A call to STS for these credentials goes on: other decisions may wait for the same call.
            kind = UpstreamDownError if began_in_time else OutOfTimeError
            raise kind(Reason.IAM_UNAVAILABLE, "no credentials for the account before the deadline") from error


def _soon() -> float:
    return asyncio.get_running_loop().time() + OWN_SECONDS


def _not_believed(error: DocumentError) -> UpstreamError:
    return UpstreamError(Reason.IAM_UNAVAILABLE, f"the answer of IAM is not believed: {error}")
