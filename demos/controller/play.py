"""What the demonstration plays: four services in a cluster, and what the controller must do for each in each pass.

moto's server is right for the calls of the controller: it has the protocols of both services, the versions of secrets and
their stages. It is not right for what a task does: no container starts, and no variable is read. A reader
that names no stage gets the version that was current before `UpdateSecretVersionStage`; AWS returns the one with AWSCURRENT.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from moto.server import ThreadedMotoServer

from app.controller.control_plane import ApiAccess, parse_api_url
from app.controller.controller import ControllerOptions, open_controller
from app.controller.metrics import ControllerMetrics
from app.controller.parts import PassOptions, Shared
from app.controller.reasons import Leave, PutReason
from app.tokens.control_plane_config import public_pem
from demos.controller.kuma_api import API_TOKEN, KumaApi, kuma_api
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError

CLUSTER: Final = "mesh"
PREFIX: Final = "kong-mesh-ecs/"
VALID_FOR: Final = timedelta(hours=720)
_REGION: Final = "eu-west-1"
_VARIABLES: Final = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_EC2_METADATA_DISABLED": "true"}
_BITS: Final = 2048
_KEYS: Final = {"aws_access_key_id": "demo", "aws_secret_access_key": "demo"}  # moto checks none


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the controller.

    Attributes:
        title: what has happened before it.
        before: makes that happen.
        expected: what must be done, by service.
        later: how much time has passed since the last pass.
    """

    title: str
    before: Callable[["Stage"], None]
    expected: Mapping[str, PutReason | Leave]
    later: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    title: str
    service: str
    held: str
    done: str
    verdict: str
    is_expected: bool

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        return self.title, self.service, self.held, self.done, self.verdict


@dataclass
class Stage:
    """moto, the control plane, and the clock of the demonstration."""

    secrets: Any
    api: KumaApi
    key: RSAPrivateKey
    passed: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        """Return the date and time of this host, plus what has passed."""
        return datetime.now(UTC) + self.passed

    def seconds(self) -> float:
        """Return the same in seconds since the epoch."""
        return self.now().timestamp()

    def text_of(self, service: str) -> str | None:
        """Return the value of a secret; None if there is none."""
        try:
            found: str = self.secrets.get_secret_value(SecretId=f"{PREFIX}{service}", VersionStage="AWSCURRENT")[
                "SecretString"
            ]
        except self.secrets.exceptions.ResourceNotFoundException:
            return None
        return found

    def describe(self, service: str) -> str:
        """Return a secret's value for the table, without its token."""
        text = self.text_of(service)
        if text is None:
            return "there is none"
        try:
            members = json.loads(text)
        except ValueError:
            return f"{text!r}, no JSON"
        return json.dumps({name: "a token" if name == "token" else value for name, value in members.items()})

    def ask_control_plane(self, service: str) -> str:
        """Return what the control plane makes of the token of a secret, by Kuma's rules."""
        try:
            token = json.loads(self.text_of(service) or "{}").get("token")
        except ValueError:
            token = None
        if token is None:
            return "gets no token"
        keys = [{"kid": "1", "key": public_pem(self.key.public_key())}]
        token_settings = {"enableIssuer": True, "validator": {"publicKeys": keys}}
        validator = KumaValidator({"dpServer": {"authn": {"dpProxy": {"type": "dpToken", "dpToken": token_settings}}}})
        resource = DataplaneResource(mesh="default", name=f"{service}-1", tags={"kuma.io/service": {service}})
        try:
            validator.check_dataplane(token, resource, self.now().timestamp())
        except RefusedError as error:
            return f"refuses it: {error}"
        return f"accepts it for {service}"


def _begin(stage: Stage) -> None:
    stage.secrets.create_secret(Name=f"{PREFIX}web", SecretString='{"db": "secret"}')
    stage.secrets.create_secret(Name=f"{PREFIX}broken", SecretString="token=abc")
    asked = {"mesh": "default", "tags": {"kuma.io/service": ["old"]}, "validFor": f"{VALID_FOR.total_seconds():.0f}s"}
    stage.api.clock = (stage.now() - timedelta(hours=400)).timestamp
    _, token = stage.api.issue(asked)
    stage.api.clock = stage.seconds
    stage.secrets.create_secret(Name=f"{PREFIX}old", SecretString=json.dumps({"token": token.decode()}))


def _repair(stage: Stage) -> None:
    stage.secrets.create_secret(Name=f"{PREFIX}none", SecretString="{}")
    stage.secrets.put_secret_value(SecretId=f"{PREFIX}broken", SecretString="{}")


