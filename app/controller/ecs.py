"""The tasks of ECS clusters. The number of calls grows with the number of tasks / 100."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.controller.aws_calls import AwsCalls
from app.controller.reasons import Call, CallError
from app.controller.tasks import Task, read_task
from app.local.clock import Timer

# The most tasks of one answer of ListTasks, and of one call of DescribeTasks.
BATCH_TASKS: Final = 100
# A running task is described again after this time, because its tags can change. Until then it costs no further call.
REDESCRIBE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Described:
    task: Task
    at: float


class EcsTasks:
    """Lists the tasks of clusters that run or are going to run."""

    def __init__(self, calls: AwsCalls, clusters: Sequence[str], timer: Timer = time.monotonic) -> None:
        self._calls = calls
        self._clusters = clusters
        self._client = calls.client("ecs")
        self._timer = timer
        self._described: dict[str, dict[str, _Described]] = {}

    async def read_tasks(self, failed: Callable[[CallError, str], None]) -> list[Task]:
        """Return the tasks of all clusters. Describe those that are new or pending, since they may wait for their token.

        If one cluster fails, the tasks of the others are read nevertheless.

        Args:
            failed: is called with each failure and the cluster. The result then has the tasks that were read earlier.
        """
        for cluster in self._clusters:
            known = self._described.setdefault(cluster, {})
            try:
                arns = [arn async for arn in self._list(cluster)]
                for arn in known.keys() - set(arns):
                    del known[arn]
                await self._describe(
                    cluster, known, [arn for arn in arns if arn not in known or _is_pending(known[arn])]
                )
            except CallError as error:
                failed(error, cluster)
        return self.known_tasks()

    async def refresh_tasks(self, failed: Callable[[CallError, str], None]) -> list[Task]:
        """Describe the running tasks again whose description is too old, and return all tasks; see `read_tasks`."""
        latest = self._timer() - REDESCRIBE_SECONDS
        for cluster, known in self._described.items():
            try:
                await self._describe(
                    cluster, known, [arn for arn, described in known.items() if described.at <= latest]
                )
            except CallError as error:
                failed(error, cluster)
        return self.known_tasks()

    def known_tasks(self) -> list[Task]:
        """Return the tasks as they were described last."""
        return [described.task for known in self._described.values() for described in known.values()]

    async def role_of_definition(self, definition: str) -> str | None:
        """Return the ARN of the task role in a task definition, or None if it has none.

        Raises:
            CallError: ECS could not be asked.
        """
        describe = self._client.describe_task_definition
        answer = await self._calls.make(Call.DESCRIBE_TASK_DEFINITION, describe, taskDefinition=definition)
        return answer["taskDefinition"].get("taskRoleArn") or None

    async def _list(self, cluster: str) -> AsyncIterator[str]:
        more: dict[str, str] = {}
        tokens: set[str] = set()
        while True:
            # The desired status of a pending task is RUNNING too.
            answer = await self._calls.make(
                Call.LIST_TASKS,
                self._client.list_tasks,
                cluster=cluster,
                desiredStatus="RUNNING",
                maxResults=BATCH_TASKS,
                **more,
            )
            for arn in answer["taskArns"]:
                yield arn
            token = answer.get("nextToken")
            if not token:
                return
            if token in tokens:  # the pages would never end
                raise self._calls.invalid(Call.LIST_TASKS, "a page has the token of an earlier one")
            tokens.add(token)
            more = {"nextToken": token}

    async def _describe(self, cluster: str, known: dict[str, _Described], arns: list[str]) -> None:
        now = self._timer()
        for batch in _batches(arns):
            answer = await self._calls.make(
                Call.DESCRIBE_TASKS, self._client.describe_tasks, cluster=cluster, tasks=batch, include=["TAGS"]
            )
            for described in answer["tasks"]:
                known[described["taskArn"]] = _Described(read_task(described), now)
            for missing in answer.get("failures", ()):  # the task has ended since it was listed
                known.pop(missing.get("arn", ""), None)


def _is_pending(described: _Described) -> bool:
    return described.task.is_pending


def _batches(arns: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(arns), BATCH_TASKS):
        yield arns[first : first + BATCH_TASKS]
