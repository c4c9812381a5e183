"""What the service uses of uvicorn, botocore and redis beyond what they document, and what each of them must still do.

A failure names the package's version. Before you change this file, read what changed there and the module that relies on it.
``docs/decisions/0022-overrides-of-uvicorn.md`` has the reasons; the upper bounds are in ``pyproject.toml``.
"""

import asyncio
import hashlib
import inspect
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
import uvicorn
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.server.process import uvicorn_config

ROOT = Path(__file__).parents[1]


def of(package: str, relied_upon_by: str) -> str:
    """Return the message of a failure."""
    return f"{package} {version(package)} is not as {relied_upon_by} takes it"


def parameters_of(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def missing(owner: object, names: Iterable[str]) -> list[str]:
    return [name for name in names if not hasattr(owner, name)]


@pytest.mark.parametrize("package", ["uvicorn", "botocore", "boto3", "redis"])
def test_what_is_used_beyond_its_documentation_has_an_upper_bound(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = [*project["dependencies"], *project["optional-dependencies"]["redis"]]
    (requirement,) = [each for each in every if each.startswith(f"{package}>=")]
    assert ",<" in requirement


# uvicorn, under app/server/protocol.py, app/server/process.py and app/api/at_once.py.


class Wire(asyncio.Transport):
    """A transport that records writes, and counts how often reading is paused or resumed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def answering(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def connected(app: Any = answering, of_class: type[HttpToolsProtocol] = HttpToolsProtocol) -> tuple[Any, Wire]:
    config = uvicorn_config(app, grace_seconds=1)
    config.load()
    protocol = of_class(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


CALLBACKS = {
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "on_message_begin": [],
    "on_header": ["name", "value"],
    "on_headers_complete": [],
    "on_body": ["body"],
    "on_message_complete": [],
    "on_response_complete": [],
    "timeout_keep_alive_handler": [],
    "_unset_keepalive_if_required": [],
    "_start_asgi_task": ["cycle", "app"],
    "send_400_response": ["msg"],
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_uvicorns_protocol_has_what_is_overridden_or_called(name: str) -> None:
    assert parameters_of(getattr(HttpToolsProtocol, name)) == CALLBACKS[name], of("uvicorn", "app/server/protocol.py")


async def test_uvicorns_protocol_keeps_the_state_of_a_connection_under_these_names() -> None:
    protocol, _ = connected()
    protocol.data_received(GET)
    names = "loop transport flow pipeline cycle connections server_state headers url timeout_keep_alive_task"
    assert missing(protocol, names.split()) == [], of("uvicorn", "app/server/protocol.py")
    assert missing(protocol.server_state, ["total_requests", "connections"]) == [], of(
        "uvicorn", "app/server/protocol.py"
    )
    await settled()


async def test_uvicorns_cycle_keeps_the_state_of_a_request_under_these_names() -> None:
    protocol, _ = connected()
    protocol.data_received(GET)
    names = (
        "scope transport flow default_headers message_event keep_alive disconnected more_body waiting_for_100_continue "
        "response_started response_complete on_response"
    )
    assert missing(protocol.cycle, names.split()) == [], of("uvicorn", "app/api/at_once.py")
    await settled()


async def test_uvicorns_channel_is_a_method_of_its_cycle() -> None:
    """So an answer in one piece finds the cycle."""
    found: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(getattr(send, "__self__", None))
        await answering(scope, receive, send)

    protocol, _ = connected(app)
    protocol.data_received(GET)
    await settled()
    assert [type(each) for each in found] == [RequestResponseCycle], of("uvicorn", "app/api/at_once.py")


def test_uvicorns_status_lines_are_whole() -> None:
    assert STATUS_LINE[503] == b"HTTP/1.1 503 Service Unavailable\r\n", of("uvicorn", "app/api/at_once.py")


REPLACED: dict[str, tuple[Callable[..., Any], str]] = {
    "on_response_complete": (HttpToolsProtocol.on_response_complete, "64e254f28e389e76"),
    "timeout_keep_alive_handler": (HttpToolsProtocol.timeout_keep_alive_handler, "8b53bf5f2e202970"),
    "_unset_keepalive_if_required": (HttpToolsProtocol._unset_keepalive_if_required, "00a6a4e47214e68e"),
    "send": (RequestResponseCycle.send, "abdd8601b326a8da"),
}


@pytest.mark.parametrize("name", REPLACED)
def test_what_is_replaced_and_not_extended_has_not_changed(name: str) -> None:
    """The replaced methods never run, so a fix in them would not take effect in the service."""
    function, digest = REPLACED[name]
    source = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    assert source == digest, of("uvicorn", "app/server/protocol.py or app/api/at_once.py")


async def test_uvicorn_says_with_each_piece_of_data_that_the_connection_is_used() -> None:
    said: list[bool] = []

    class Watched(HttpToolsProtocol):
        def _unset_keepalive_if_required(self) -> None:
            said.append(True)

    protocol, _ = connected(of_class=Watched)
    protocol.data_received(GET[:5])
    assert said == [True], of("uvicorn", "app/server/protocol.py")


async def test_uvicorn_leaves_its_clock_running_when_a_connection_is_reset() -> None:
    """So ``connection_lost`` is overridden."""
    protocol, _ = connected()
    protocol.data_received(GET)
    await settled()
    protocol.connection_lost(ConnectionResetError())
    running = protocol.timeout_keep_alive_task
    assert running is not None, of("uvicorn", "app/server/protocol.py")
    running.cancel()


async def test_uvicorn_queues_a_request_behind_another_and_stops_reading() -> None:
    protocol, wire = connected()
    protocol.data_received(GET * 3)
    assert (len(protocol.pipeline), wire.reading) == (2, False), of("uvicorn", "app/server/protocol.py")
    await settled()
    protocol.connection_lost(None)


async def test_uvicorn_reads_on_as_soon_as_a_call_wants_its_body() -> None:
    """Uvicorn does this although requests wait. So the service's own flow control must keep reading paused."""
    protocol, wire = connected()
    protocol.data_received(GET * 3)
    protocol.flow.resume_reading()
    assert wire.reading, of("uvicorn", "app/server/protocol.py")
    assert missing(FlowControl(wire), ["write_paused", "pause_reading", "resume_reading"]) == []
    await settled()
    protocol.connection_lost(None)


async def test_an_error_in_a_callback_is_400_and_the_end_of_the_connection() -> None:
    class Refusing(HttpToolsProtocol):
        def on_url(self, url: bytes) -> None:
            raise ValueError(url)

    protocol, wire = connected(of_class=Refusing)
    protocol.data_received(GET)
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
    assert (wire.written[:12], wire.closed) == (b"HTTP/1.1 400", True), of("uvicorn", "app/server/protocol.py")


async def test_a_set_event_makes_a_call_look_at_a_body_that_is_not_whole() -> None:
    """So the timer of a body can wake its reader."""
    read: list[Any] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        read.append(await receive())

    protocol, _ = connected(app)
    protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
    await settled()
    protocol.cycle.message_event.set()
    await settled()
    assert read == [{"type": "http.request", "body": b"", "more_body": True}], of("uvicorn", "app/server/protocol.py")
    protocol.connection_lost(None)


async def test_uvicorns_server_accepts_and_ends_what_it_is_handed() -> None:
    assert parameters_of(uvicorn.Server.startup) == ["sockets"], of("uvicorn", "app/server/process.py")
    server = uvicorn.Server(uvicorn_config(answering, grace_seconds=1))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[])
    closed: list[str] = []

    async def wait_closed() -> None:
        closed.append("waited")

    server.servers.append(SimpleNamespace(close=lambda: closed.append("closed"), wait_closed=wait_closed))  # type: ignore[arg-type]
    await server.shutdown(sockets=[])
    assert closed == ["closed", "waited"], of("uvicorn", "app/server/process.py")
    assert missing(server, ["capture_signals", "should_exit", "force_exit", "server_state"]) == []
    assert server.lifespan.state == {}, of("uvicorn", "app/server/process.py")


# botocore, under app/aws, app/sts and app/emulator.

KEYS = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "secret", None)