def _nothing(_stage: Stage) -> None:
    pass


PASSES: Final = (
    Pass(
        "1: the controller starts",
        _begin,
        {
            "web": PutReason.TOKEN_MISSING,
            "none": Leave.SECRET_MISSING,
            "broken": Leave.SECRET_MALFORMED,
            "old": Leave.PUT_RECENTLY,
        },
    ),
    Pass(
        "2: eleven minutes later",
        _nothing,
        {
            "none": Leave.SECRET_MISSING,
            "broken": Leave.SECRET_MALFORMED,
            "old": PutReason.HALF_LIFE_OVER,
            "web": Leave.USABLE,
        },
        timedelta(minutes=11),
    ),
    Pass(
        "3: both secrets are corrected",
        _repair,
        {"none": PutReason.TOKEN_MISSING, "broken": PutReason.TOKEN_MISSING},
        timedelta(minutes=2),
    ),
    Pass("4: nothing has changed", _nothing, {}, timedelta(seconds=5)),
)

_WHY: Final = {
    PutReason.TOKEN_MISSING: "it has no token yet",
    PutReason.HALF_LIFE_OVER: "over half of the token's life has passed",
    Leave.SECRET_MISSING: "the controller makes no secret: it belongs to the stack of the service",
    Leave.SECRET_MALFORMED: "it is no JSON object, and the controller overwrites nothing else",
    Leave.PUT_RECENTLY: "its version is younger than ten minutes; AWS asks for fewer puts",
    Leave.USABLE: "its token is usable",
}


async def play() -> list[Row]:
    """Make the passes, and return the rows."""
    rows: list[Row] = []
    with _stage() as (stage, options):
        shared = Shared(metrics=ControllerMetrics(), clock=stage.now, timer=lambda: stage.passed.total_seconds() + 1000)
        async with open_controller(options, shared) as controller:
            for each in PASSES:
                stage.passed += each.later
                each.before(stage)
                services = {"web", "none", "broken", "old"}
                held = {service: stage.describe(service) for service in services}
                result = await controller.run_pass(None)
                done = {handled.wanted.identity.name: handled.done for handled in result.handled}
                rows += [
                    _row(stage, each, service, held[service], done) for service in sorted(done.keys() | each.expected)
                ]
                if not done:
                    rows.append(
                        Row(each.title, "all", "", "nothing: no secret is due, so ECS alone was asked", "", True)
                    )
    return rows


def _row(stage: Stage, played: Pass, service: str, held: str, done: Mapping[str, PutReason | Leave | None]) -> Row:
    what = done.get(service)
    word = "put" if isinstance(what, PutReason) else "left"
    is_expected = what == played.expected.get(service)
    why = f"{word} ({what}): {_WHY[what]}" if what in _WHY else str(what)
    return Row(played.title, service, held, why, stage.ask_control_plane(service), is_expected)


@contextlib.contextmanager
def _stage() -> Iterator[tuple[Stage, ControllerOptions]]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    key = generate_private_key(public_exponent=65537, key_size=_BITS)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    os.environ.update(_VARIABLES, AWS_ENDPOINT_URL_ECS=url, AWS_ENDPOINT_URL_SECRETS_MANAGER=url)
    try:
        with kuma_api(key) as api:
            _start_tasks(_client("ecs", url))
            options = ControllerOptions(
                region=_REGION,
                clusters=(CLUSTER,),
                passes=PassOptions(prefix=PREFIX, valid_for=VALID_FOR),
                default_mesh="default",
                interval=5.0,
                identity="task-tags",
                api=ApiAccess(server=parse_api_url(api.url), read_token=lambda: API_TOKEN),
            )
            yield Stage(_client("secretsmanager", url), api, key), options
    finally:
        server.stop()


def _client(service: str, url: str) -> Any:
    session: Any = boto3.Session
    return session(region_name=_REGION, **_KEYS).client(service, endpoint_url=url, config=Config(proxies={}))


def _start_tasks(ecs: Any) -> None:
    ecs.create_cluster(clusterName=CLUSTER)
    for service in ("web", "none", "broken", "old"):
        ecs.register_task_definition(
            family=service, containerDefinitions=[{"name": "kuma-dp", "image": "kuma-dp", "memory": 64}]
        )
        ecs.run_task(
            cluster=CLUSTER,
            taskDefinition=service,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": []}},
            tags=[{"key": "kuma.io/service", "value": service}],
        )
