"""ECS tasks, and the identity that a task's own tags name. Whoever may tag a task can choose that identity."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from app.controller.reasons import Skip
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG
from app.core.role_tags import MESH_TAG

# The grammars of `app.core.role_tags`; a test compares them. A service has no colon here, because a name in Secrets Manager
# cannot have one.
_MESH: Final = re.compile(r"[0-9a-z._-]{1,253}", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_WORKLOAD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
_PENDING: Final = ("PROVISIONING", "PENDING", "ACTIVATING")
_TAG_PREFIX: Final = "kuma.io/"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIdentity:
    """The identity that the token of a task is bound to; ``workload`` is None if it is bound to none."""

    mesh: str
    service: str
    workload: str | None = None

    def members(self) -> dict[str, str | None]:
        """Return the identity as log lines contain it."""
        return {"mesh": self.mesh, "service": self.service, "workload": self.workload}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task that ECS runs or is going to run.

    Attributes:
        arn: the ARN of the task.
        definition: the ARN of its task definition.
        role: the ARN of the task role in the task's overrides, which replaces the role of the task definition; else None.
        is_pending: whether its containers do not all run yet. A container that waits for its token keeps the task pending.
        created_at: when ECS created the task.
        tags: the tags ``kuma.io/*`` of the task, by key. Whoever has ``ecs:TagResource`` chose them.
    """

    arn: str
    definition: str
    role: str | None
    is_pending: bool
    created_at: datetime
    tags: Mapping[str, str] = field(repr=False)


class SkippedError(Exception):
    """A task gets no token.

    Attributes:
        skip: why not.
        detail: a sentence for the log.
    """

    def __init__(self, skip: Skip, detail: str) -> None:
        super().__init__(skip, detail)
        self.skip = skip
        self.detail = detail


def read_task(described: Mapping[str, Any]) -> Task:
    """Read a task from an answer of ``DescribeTasks``."""
    return Task(
        arn=described["taskArn"],
        definition=described.get("taskDefinitionArn", ""),
        role=described.get("overrides", {}).get("taskRoleArn") or None,
        is_pending=described.get("lastStatus") in _PENDING,
        created_at=described.get("createdAt", _EPOCH),
        tags={
            tag["key"]: tag.get("value", "") for tag in described.get("tags", ()) if tag["key"].startswith(_TAG_PREFIX)
        },
    )


def identity_of_tags(task: Task, default_mesh: str) -> TaskIdentity:
    """Return the identity that the tags of a task name.

    Raises:
        SkippedError: the task has no tag ``kuma.io/service``, or a value breaks its grammar.
    """
    if SERVICE_TAG not in task.tags:
        raise SkippedError(Skip.NOT_IN_MESH, f"the task has no tag {SERVICE_TAG}")
    return require_secret_name(
        TaskIdentity(
            mesh=_value(MESH_TAG, task.tags.get(MESH_TAG, default_mesh), _MESH),
            service=task.tags[SERVICE_TAG],
            workload=_value(WORKLOAD_TAG, task.tags[WORKLOAD_TAG], _WORKLOAD) if WORKLOAD_TAG in task.tags else None,
        )
    )


def require_secret_name(identity: TaskIdentity) -> TaskIdentity:
    """Check that the service can be a part of a secret's name, and return the identity.

    Raises:
        SkippedError: it cannot. With a slash in it, a service could name the secret of another prefix.
    """
    _value(SERVICE_TAG, identity.service, _SERVICE)
    return identity


def _value(key: str, value: str, grammar: re.Pattern[str]) -> str:
    if not grammar.fullmatch(value):
        raise SkippedError(Skip.TAG_INVALID, f"the value of {key} breaks its grammar")
    return value