def test_botocores_signer_signs_a_canonical_request_of_ours() -> None:
    """`app.aws.signed_query` passes its own canonical request, and of the request only the time."""
    moment = "20261124T053000Z"
    real = AWSRequest("POST", "https://iam.amazonaws.com/", {"host": "iam.amazonaws.com", "x-amz-date": moment}, b"a=b")
    real.context["timestamp"] = moment
    signer = SigV4Auth(KEYS, "iam", "us-east-1")
    canonical = signer.canonical_request(real)
    sparse: Any = SimpleNamespace(context={"timestamp": moment})
    relied = of("botocore", "app/aws/signed_query.py")
    assert signer.string_to_sign(sparse, canonical) == signer.string_to_sign(real, canonical), relied
    text = signer.string_to_sign(real, canonical)
    assert signer.signature(text, sparse) == signer.signature(text, real), relied
    assert signer.scope(sparse) == "AKIAIOSFODNN7EXAMPLE/20261124/us-east-1/iam/aws4_request", relied
    assert SIGV4_TIMESTAMP == "%Y%m%dT%H%M%SZ", relied


def test_botocores_query_signer_takes_a_lifetime() -> None:
    assert "expires" in parameters_of(SigV4QueryAuth.__init__), of("botocore", "app/sts/signer.py")


