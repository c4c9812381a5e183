"""The credentials endpoint of the ECS agent, where a task gets the credentials of its role.

The path of the URL names the role. Any AWS SDK or command line reads the URL from `AWS_CONTAINER_CREDENTIALS_FULL_URI`. As
on ECS, the name of the session is the task id, and the session lasts six hours. The endpoint returns the same keys until 30
minutes before the session ends.
"""

import hashlib
import threading
from datetime import timedelta
from typing import Final
from urllib.parse import unquote

import orjson

from app.emulator import sts
from app.emulator.identities import Clock, SessionCredentials
from app.emulator.query_protocol import iso_time
from app.emulator.wire import Answer
from app.emulator.world import World

PREFIX: Final = "/ecs/"
LIFETIME: Final = timedelta(hours=6)
MAX_TASKS: Final = 50_000
RENEW_BEFORE: Final = timedelta(minutes=30)
"""An SDK asks for new credentials when the old ones expire soon, in botocore within 15 minutes. If this time were shorter,
the SDK would get the old credentials again, and would ask before every call."""


class ContainerCredentials:
    """The sessions of the emulated tasks, one for each account, role and task."""

    def __init__(self, world: World, clock: Clock, *, max_tasks: int = MAX_TASKS) -> None:
        self._world = world
        self._max_tasks = max_tasks
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str, str], SessionCredentials] = {}

    def answer(self, path: str) -> Answer:
        """Answer `/ecs/<account>/<role name>`. A task id may follow, so that several tasks can have the same role."""
        account, _, rest = unquote(path.removeprefix(PREFIX)).partition("/")
        role_name, _, task_id = rest.partition("/")
        if task_id and not sts.SESSION_NAME.fullmatch(task_id):
            return _refuse(400, "InvalidTaskId", f"a task id is a session name: {sts.SESSION_NAME.pattern}")
        try:
            session = self.issue(account, role_name, task_id or None)
        except LookupError as error:
            return _refuse(404, "CredentialsNotFound", str(error))
        body = {
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "Token": session.session_token,
            "Expiration": iso_time(session.expiration),
            "RoleArn": session.principal.policy_arn,
        }
        return Answer(status=200, content_type="application/json", body=orjson.dumps(body))

    def issue(self, account: str, role_name: str, task_id: str | None = None) -> SessionCredentials:
        """Return the credentials of a task.

        Raises:
            LookupError: there is no such role.
        """
        task = task_id or make_task_id(account, role_name)
        with self._lock:
            held = self._sessions.get((account, role_name, task))
            if held is not None and self._is_good(held):
                return held
            session = self._world.issue_session(account, role_name, task, LIFETIME)
            self._sessions[account, role_name, task] = session
            while len(self._sessions) > self._max_tasks:
                del self._sessions[next(iter(self._sessions))]
            return session

    def _is_good(self, session: SessionCredentials) -> bool:
        is_known = self._world.find_key(session.access_key_id) is not None and self._world.is_alive(session.principal)
        return is_known and session.expiration - self._clock() > RENEW_BEFORE


def _refuse(status: int, code: str, message: str) -> Answer:
    body = {"code": code, "message": message, "HTTPErrorCode": status}
    return Answer(status=status, content_type="application/json", body=orjson.dumps(body))


def make_task_id(account: str, role_name: str) -> str:
    """Return a task id in ECS's format, 32 hexadecimal digits. It is always the same for one role."""
    return hashlib.sha256(f"{account}/{role_name}".encode()).hexdigest()[:32]
