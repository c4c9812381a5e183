"""A small ECS and Secrets Manager on loopback, in the JSON protocol, with pages, pending tasks and faults.

moto has both services too, and `make demo-controller` plays on it. But moto lists all tasks in one page, starts every
task as running, and takes seconds to import.
"""

import base64
import http.server
import json
import ssl
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

PREFIX: Final = "kong-mesh-ecs/"
CLUSTER: Final = "mesh"
_ARN: Final = "arn:aws:ecs:eu-west-1:111122223333"
_CURRENT: Final = "AWSCURRENT"
_FAULTS: Final[Mapping[str, tuple[int, str]]] = {
    "throttle": (400, "ThrottlingException"),
    "error": (500, "InternalServiceError"),
    "denied": (400, "AccessDeniedException"),
    "expired": (400, "ExpiredTokenException"),
    "garbage": (200, ""),
}


_BATCH: Final = 100


class AwsError(Exception):
    """An error that the stand-in answers with."""


def _require(condition: bool) -> None:  # noqa: FBT001
    if not condition:
        raise AwsError("ClientException")


@dataclass
class Version:
    """One version of a secret."""

    text: str
    created: float
    stages: set[str]


@dataclass
class Ecs:
    """The state of both services, and what was asked of them.

    Attributes:
        faults: the faults of the next calls, by action; with a `*` as the action, those of every call.
        calls: the actions in their order.
        put_order: the names of secrets in the order in which they were put.
        lasting: the fault of every call of an action, after these.
        before: is called once before an action takes effect.
        released: ends calls that hang.
        clock: the date, in seconds since the epoch.
    """

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    roles: dict[str, str | None] = field(default_factory=dict)
    secrets: dict[str, dict[str, Version]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lasting: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    put_order: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    clock: Callable[[], float] = time.time
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add_task(
        self,
        *,
        status: str = "RUNNING",
        definition: str = "web:1",
        role: str | None = None,
        age: float = 60.0,
        **tags: str,
    ) -> str:
        """Add a task; the names of its tags are without ``kuma.io/``. Return its ARN."""
        arn = f"{_ARN}:task/{CLUSTER}/{uuid.uuid4().hex}"
        self.tasks[arn] = {
            "taskArn": arn,
            "taskDefinitionArn": f"{_ARN}:task-definition/{definition}",
            "lastStatus": status,
            "desiredStatus": "RUNNING",
            "createdAt": self.clock() - age,
            "overrides": {} if role is None else {"taskRoleArn": role},
            "tags": [{"key": f"kuma.io/{key}", "value": value} for key, value in tags.items()],
        }
        return arn

    def add_secret(self, service: str, text: str = "{}", *, age: float = 3600.0) -> None:
        """Add a secret, as the stack of a service does, or replace its value."""
        self.secrets[f"{PREFIX}{service}"] = {
            str(uuid.uuid4()): Version(text=text, created=self.clock() - age, stages={_CURRENT})
        }

    def value(self, service: str) -> Any:
        """Return the current value of a secret."""
        return json.loads(self.current(f"{PREFIX}{service}")[1].text)

    def current(self, name: str) -> tuple[str, Version]:
        """Return the current version of a secret and its id."""
        if name not in self.secrets:
            raise AwsError("ResourceNotFoundException")
        return next(each for each in self.secrets[name].items() if _CURRENT in each[1].stages)

    def counts(self) -> Counter[str]:
        """Return how often each action was asked for, and begin anew."""
        counts = Counter(self.calls)
        self.calls.clear()
        return counts

    def fault_of(self, action: str) -> str | None:
        """Note a call, and return its fault."""
        with self.lock:
            self.calls.append(action)
            queued = self.faults[action] or self.faults["*"]
            return queued.pop(0) if queued else self.lasting.get(action)

    # The actions.

    def answer(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what a call asks for."""
        with self.lock:
            change = self.before.pop(action, None)
            if change is not None:
                change()
            result: dict[str, Any] = getattr(self, f"_{action}")(asked)
            return result

    def _ListTasks(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        _require(asked["desiredStatus"] == "RUNNING")
        first, count = int(asked.get("nextToken", 0)), asked["maxResults"]
        arns = list(self.tasks)
        more = {"nextToken": str(first + count)} if first + count < len(arns) else {}
        return {"taskArns": arns[first : first + count], **more}

    def _DescribeTasks(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        _require(len(asked["tasks"]) <= _BATCH and asked["include"] == ["TAGS"])
        missing = [{"arn": arn, "reason": "MISSING"} for arn in asked["tasks"] if arn not in self.tasks]
        return {"tasks": [self.tasks[arn] for arn in asked["tasks"] if arn in self.tasks], "failures": missing}

    def _DescribeTaskDefinition(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        role = self.roles[asked["taskDefinition"].rpartition("/")[2]]
        return {"taskDefinition": {} if role is None else {"taskRoleArn": role}}

    def _GetSecretValue(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        version, found = self.current(asked["SecretId"])
        binary = (
            {"SecretBinary": base64.b64encode(b"\0").decode()}
            if found.text == "binary"
            else {"SecretString": found.text}
        )
        return {
            "ARN": f"arn:aws:secretsmanager:eu-west-1:111122223333:secret:{asked['SecretId']}-AbCdEf",
            "Name": asked["SecretId"],
            "VersionId": version,
            "CreatedDate": found.created,
            "VersionStages": sorted(found.stages),
            **binary,
        }

    def _PutSecretValue(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        name, version = asked["SecretId"], asked["ClientRequestToken"]
        self.current(name)
        if version not in self.secrets[name]:
            for each in self.secrets[name].values():
                each.stages -= set(asked["VersionStages"])
            self.secrets[name][version] = Version(asked["SecretString"], self.clock(), set(asked["VersionStages"]))
            self.put_order.append(name)
        return {"Name": name, "VersionId": version}

    def _UpdateSecretVersionStage(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's
        current, found = self.current(asked["SecretId"])
        if current != asked["RemoveFromVersionId"]:
            raise AwsError("InvalidParameterException")
        found.stages.remove(_CURRENT)
        self.secrets[asked["SecretId"]][asked["MoveToVersionId"]].stages.add(_CURRENT)
        return {"Name": asked["SecretId"]}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet; otherwise each answer waits for a delayed acknowledgement
    server: "EcsServer"

    def do_POST(self) -> None:
        state = self.server.state
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        action = self.headers["x-amz-target"].rpartition(".")[2]
        fault = state.fault_of(action)
        if fault == "hang":
            state.released.wait(60)
        if fault == "lost-answer":  # the call takes effect
            state.answer(action, asked)
        if fault in ("hang", "lost-answer"):
            self.close_connection = True
        elif fault is not None:
            status, code = _FAULTS[fault]
            self._send(status, {"__type": code, "message": "a secret message"} if code else None)
        else:
            try:
                self._send(200, state.answer(action, asked))
            except AwsError as error:
                self._send(400, {"__type": str(error), "message": "a secret message"})

    def _send(self, status: int, answer: dict[str, Any] | None) -> None:
        data = b"<html>" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class EcsServer(http.server.ThreadingHTTPServer):
    """The server. Its state can be replaced, so that many tests share a server."""

    daemon_threads = True
    request_queue_size = 64
    state: Ecs
    scheme = "http"

    def renew(self) -> Ecs:
        """Begin with an empty state, which is returned. Calls that hang end."""
        if hasattr(self, "state"):
            self.state.released.set()
        self.state = Ecs(url=f"{self.scheme}://127.0.0.1:{self.server_port}")
        return self.state

    def handle_error(self, *_: object) -> None:
        """A client that gave up is no fault of the stand-in."""


@contextmanager
def ecs_server(tls: ssl.SSLContext | None = None) -> Iterator[EcsServer]:
    """Serve on a loopback port, over TLS if a context is given."""
    with EcsServer(("127.0.0.1", 0), _Handler) as server:
        if tls is not None:
            server.socket, server.scheme = tls.wrap_socket(server.socket, server_side=True), "https"
        server.renew()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.state.released.set()
            server.shutdown()
            thread.join()


@contextmanager
def ecs_stand_in(tls: ssl.SSLContext | None = None) -> Iterator[Ecs]:
    """Do the same, and yield the state, which has the URL."""
    with ecs_server(tls) as server:
        yield server.state
