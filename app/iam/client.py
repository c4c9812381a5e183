"""The client of IAM: it reads the tags and the unique id of the caller's role (GetRole), or pages of an account's roles.

The client returns IAM's answer. `app.core.role_tags` checks whether the answer describes the caller's role.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from app.aws.signed_query import Query, RefusedError, SignedQueries
from app.core.aws_errors import ACCESS_DENIED_CODES, EXPIRED_SESSION_CODES, THROTTLING_CODES
from app.core.errors import AuthError, AuthorizationError, OutOfTimeError, UpstreamDownError, UpstreamError
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
from app.local.clock import Timer
from app.telemetry.audit import get_logger
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
    """The `RoleSource` that calls IAM."""

    def __init__(
        self,
        options: IamOptions,
        pool: HttpPool,
        network: NetworkOptions,
        metrics: Metrics,
        timer: Timer = time.monotonic,
    ) -> None:
        """Call this inside the event loop, and call `close` at the end."""
        self._options = options
        self._network = network
        self._metrics = metrics
        self._access = IamAccess(options, pool, network, timer)
        self._iam = SignedQueries(options.iam, pool, network)

    def close(self) -> None:
        """Stop the search for credentials. A call in flight goes on until it ends by itself."""
        self._access.credentials.close()

    async def obtain_credentials(self) -> bool:
        """Return whether the service finds its own AWS credentials. An error of AWS means False."""
        try:
            await self._access.credentials.get(_soon())
        except AuthError:
            return False
        return True

    async def own_account(self) -> str | None:
        """Return the service's own account, or None if AWS gives no usable answer."""
        try:
            return await self._access.account.get(_soon())
        except (AuthError, RefusedError, TimeoutError):
            return None

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:
        """Read the role; see `app.decision.authenticator.RoleSource`."""
        started = time.perf_counter()
        try:
            role = await self._counted(lambda: self._get_role(admitted.principal, deadline))
            seen.request_id = role.request_id
        except AuthError as error:
            if error.reason in _DOUBTFUL:
                self._access.account.doubt()
            raise
        finally:
            seen.seconds += time.perf_counter() - started
        if role.identifiers != admitted.principal.role_identifiers:
            self._access.account.doubt()
        return role

    async def read_page(self, account: str, marker: str | None, deadline: float) -> RolePage:
        """Read one page of an account's roles; see `app.iam.upstream.RoleReader`."""
        return await self._counted(lambda: self._get_page(account, marker, deadline))

    async def _counted(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        started = time.perf_counter()
        outcome = "ok"
        try:
            return await call()
        except AuthError as error:
            outcome = error.reason.value
            raise
        finally:
            self._metrics.upstream_call("iam", outcome, _REGION, time.perf_counter() - started)

    async def _get_role(self, principal: Principal, deadline: float) -> RoleRecord:
        query = Query(action="GetRole", parameters={"RoleName": principal.role}, max_bytes=MAX_ANSWER_BYTES)
        try:
            reply = await self._ask(principal.account, query, deadline)
        except NoReaderRoleError as error:
            self._log_missing_reader(principal)
            raise UpstreamError(Reason.IAM_ACCESS_DENIED, str(error)) from error
        except RefusedError as error:
            refusal = _read_refusal(error)
            if refusal.reason is Reason.IAM_ACCESS_DENIED:
                self._log_mending_policy(principal, error.action)
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
            raise _read_refusal(error) from error
        except DocumentError as error:
            raise _not_believed(error) from error

    async def _ask(self, account: str, query: Query, deadline: float) -> HttpReply:
        """Call IAM with the account's credentials. If AWS reports them as expired, call once more with new ones."""
        began_in_time = deadline - asyncio.get_running_loop().time() >= self._network.total_timeout
        try:
            credentials = await self._access.credentials_for(account, deadline)
            try:
                return await self._iam.ask(query, credentials, deadline)
            except RefusedError as error:
                if error.code not in EXPIRED_SESSION_CODES:
                    raise
                self._access.replace(account, credentials)
                renewed = await self._access.credentials_for(account, deadline)
                if renewed == credentials:
                    raise
                return await self._iam.ask(query, renewed, deadline)
        except TimeoutError as error:
            # A call to STS for these credentials goes on: other decisions may wait for the same call.
            kind = UpstreamDownError if began_in_time else OutOfTimeError
            raise kind(Reason.IAM_UNAVAILABLE, "no credentials for the account before the deadline") from error

    @staticmethod
    def _log_missing_reader(principal: Principal) -> None:
        get_logger().warning(
            "iam access denied",
            account=principal.account,
            role=principal.role,
            operation="AssumeRole",
            remedy="the account is not the service's own: make a role in it that may iam:GetRole and that the service may "
            "assume, and set KMESH_AWSIAM_READER_ROLE_NAME to its name",
        )

    def _log_mending_policy(self, principal: Principal, operation: str) -> None:
        if operation == "AssumeRole":
            arn = self._options.reader_role_arn(principal.account)
            attach_to = (
                f"the service's own role; and {arn} must exist, trust that role, and ask for the same external id"
            )
            action = "sts:AssumeRole"
        else:
            arn = f"arn:{principal.partition}:iam::{principal.account}:role/*"
            attach_to = "the role that reads this account: the service's own, or the reader role in it"
            action = "iam:GetRole"
        get_logger().warning(
            "iam access denied",
            account=principal.account,
            role=principal.role,
            operation=operation,
            mending_policy={
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": action, "Resource": arn}],
            },
            attach_to=attach_to,
        )


def _soon() -> float:
    return asyncio.get_running_loop().time() + OWN_SECONDS


def _read_refusal(error: RefusedError) -> AuthError:
    """Convert AWS's error code into a reason. The action shows whether GetRole failed, or AssumeRole before it."""
    if error.code in THROTTLING_CODES:
        return UpstreamError(Reason.IAM_THROTTLED, str(error))
    # If GetCallerIdentity was denied, a change of IAM policies does not help: only the policy of a VPC endpoint can deny it.
    if error.code in ACCESS_DENIED_CODES and error.action != "GetCallerIdentity":
        return UpstreamError(Reason.IAM_ACCESS_DENIED, str(error))
    if error.code == "NoSuchEntity" and error.action == "GetRole":
        return AuthorizationError(Reason.ROLE_NOT_FOUND, str(error))
    return UpstreamError(Reason.IAM_UNAVAILABLE, str(error))


def _not_believed(error: DocumentError) -> UpstreamError:
    return UpstreamError(Reason.IAM_UNAVAILABLE, f"the answer of IAM is not believed: {error}")
