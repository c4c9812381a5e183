"""The identity that a task's role grants, by the rules with which the service decides about a proxy.

::

    task -> task definition (or the task's override) -> task role -> iam:GetRole -> app.core.role_tags -> identity

The tags of the task have no effect. Whoever may tag tasks can therefore choose no identity.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Final, Protocol

from app.controller.ecs import EcsTasks
from app.controller.parts import Shared
from app.controller.pauses import LAST_PAUSE_SECONDS, pause_seconds
from app.controller.reasons import Api, Call, CallError, Failure, Skip
from app.controller.tasks import SkippedError, Task, TaskIdentity, require_secret_name
from app.core.arn import ArnError, parse_arn
from app.core.errors import AuthorizationError, UpstreamError
from app.core.principal import AdmittedPrincipal, Principal, admit
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyType
from app.core.reasons import Reason
from app.core.role_grant import GrantPolicy, match
from app.core.role_tags import RoleRecord, read_grant
from app.decision.authenticator import AccountList
from app.limits.rate_limiter import RateLimiter
from app.limits.ttl_cache import TtlCache

# A task definition never changes. A task that runs for years still costs one call.
MAX_DEFINITIONS: Final = 5000
MAX_ROLE_ANSWERS: Final = 5000
MAX_FAILED: Final = 5000
# The most calls for definitions and roles in one pass. Pending tasks are first, so they do not wait for a cold cache.
MAX_ROLE_CALLS_OF_A_PASS: Final = 40
ROLE_CALL_SECONDS: Final = 10.0
_FOREVER: Final = 365 * 86_400.0  # no bound: the answer never changes

_FAILURES: Final = {
    Reason.IAM_THROTTLED: Failure.THROTTLED,
    Reason.IAM_ACCESS_DENIED: Failure.ACCESS_DENIED,
}
# The roles of other tasks, which a cluster of a mesh normally has too.
_SKIPS: Final = {
    Reason.ROLE_TYPE_MISSING: Skip.NOT_IN_MESH,
    Reason.ROLE_PATH_NOT_ALLOWED: Skip.ROLE_PATH_NOT_ALLOWED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePolicy:
    """What a role must fulfil.

    Attributes:
        grant: the settings of the service about grants. A role must name the service or the workload: otherwise the tags of
            the task would have to.
        accounts: the accounts whose roles may have an identity.
        partition: the partition of every role.
        ttl: the seconds for which an answer of IAM is used.
        rate: the calls to IAM per second.
        calls_of_a_pass: the most calls for definitions and roles in one pass.
    """

    grant: GrantPolicy
    accounts: AccountList
    partition: str
    ttl: float
    rate: float
    calls_of_a_pass: float = MAX_ROLE_CALLS_OF_A_PASS


@dataclass(frozen=True, slots=True)
class _Failed:
    """The failures in a row about one role or one definition, and when it is asked about again."""

    failures: int
    retry_at: float
    detail: str


class RoleByName(Protocol):
    """The client of IAM, as it is needed here."""

    async def read_role(self, admitted: AdmittedPrincipal, deadline: float) -> RoleRecord:
        """Read the role with the name of a principal, whatever its unique id.

        Raises:
            UpstreamError, AuthorizationError: as `app.iam.client.IamRoles` does.
        """


class RoleIdentities:
    """Reads the roles of tasks, each once in the time to live."""

    def __init__(
        self,
        ecs: EcsTasks,
        roles: RoleByName,
        policy: RolePolicy,
        shared: Shared,
    ) -> None:
        self._ecs = ecs
        self._roles = roles
        self._policy = policy
        self._shared = shared
        self._limiter = RateLimiter(policy.rate, burst=2, timer=shared.timer)
        self._definitions: TtlCache[str] = TtlCache(MAX_DEFINITIONS, shared.timer)
        self._answers: TtlCache[TaskIdentity | SkippedError] = TtlCache(MAX_ROLE_ANSWERS, shared.timer)
        self._failed: TtlCache[_Failed] = TtlCache(MAX_FAILED, shared.timer)
        self._calls_left = policy.calls_of_a_pass

    def begin_pass(self) -> None:
        """Allow the calls of a new pass."""
        self._calls_left = self._policy.calls_of_a_pass

    async def identity_of(self, task: Task, *, may_call: bool) -> TaskIdentity:
        """Return the identity that the role of a task grants; see `app.controller.passes.Identify`.

        Raises:
            SkippedError: the role grants none, or it is not known yet.
        """
        role = task.role or self._definitions.get(task.definition)
        if role is None:
            _require(may_call)
            role = await self._role_of(task.definition)
        if not role:
            raise SkippedError(Skip.NO_TASK_ROLE, "its task definition has no task role")
        answer = self._answers.get(role)
        if answer is None:
            _require(may_call)
            answer = await self._ask(role, task)
            self._answers.put(role, answer, self._policy.ttl)
        if isinstance(answer, SkippedError):
            raise SkippedError(answer.skip, answer.detail)
        return answer

    async def _role_of(self, definition: str) -> str:
        self._require_no_pause(definition)
        self._take_call(Api.ECS)
        try:
            role = await self._ecs.role_of_definition(definition) or ""
        except CallError as error:
            self._shared.failed(error, about=definition)
            raise self._note(definition, "its task definition cannot be read") from error
        self._definitions.put(definition, role, _FOREVER)
        return role

    async def _ask(self, role_arn: str, task: Task) -> TaskIdentity | SkippedError:
        """Return what a role grants. A failure of IAM is no answer."""
        try:
            return await self._decide(role_arn, task)
        except AuthorizationError as error:
            return SkippedError(_SKIPS.get(error.reason, Skip.ROLE_DENIED), f"{error}; role {role_arn}")
        except SkippedError as error:
            if error.skip is Skip.ROLE_UNDECIDED:
                raise
            return error
        except UpstreamError as error:
            failed = CallError(Call.GET_ROLE, _FAILURES.get(error.reason, Failure.UNAVAILABLE), str(error))
            if failed.failure is Failure.THROTTLED:
                self._limiter.throttled()
            self._shared.metrics.call_failed(failed.call, failed.failure)
            self._shared.failed(failed, about=role_arn)
            raise self._note(role_arn, "its role cannot be read") from error

    async def _decide(self, role_arn: str, task: Task) -> TaskIdentity:
        policy = self._policy
        principal = _principal_of(role_arn, task)
        if principal.partition != policy.partition:
            raise AuthorizationError(Reason.ACCOUNT_NOT_AUTHORIZED, "the role is in another partition")
        admitted = admit(principal, policy.accounts.current())
        # IAM's role must have this very ARN, so the path is known before the call. The controller's policy normally allows
        # GetRole on this path only: for the roles of other tasks of the cluster, the call would be denied.
        path = _path_of(role_arn)
        if policy.grant.role_path_prefix is not None and not path.startswith(policy.grant.role_path_prefix):
            raise AuthorizationError(Reason.ROLE_PATH_NOT_ALLOWED, f"the role has the path {path}")
        self._require_no_pause(role_arn)
        record = await self._fetch(principal)
        if record.arn != role_arn:
            raise AuthorizationError(Reason.ROLE_ID_MISMATCH, "IAM's role has another ARN than the task's role")
        # ECS names the role by its ARN. Its unique id is only known from this answer, so it is compared with itself.
        admitted = admit(replace(principal, role_id=record.role_id), policy.accounts.current())
        grant = read_grant(admitted, record, policy.grant)
        if grant.type is not ProxyType.DATAPLANE:
            raise SkippedError(Skip.NOT_A_DATAPLANE, f"the role is for an {grant.type}")
        identity = match(grant, None, policy.grant)
        if identity.mesh is None:
            raise AssertionError("unreachable: read_grant requires the mesh of a data plane")
        if identity.service is None and identity.workload is None:
            raise AuthorizationError(
                Reason.ROLE_SERVICE_MISSING, f"tag the role with {WORKLOAD_TAG}, or before Kuma 3.0 with {SERVICE_TAG}"
            )
        return require_secret_name(
            TaskIdentity(
                mesh=identity.mesh, service=identity.service, workload=identity.workload, labels=identity.labels
            )
        )

    async def _fetch(self, principal: Principal) -> RoleRecord:
        self._take_call(Api.IAM)
        await asyncio.sleep(self._limiter.reserve())
        deadline = asyncio.get_running_loop().time() + ROLE_CALL_SECONDS
        admitted = admit(principal, self._policy.accounts.current())
        record = await self._roles.read_role(admitted, deadline)
        self._shared.metrics.call_made(Call.GET_ROLE)
        self._shared.pauses.succeeded(Api.IAM)
        return record

    def _note(self, key: str, detail: str) -> SkippedError:
        """Note a failure about one role or one definition, so that not every task and every pass repeats the call.

        Otherwise the tasks of one role that cannot be read would take all calls of each pass.
        """
        before = self._failed.get(key)
        failures = 1 if before is None else before.failures + 1
        pause = pause_seconds(failures, self._shared.chance())
        self._failed.put(key, _Failed(failures, self._shared.timer() + pause, detail), pause + LAST_PAUSE_SECONDS)
        return SkippedError(Skip.ROLE_UNDECIDED, detail)

    def _require_no_pause(self, key: str) -> None:
        failed = self._failed.get(key)
        if failed is not None and self._shared.timer() < failed.retry_at:
            raise SkippedError(Skip.ROLE_UNDECIDED, failed.detail)

    def _take_call(self, api: Api) -> None:
        if self._shared.pauses.is_paused(api):
            raise SkippedError(Skip.ROLE_UNDECIDED, f"calls to {api} are paused")
        if self._calls_left <= 0:
            raise SkippedError(Skip.ROLE_UNDECIDED, "its role is read in a later pass")
        self._calls_left -= 1


def _require(may_call: bool) -> None:  # noqa: FBT001
    if not may_call:
        raise SkippedError(Skip.ROLE_UNDECIDED, "its role is read later")


def _path_of(role_arn: str) -> str:
    before, slash, _ = parse_arn(role_arn).resource.rpartition("/")
    return before.removeprefix("role") + slash


def _principal_of(role_arn: str, task: Task) -> Principal:
    try:
        arn = parse_arn(role_arn)
    except ArnError as error:
        raise SkippedError(Skip.ROLE_DENIED, f"its task role is {error}") from error
    if arn.service != "iam" or arn.region or not arn.resource.startswith("role/"):
        raise SkippedError(Skip.ROLE_DENIED, "its task role is not a role of IAM")
    return Principal(
        partition=arn.partition,
        account=arn.account,
        role=arn.resource.rpartition("/")[2],
        role_id="",
        session=task.arn.rpartition("/")[2],
        request_id="",
    )
