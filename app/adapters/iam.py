"""``iam:GetRole`` over boto3, in a bounded pool of threads: the tags and the unique id of the caller's role.

What comes out is what IAM said; `app.core.role_tags` finds out whether it is the caller's role.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from botocore.exceptions import ClientError

from app.adapters.bounded_http import DecisionOverError, ending_at
from app.adapters.iam_answers import RolePage, read_answer, read_page
from app.adapters.iam_clients import IamClients, IamOptions, NoReaderRoleError
from app.audit import get_logger
from app.core.aws_errors import ACCESS_DENIED_CODES, THROTTLING_CODES
from app.core.principal import AdmittedPrincipal, Principal
from app.core.role_tags import RoleRecord, require_same_role
from app.errors import AuthError, AuthorizationError, OutOfTimeError, UpstreamDownError, UpstreamError
from app.metrics import Metrics
from app.reasons import Reason
from app.trail import Trail

_Answer = TypeVar("_Answer")

# IAM has one endpoint per partition.
_REGION: Final = "global"
_SERVER_ERROR: Final = 500
# What comes of reading an account with the wrong credentials. Each has other causes as well.
_DOUBTFUL: Final = frozenset({Reason.IAM_ACCESS_DENIED, Reason.ROLE_NOT_FOUND})


class IamRoles:
    """The `RoleSource` that asks IAM itself."""

    def __init__(self, options: IamOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics
        self._clients = IamClients(options)
        self._executor = ThreadPoolExecutor(options.max_threads, thread_name_prefix="iam")

    def close(self) -> None:
        """Give up what has not started yet; calls under way end with their decisions."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._clients.close()

    async def obtain_credentials(self) -> bool:
        """Whether the service finds AWS credentials for itself; never raises for what AWS does."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._clients.obtain_credentials)
        except Exception:  # noqa: BLE001 - the chain of credentials raises what it likes; there are none yet
            return False

    async def own_account(self) -> str | None:
        """Return the service's own account, or None while AWS cannot be asked."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._clients.own_account)
        except Exception:  # noqa: BLE001 - likewise
            return None

    async def fetch_role(self, admitted: AdmittedPrincipal, trail: Trail) -> RoleRecord:
        """Read the role; see `app.authenticator.RoleSource`."""
        started = time.perf_counter()
        outcome = "ok"
        try:
            role = await self._fetch(admitted.principal, trail.deadline)
            trail.iam.request_id = role.request_id
        except AuthError as error:
            outcome = error.reason.value
            if error.reason in _DOUBTFUL:
                self._doubt_own_account()
            raise
        else:
            if not _is_same_role(admitted.principal, role):
                self._doubt_own_account()
            return role
        finally:
            trail.iam.seconds += time.perf_counter() - started
            self._metrics.upstream_call("iam", outcome, _REGION, time.perf_counter() - started)

    async def read_page(self, account: str, marker: str | None, deadline: float) -> RolePage:
        """Read some of an account's roles at a time; see `app.adapters.role_prefetch.RolePages`."""
        started = time.perf_counter()
        outcome = "ok"
        try:
            return await self._until(deadline, functools.partial(self._read_page, account, marker))
        except AuthError as error:
            outcome = error.reason.value
            raise
        finally:
            self._metrics.upstream_call("iam", outcome, _REGION, time.perf_counter() - started)

    def _doubt_own_account(self) -> None:
        # In a thread of its own time: the decision has its reason and does not wait for it.
        asyncio.get_running_loop().run_in_executor(self._executor, self._clients.doubt_own_account)

    async def _fetch(self, principal: Principal, deadline: float) -> RoleRecord:
        return await self._until(deadline, functools.partial(self._get_role, principal))

    async def _until(self, deadline: float, call: Callable[[], _Answer]) -> _Answer:
        loop = asyncio.get_running_loop()
        seconds = deadline - loop.time()
        # The thread's own clock: when nobody waits any more it has nothing to do, whatever AWS still sends.
        ends = time.monotonic() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._executor, _call_until, ends, call)
        except (TimeoutError, DecisionOverError) as error:
            if seconds < self._options.connect_timeout + self._options.read_timeout:
                # It waited elsewhere too long to tell anything about IAM.
                raise OutOfTimeError(Reason.IAM_UNAVAILABLE, "no answer of IAM in what was left of the time") from error
            raise UpstreamDownError(
                Reason.IAM_UNAVAILABLE, "no answer of IAM within the decision's deadline"
            ) from error

    def _get_role(self, principal: Principal) -> RoleRecord:
        try:
            answer = self._clients.for_account(principal.account).get_role(RoleName=principal.role)
        except NoReaderRoleError as error:
            self._log_missing_reader(principal)
            raise UpstreamError(Reason.IAM_ACCESS_DENIED, str(error)) from error
        except ClientError as error:
            raise self._refusal(principal, error) from error
        except DecisionOverError:
            raise
        except Exception as error:  # whatever botocore's chain of credentials and its parsers stumble over
            raise UpstreamDownError(Reason.IAM_UNAVAILABLE, f"no answer of IAM: {type(error).__name__}") from error
        return read_answer(answer)

    def _read_page(self, account: str, marker: str | None) -> RolePage:
        try:
            return read_page(self._clients.for_account(account), marker)
        except NoReaderRoleError as error:
            raise UpstreamError(Reason.IAM_ACCESS_DENIED, str(error)) from error
        except ClientError as error:
            raise _page_refusal(error) from error
        except (UpstreamError, DecisionOverError):
            raise
        except Exception as error:  # likewise
            raise UpstreamDownError(Reason.IAM_UNAVAILABLE, f"no answer of IAM: {type(error).__name__}") from error

    def _refusal(self, principal: Principal, error: ClientError) -> AuthError:
        """Map AWS's error code; the operation tells GetRole from the AssumeRole before it."""
        code = error.response.get("Error", {}).get("Code", "")
        seen = f"{error.operation_name} answered {code or 'without an error code'}"
        if code in THROTTLING_CODES:
            return UpstreamError(Reason.IAM_THROTTLED, seen)
        if code in ACCESS_DENIED_CODES and error.operation_name in ("GetRole", "AssumeRole"):
            self._log_mending_policy(principal, error.operation_name)
            return UpstreamError(Reason.IAM_ACCESS_DENIED, seen)
        if code == "NoSuchEntity" and error.operation_name == "GetRole":
            return AuthorizationError(Reason.ROLE_NOT_FOUND, seen)
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_ERROR:
            return UpstreamDownError(Reason.IAM_UNAVAILABLE, seen)
        return UpstreamError(Reason.IAM_UNAVAILABLE, seen)

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


def _call_until(ends: float, call: Callable[[], _Answer]) -> _Answer:
    with ending_at(ends):
        return call()


def _page_refusal(error: ClientError) -> UpstreamError:
    code = error.response.get("Error", {}).get("Code", "")
    seen = f"{error.operation_name} answered {code or 'without an error code'}"
    if code in THROTTLING_CODES:
        return UpstreamError(Reason.IAM_THROTTLED, seen)
    return UpstreamError(Reason.IAM_ACCESS_DENIED if code in ACCESS_DENIED_CODES else Reason.IAM_UNAVAILABLE, seen)


def _is_same_role(principal: Principal, role: RoleRecord) -> bool:
    try:
        require_same_role(principal, role)
    except AuthorizationError:
        return False
    return True