def test_botocores_loader_reads_its_own_data_alone_where_it_is_told_so() -> None:
    relied = of("botocore", "app/aws/sdk_data.py")
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    assert loader.search_paths == [Loader.BUILTIN_DATA_PATH], relied
    partitions = loader.load_data("partitions")
    rules = loader.load_service_model("sts", "endpoint-rule-set-1")
    found = EndpointProvider(rules, partitions).resolve_endpoint(Region="eu-west-1", UseFIPS=False, UseDualStack=False)
    assert found.url == "https://sts.eu-west-1.amazonaws.com", relied


def test_botocores_credentials_say_when_they_end() -> None:
    assert parameters_of(RefreshableCredentials.refresh_needed) == ["refresh_in"], of(
        "botocore", "app/aws/own_credentials.py"
    )


# redis, under app/store.


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
def test_rediss_connections_take_these_options(kind: type[AbstractConnection]) -> None:
    """`driver_info` and `protocol` stop it from sending more than commands to the server."""
    options: dict[str, Any] = {"db": 0, "username": None, "password": None, "protocol": 2, "driver_info": None}
    made = kind(socket_timeout=None, socket_connect_timeout=None, **options)
    assert made.driver_info is None, of("redis", "app/store/redis_connection.py")


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        ("pack_commands", "commands"),
        ("send_packed_command", "check_health"),
        ("read_response", "disable_decoding"),
        ("disconnect", "nowait"),
    ],
)
def test_rediss_connections_have_what_is_called(method: str, parameter: str) -> None:
    relied = of("redis", "app/store/redis_connection.py and app/store/link.py")
    assert parameter in parameters_of(getattr(AbstractConnection, method)), relied


def test_rediss_tls_connection_uses_the_context_that_it_is_given() -> None:
    given: Any = object()
    connection = SSLConnection()
    connection.ssl_context.context = given
    assert connection.ssl_context.get() is given, of("redis", "app/store/redis_connection.py")


def test_rediss_errors_have_a_code() -> None:
    assert not RedisError().status_code, of("redis", "app/store/redis_connection.py")
    assert issubclass(ResponseError, RedisError)
