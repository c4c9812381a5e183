"""The log of the controller: an audit line for each token that is put, and a line for each new fault.

No line contains a token or a text of a secret (I22). A fault is logged when it begins and when it changes, not in each pass.
"""

import time
from collections.abc import Hashable
from typing import Any, Final

from app.controller.held_token import TokenFacts
from app.controller.plan import WantedSecret
from app.controller.reasons import Call, CallError, Failure, PutReason, Skip
from app.controller.secret import MalformedSecretError
from app.controller.tasks import SkippedError, Task
from app.limits.ttl_cache import TtlCache
from app.local.clock import Timer
from app.telemetry.audit import get_logger

# A fault that lasts is logged again after this time.
REPEAT_SECONDS: Final = 3600.0
MAX_REPORTED: Final = 5000

# Every cluster has such tasks, and nobody has to change anything. So they are not logged.
_SILENT: Final = (Skip.NOT_IN_MESH, Skip.NOT_A_DATAPLANE, Skip.ROLE_UNDECIDED)
_NO_PERMISSION: Final = "allow this call in the policy of the task role (config/iam/controller-role-policy.json)"
_NO_CLUSTER: Final = "name an active cluster of this account and region in --cluster, or make it"
_MISSING: Final = "make the secret together with the service, with the value {}"
_DELETED: Final = "if the secret is scheduled for deletion, restore it, or stop its tasks"
_CHANGED: Final = "nothing to do: somebody else has changed the secret, and it is read again"
_REMEDIES: Final = {
    (Call.LIST_TASKS, Failure.NOT_FOUND): _NO_CLUSTER,
    (Call.LIST_TASKS, Failure.ACCESS_DENIED): _NO_PERMISSION,
    (Call.DESCRIBE_TASKS, Failure.NOT_FOUND): _NO_CLUSTER,
    (Call.DESCRIBE_TASKS, Failure.ACCESS_DENIED): _NO_PERMISSION,
    (Call.DESCRIBE_TASK_DEFINITION, Failure.ACCESS_DENIED): _NO_PERMISSION,
    (Call.GET_ROLE, Failure.ACCESS_DENIED): f"{_NO_PERMISSION}; if only roles under one path belong to the mesh, set "
    "KMESH_AWSIAM_ROLE_PATH_PREFIX to it",
    (Call.ISSUE_TOKEN, Failure.NOT_FOUND): "make the mesh, or correct kuma.io/mesh, --mesh or --api-server-url",
    (Call.ISSUE_TOKEN, Failure.ACCESS_DENIED): "give a user token that may generate data plane tokens "
    "(docs/reference/controller.md)",
    **{
        (call, failure): remedy
        for call in (Call.GET_SECRET_VALUE, Call.PUT_SECRET_VALUE, Call.UPDATE_SECRET_VERSION_STAGE)
        for failure, remedy in {
            Failure.NOT_FOUND: _MISSING,
            Failure.ACCESS_DENIED: f"{_NO_PERMISSION}, and the use of the secret's key if it is a key of your own",
            Failure.CHANGED_MEANWHILE: _CHANGED,
            Failure.REJECTED: _DELETED,
        }.items()
    },
}


class Report:
    """Writes the lines of one controller."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        self._reported: TtlCache[Hashable] = TtlCache(MAX_REPORTED, timer)

    def put(self, wanted: WantedSecret, reason: PutReason, facts: TokenFacts, version: str) -> None:
        """Write the audit line of a token that was put."""
        for kind in ("failure", "malformed"):
            self._reported.drop((kind, wanted.name))
        get_logger().info(
            "token put",
            secret=wanted.name,
            version=version,
            reason=reason.value,
            token=_token(facts),
            tasks=wanted.tasks,
            pending=len(wanted.pending),
            **wanted.identity.members(),
        )

    def unused(self, wanted: WantedSecret, facts: TokenFacts, error: CallError) -> None:
        """Write the line of a token that was issued, and that is not in the secret."""
        get_logger().warning(
            "token not used",
            secret=wanted.name,
            token=_token(facts),
            **_error(error),
            **wanted.identity.members(),
        )

    def failure(self, error: CallError, *, secret: str | None, about: str | None, pause_began: bool) -> None:
        """Write the line of a failed call."""
        if error.failure.is_general:
            if pause_began:
                get_logger().warning("calls paused", **_error(error))
            return
        key = ("failure", secret) if secret is not None else ("failure", error.call, about)
        if self._is_new(key, str(error)):
            remedy = _REMEDIES.get((error.call, error.failure))
            get_logger().warning("call failed", secret=secret, about=about, remedy=remedy, **_error(error))

    def malformed(self, wanted: WantedSecret, error: MalformedSecretError) -> None:
        """Write the line of a secret that holds no JSON object."""
        if self._is_new(("malformed", wanted.name), str(error)):
            get_logger().error(
                "secret is malformed",
                secret=wanted.name,
                detail=str(error),
                remedy="correct its value: a JSON object, {} at least, with room for a token",
            )

    def conflict(self, wanted: WantedSecret) -> None:
        """Write the line of tasks of different identities that read one secret."""
        if wanted.others and self._is_new(("conflict", wanted.name), (wanted.identity, wanted.others)):
            others = sorted(wanted.others, key=str)
            get_logger().warning(
                "tasks of a secret differ",
                secret=wanted.name,
                others=[identity.members() for identity in others],
                remedy="tasks that read one secret need one mesh and one workload; the newest task decides",
                **wanted.identity.members(),
            )

    def skipped(self, task: Task, error: SkippedError) -> None:
        """Write the line of a task that gets no token because of a fault."""
        if error.skip not in _SILENT and self._is_new(("skipped", task.definition, error.detail), error.skip):
            fields = {"task": task.arn, "definition": task.definition, "why": error.skip.value, "detail": error.detail}
            # A cluster normally has tasks of other roles too. They are no fault.
            if error.skip is Skip.ROLE_PATH_NOT_ALLOWED:
                get_logger().info("task skipped", **fields)
            else:
                get_logger().warning("task skipped", **fields)

    def bug(self, wanted: WantedSecret, error: Exception) -> None:
        """Write the line of a bug. The text of the error may hold a secret, so the line only has its type."""
        if self._is_new(("bug", wanted.name), type(error).__name__):
            get_logger().error("controller error", secret=wanted.name, error=type(error).__name__)

    def _is_new(self, key: Hashable, what: Hashable) -> bool:
        if self._reported.get(key) == what:
            return False
        self._reported.put(key, what, REPEAT_SECONDS)
        return True


def _token(facts: TokenFacts) -> dict[str, Any]:
    return {"jti": facts.jti, "kid": facts.kid, "expires_at": facts.ends_at}


def _error(error: CallError) -> dict[str, str]:
    return {"call": error.call.value, "failure": error.failure.value, "detail": error.detail}
