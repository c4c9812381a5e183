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
    """The identity that the token of a task is bound to: a service, a workload, or both.

    Attributes:
        mesh: the mesh of the task's proxy.
        service: the value of ``kuma.io/service``; None if the token is not bound to it, as for Kuma 3.0.
        workload: the value of ``kuma.io/workload``; None if the token is not bound to it.
        labels: further labels that the token names, as pairs in the order of their keys; only a role pins them.
    """

    mesh: str
    service: str | None = None
    workload: str | None = None
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What the task's secret is called behind the prefix: the service, else the workload."""
        return self.service or self.workload or ""

    @property
    def tags(self) -> dict[str, list[str]]:
        """The claim ``Tags`` of the token; empty if there is nothing for it."""
        service = {SERVICE_TAG: [self.service]} if self.service is not None else {}
        return service | {key: [value] for key, value in self.labels}

    def members(self) -> dict[str, Any]:
        """Return the identity as log lines contain it."""
        members: dict[str, Any] = {"mesh": self.mesh, "service": self.service, "workload": self.workload}
        return members | ({"labels": dict(self.labels)} if self.labels else {})


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
        SkippedError: the task has neither ``kuma.io/service`` nor ``kuma.io/workload``, or a value breaks its grammar.
    """
    if SERVICE_TAG not in task.tags and WORKLOAD_TAG not in task.tags:
        raise SkippedError(Skip.NOT_IN_MESH, f"the task has no tag {SERVICE_TAG} and no tag {WORKLOAD_TAG}")
    return require_secret_name(
        TaskIdentity(
            mesh=_value(MESH_TAG, task.tags.get(MESH_TAG, default_mesh), _MESH),
            service=task.tags.get(SERVICE_TAG),
            workload=_value(WORKLOAD_TAG, task.tags[WORKLOAD_TAG], _WORKLOAD) if WORKLOAD_TAG in task.tags else None,
        )
    )


def require_secret_name(identity: TaskIdentity) -> TaskIdentity:
    """Check that service or workload can be a part of a secret's name, and return the identity.

    Raises:
        SkippedError: it cannot. With a slash in it, a service could name the secret of another prefix.
    """
    if identity.service is not None:
        _value(SERVICE_TAG, identity.service, _SERVICE)
    else:
        _value(WORKLOAD_TAG, identity.name, _WORKLOAD)
    return identity


def _value(key: str, value: str, grammar: re.Pattern[str]) -> str:
    if not grammar.fullmatch(value):
        raise SkippedError(Skip.TAG_INVALID, f"the value of {key} breaks its grammar")
    return value
