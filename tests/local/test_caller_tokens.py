"""Callers of the API authenticate with a token of a file. Others get 401, and no call of theirs is processed."""

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.api.caller_guard import CHALLENGE, LOG_SECONDS, CallerGuard, UnknownCallers
from app.api.schemas import Problem
from app.core.reasons import EXPLANATIONS, Reason
from app.local.caller_tokens import CallerTokenSource, read_caller_token_file, read_tokens
from app.telemetry.metrics import Metrics
from tests.conftest import LoadSettings, StartService
from tests.support.exposition import read_samples, value
from tests.support.patience import PATIENCE
from tests.support.service import AUTHENTICATE, RunningService, listening, running_service
from tests.support.tls import Authority
from tests.support.world import PROXY, Aws

TOKEN = "canary-token-0123456789-abcdefghijkl"
OTHER = "another-token/0123456789+ABCDEFGHIJ=="
UNKNOWN = "unknown-token-0123456789-abcdefghijkl"
TOKEN_FILE = "KMESH_AWSIAM_CALLER_TOKEN_FILE"
LISTEN = "KMESH_AWSIAM_LISTEN"
DIAGNOSTICS = "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"
TLS_CERT = "KMESH_AWSIAM_TLS_CERT_FILE"
TLS_KEY = "KMESH_AWSIAM_TLS_KEY_FILE"
PROBES = ["/healthy", "/ready", "/metrics"]
REACHABLE = "0.0.0.0:5690"
UNKNOWN_CALLERS = "kuma_aws_iam_unknown_callers_total"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "caller-tokens"
    path.write_text(f"# of the control plane\n{TOKEN}\n", encoding="utf-8")
    return path


# The file.


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        pytest.param(f"{TOKEN}\n", [TOKEN], id="one"),
        pytest.param(TOKEN, [TOKEN], id="no-newline"),
        pytest.param(f"{TOKEN}\r\n{OTHER}\r\n", [TOKEN, OTHER], id="two"),
        pytest.param(f"# müsli\n\n  {TOKEN}  # old\n{OTHER} # new\n", [TOKEN, OTHER], id="comments"),
        pytest.param("!" * 32, ["!" * 32], id="shortest"),
        pytest.param("~" * 512, ["~" * 512], id="longest"),
    ],
)
def test_a_file_holds_one_token_a_line(tmp_path: Path, content: str, tokens: list[str]) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content.encode())
    assert list(read_tokens(path)) == tokens
    accepted = read_caller_token_file(str(path)).tokens
    assert all(accepted.accept(token.encode()) for token in tokens)
    assert not accepted.accept(UNKNOWN.encode())


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        pytest.param(b"", "it holds 0", id="empty"),
        pytest.param(b"# nobody\n\n", "it holds 0", id="comments-alone"),
        pytest.param(f"{TOKEN}\n{OTHER}\n{UNKNOWN}\n".encode(), "it holds 3", id="three"),
        pytest.param(b"canary" * 5, "line 1", id="short"),
        pytest.param(b"canary" * 86, "line 1", id="long"),
        pytest.param(f"{TOKEN}\n{TOKEN} {OTHER}\n".encode(), "line 2", id="two-on-a-line"),
        pytest.param(f"{TOKEN}#{OTHER}\n".encode(), "line 1", id="hash-within"),
        pytest.param(f"Bearer {TOKEN}\n".encode(), "line 1", id="scheme"),
        pytest.param(f"{TOKEN}ä\n".encode(), "line 1", id="not-ascii"),
        pytest.param(f"{TOKEN}\x00\n".encode(), "line 1", id="control-character"),
        pytest.param(TOKEN.encode() + b"\n\xff\n", "UTF-8", id="not-utf-8"),
        pytest.param(TOKEN.encode("utf-16"), "UTF-8", id="utf-16"),
    ],
)
def test_a_file_that_does_not_do_is_refused_and_not_repeated(tmp_path: Path, content: bytes, remedy: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=remedy) as raised:
        read_caller_token_file(str(path))
    assert "canary" not in str(raised.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or directory"):
        read_caller_token_file(str(tmp_path / "nowhere"))


def test_no_repr_holds_a_token_or_its_digest(token_file: Path, settings_of: LoadSettings, aws: Aws) -> None:
    settings = settings_of(**aws.service_environment(), **{TOKEN_FILE: str(token_file)})
    assert settings.caller_token_file is not None
    text = repr(settings) + repr(settings.caller_token_file) + str(list(settings.effective()))
    assert TOKEN not in text
    assert repr(settings.caller_token_file.tokens) == "CallerTokens()"
    assert str(token_file) in text


# The comparison.


def test_every_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time reveals neither which token it is, nor its length, nor how many characters are right."""
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n{OTHER}\n")
    tokens = read_caller_token_file(str(path)).tokens
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    verdicts = [tokens.accept(presented) for presented in (TOKEN.encode(), OTHER.encode(), b"", b"x" * 512)]
    assert verdicts == [True, True, False, False]
    assert compared == [(32, 32)] * 8


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        pytest.param([f"Bearer {TOKEN}"], None, id="bearer"),
        pytest.param([f"bearer {TOKEN}"], None, id="scheme-in-lower-case"),
        pytest.param([f"BEARER   {TOKEN}"], None, id="blanks"),
        pytest.param([], "no token", id="none"),
        pytest.param([""], "not one bearer token", id="empty"),
        pytest.param([TOKEN], "not one bearer token", id="no-scheme"),
        pytest.param([f"Basic {TOKEN}"], "not one bearer token", id="basic"),
        pytest.param([f"Bearer{TOKEN}"], "not one bearer token", id="no-blank"),
        pytest.param(["Bearer "], "not one bearer token", id="no-token"),
        pytest.param([f"Bearer\t{TOKEN}"], "not one bearer token", id="tab"),
        pytest.param([f"Bearer {TOKEN}, Bearer {TOKEN}"], "not one bearer token", id="list"),
        pytest.param([f"Bearer {TOKEN} {OTHER}"], "not one bearer token", id="two-tokens"),
        pytest.param([f"Bearer {TOKEN}", f"Bearer {TOKEN}"], "not one bearer token", id="twice"),
        pytest.param([f"Bearer {UNKNOWN}", f"Bearer {TOKEN}"], "not one bearer token", id="good-one-second"),
        pytest.param([f"Bearer {UNKNOWN}"], "unknown token", id="unknown"),
        pytest.param([f"Bearer {TOKEN[:-1]}"], "unknown token", id="cut"),
        pytest.param([f"Bearer {TOKEN}x"], "unknown token", id="longer"),
        pytest.param([f"Bearer {TOKEN.upper()}"], "unknown token", id="upper-case"),
        pytest.param([f"Bearer {'x' * 600}"], "not one bearer token", id="endless"),
    ],
)
def test_one_accepted_token_makes_a_caller_known(token_file: Path, values: list[str], fault: str | None) -> None:
    source = CallerTokenSource(read_caller_token_file(str(token_file)))
    headers = [(b"x-other", TOKEN.encode()), *((b"authorization", text.encode()) for text in values)]
    assert source.find_fault(headers) == fault


# In front of the API.


class Reached:
    """The application behind the guard. It counts the calls that reach it."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.calls += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


async def never() -> NoReturn:
    raise AssertionError("the body is read")


class Guarded:
    """A guard by itself, called over bare ASGI."""

    def __init__(self, token_file: Path) -> None:
        self.now = 100.0
        self.metrics = Metrics()
        self.behind = Reached()
        unknown = UnknownCallers(self.metrics, lambda: self.now)
        tokens = CallerTokenSource(read_caller_token_file(str(token_file)))
        self.guard = CallerGuard(self.behind, tokens, unknown, ["/healthy"])

    async def ask(self, path: str = AUTHENTICATE, **headers: str) -> tuple[int, dict[bytes, bytes]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "client": ("192.0.2.7", 4711),
            "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
        }
        await self.guard(scope, never, send)
        return sent[0]["status"], dict(sent[0]["headers"])

    def turned_away(self) -> float:
        return value(read_samples(self.metrics.expose().decode()), UNKNOWN_CALLERS, check="token")


@pytest.fixture
def guarded(token_file: Path) -> Guarded:
    return Guarded(token_file)


async def test_an_unknown_caller_is_answered_before_the_body_is_read(guarded: Guarded) -> None:
    status, headers = await guarded.ask()
    assert status == EXPLANATIONS[Reason.CALLER_NOT_AUTHENTICATED].status == 401
    assert headers[b"www-authenticate"] == CHALLENGE == b'Bearer realm="kuma-aws-iam"'
    assert (guarded.behind.calls, guarded.turned_away()) == (0, 1)


async def test_a_known_caller_is_let_through(guarded: Guarded) -> None:
    status, _ = await guarded.ask(**bearer(TOKEN))
    assert (status, guarded.behind.calls, guarded.turned_away()) == (204, 1, 0)


@pytest.mark.parametrize(
    "path", ["/healthy/", "//healthy", "/Healthy", "/healthy/../v1/authenticate", "", "/openapi.json"]
)
async def test_a_path_is_open_by_its_exact_spelling_alone(guarded: Guarded, path: str) -> None:
    assert (await guarded.ask("/healthy"))[0] == 204
    assert (await guarded.ask(path))[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no-body"),
        pytest.param({"content_length": "65536"}, id="as-large-as-a-call"),
        pytest.param({"content_length": "65537"}, id="larger"),
        pytest.param({"transfer_encoding": "chunked"}, id="endless"),
        pytest.param(bearer(UNKNOWN), id="unknown-token"),
    ],
)
async def test_an_unknown_caller_has_its_connection_no_longer(guarded: Guarded, headers: dict[str, str]) -> None:
    """It would have a place for another 75 s, and whoever has no token could have all of them."""
    _, answered = await guarded.ask(**headers)
    assert answered[b"connection"] == b"close"


async def test_a_known_caller_keeps_its_connection(guarded: Guarded) -> None:
    _, answered = await guarded.ask(**bearer(TOKEN))
    assert b"connection" not in answered


@pytest.mark.parametrize("beginning", [b"GET /v1/authenticate", b"POST /v1/authenticate"])
async def test_the_server_closes_it_behind_the_answer(guarded: Guarded, beginning: bytes) -> None:
    body = b"" if beginning.startswith(b"GET") else b'{"credential":"x"}'
    async with listening(guarded.guard) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(beginning + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()  # to the end of the connection
        writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'"reason":"caller_not_authenticated"' in answer


async def test_however_many_come_the_log_is_bounded(guarded: Guarded) -> None:
    with capture_logs() as log:
        for _ in range(1000):
            await guarded.ask(**bearer(UNKNOWN))
        guarded.now += LOG_SECONDS
        await guarded.ask()
    assert guarded.turned_away() == 1001
    assert [line["more_since_last_line"] for line in log] == [0, 999]
    assert [line["fault"] for line in log] == ["unknown token", "no token"]
    assert {(line["log_level"], line["event"], line["check"], line["client"]) for line in log} == {
        ("warning", "unknown caller", "token", "192.0.2.7")
    }
    assert UNKNOWN not in str(log)


async def test_the_line_can_be_found_by_the_answers_request_id(guarded: Guarded) -> None:
    with capture_logs() as log:
        _, headers = await guarded.ask(x_request_id="request-1")
    assert headers[b"x-request-id"] == b"request-1"
    assert log[0]["request_id"] == "request-1"


# The whole service.


@pytest.fixture
def known(token_file: Path) -> dict[str, str]:
    """The callers' credentials that a service requires."""
    return {TOKEN_FILE: str(token_file)}


async def test_an_unknown_caller_costs_no_call_to_aws_and_is_no_decision(
    start_service: StartService, known: dict[str, str], aws: Aws
) -> None:
    async with start_service(**known) as service:
        answers = [
            await service.present(aws.credential(), PROXY),
            await service.present(aws.credential(), PROXY, **bearer(UNKNOWN)),
            await service.client.get("/openapi.json"),
            await service.client.get("/nowhere"),
        ]
        samples = await service.metrics()
    for answer in answers:
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, CHALLENGE.decode())
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        problem = Problem.model_validate(answer.json())
        assert problem.reason is Reason.CALLER_NOT_AUTHENTICATED
        assert problem.requestId == answer.headers["x-request-id"]
    assert aws.sts_calls() == []
    assert service.decisions() == []
    assert value(samples, UNKNOWN_CALLERS, check="token") == 4
    assert value(samples, UNKNOWN_CALLERS, check="certificate") == 0
    assert [name for (name, _), count in samples.items() if name == "kuma_aws_iam_decisions_total" and count] == []
    assert value(samples, "kuma_aws_iam_decision_seconds_count", outcome="denied") == 0


async def test_a_known_caller_gets_decisions(start_service: StartService, known: dict[str, str], aws: Aws) -> None:
    async with start_service(**known) as service:
        allowed = await service.present(aws.credential(), PROXY, **bearer(TOKEN))
        denied = await service.present("x", None, **bearer(TOKEN))
        samples = await service.metrics()
    assert (allowed.status_code, denied.status_code) == (200, 401)
    assert denied.json()["reason"] == "credential_malformed"
    assert "www-authenticate" not in denied.headers
    assert value(samples, UNKNOWN_CALLERS, check="token") == 0
    assert len(service.decisions()) == 2


async def test_no_token_is_in_answers_logs_and_metrics(
    start_service: StartService, known: dict[str, str], aws: Aws
) -> None:
    """I22."""
    async with start_service(**known) as service:
        seen = [(await service.present(aws.credential(), None, **bearer(text))).text for text in (TOKEN, UNKNOWN)]
        seen.append((await service.client.get("/metrics")).text)
    text = str(seen) + str(service.log)
    assert TOKEN not in text
    assert UNKNOWN not in text


async def test_without_a_file_no_token_is_asked_for_on_loopback(service: RunningService, aws: Aws) -> None:
    assert (await service.present(aws.credential(), None, **bearer(UNKNOWN))).status_code == 200


Open = Callable[..., Awaitable[list[int]]]


@pytest.fixture
def statuses_of_probes(start_service: StartService, known: dict[str, str], tmp_path: Path) -> Open:
    """The status codes of the probes on the API's listener, without a token and with one."""
    server = Authority(tmp_path / "authority").issue("server")
    tls = {TLS_CERT: str(server.cert), TLS_KEY: str(server.key)}

    async def ask(**variables: str) -> list[int]:
        encrypted = tls if variables[LISTEN] == REACHABLE else {}
        async with start_service(**known, **variables, **encrypted) as service:
            return [
                (await service.client.get(path, headers=headers)).status_code
                for path in PROBES
                for headers in ({}, bearer(TOKEN))
            ]

    return ask


@pytest.mark.parametrize("listen", ["127.0.0.1:5690", "[::1]:5690", "localhost:5690", "unix:/run/api.sock"])
async def test_probes_need_no_token_where_only_this_host_can_ask(statuses_of_probes: Open, listen: str) -> None:
    assert await statuses_of_probes(**{LISTEN: listen}) == [200] * 6


async def test_probes_need_a_token_where_others_can_ask(statuses_of_probes: Open) -> None:
    assert await statuses_of_probes(**{LISTEN: REACHABLE}) == [401, 200] * 3


@pytest.mark.parametrize("listen", ["127.0.0.1:5690", REACHABLE])
async def test_probes_on_their_own_listener_are_not_on_the_apis(statuses_of_probes: Open, listen: str) -> None:
    assert await statuses_of_probes(**{LISTEN: listen, DIAGNOSTICS: "0.0.0.0:5691"}) == [401, 404] * 3


async def test_the_diagnostics_listener_needs_no_token_and_shows_nothing_else(
    start_service: StartService, known: dict[str, str], aws: Aws
) -> None:
    async with start_service(**known, **{DIAGNOSTICS: "0.0.0.0:5691"}) as service:
        assert service.service.diagnostics is not None
        transport = httpx.ASGITransport(app=service.service.diagnostics)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert [(await client.get(path)).status_code for path in PROBES] == [200] * 3
            answer = await client.post(AUTHENTICATE, json={"credential": aws.credential()}, headers=bearer(TOKEN))
            paths = (await client.get("/openapi.json")).json()["paths"]
    assert answer.status_code == 404
    assert set(paths) == set(PROBES)
    assert aws.sts_calls() == []


async def test_the_description_tells_of_the_token_where_one_is_needed(
    start_service: StartService, known: dict[str, str], service: RunningService
) -> None:
    without = (await service.client.get("/openapi.json")).json()
    async with start_service(**known) as other:
        described = (await other.client.get("/openapi.json", headers=bearer(TOKEN))).json()
    [name] = described["components"]["securitySchemes"]
    assert described["components"]["securitySchemes"][name]["scheme"] == "bearer"
    assert described["paths"][AUTHENTICATE]["post"]["security"] == [{name: []}]
    assert "securitySchemes" not in without["components"]
    assert "security" not in without["paths"][AUTHENTICATE]["post"]


# Rotation.


Exchange = Callable[[RunningService, str], None]


@pytest.fixture
def exchange(token_file: Path) -> Exchange:
    """Rewrite the file, and let the service read it."""

    def write(service: RunningService, content: str) -> None:
        token_file.write_text(content)
        for watch in service.service.watches:
            watch.check()

    return write


async def test_tokens_are_exchanged_without_a_restart_and_without_a_lost_connection(
    start_service: StartService, known: dict[str, str], aws: Aws, exchange: Exchange
) -> None:
    """The steps of the how-to: add the new token, move the callers, remove the old token."""
    async with start_service(**known) as service, listening(service.service.api) as (host, port):
        connections: dict[str, set[object]] = {TOKEN: set(), OTHER: set()}
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                token: await stack.enter_async_context(
                    httpx.AsyncClient(
                        base_url=f"http://{host}:{port}", trust_env=False, headers=bearer(token), timeout=PATIENCE
                    )
                )
                for token in connections
            }

            async def statuses() -> list[int]:
                found = []
                for token, client in clients.items():
                    answer = await client.post(AUTHENTICATE, json={"credential": aws.credential()})
                    if answer.status_code == 200:
                        connections[token].add(answer.extensions["network_stream"].get_extra_info("client_addr"))
                    found.append(answer.status_code)
                return found

            assert await statuses() == [200, 401]
            exchange(service, f"{TOKEN}\n{OTHER}\n")
            assert await statuses() == [200, 200]
            exchange(service, f"{OTHER}\n")
            assert await statuses() == [401, 200]
        assert {token: len(seen) for token, seen in connections.items()} == {TOKEN: 1, OTHER: 1}


async def test_a_bad_file_keeps_the_tokens_of_before_loudly(
    start_service: StartService, known: dict[str, str], aws: Aws, exchange: Exchange
) -> None:
    async with start_service(**known) as service:
        for content in ("", f"{TOKEN}\n{OTHER}\n{UNKNOWN}\n", "canary-short"):
            exchange(service, content)
            assert (await service.present(aws.credential(), None, **bearer(TOKEN))).status_code == 200
            assert (await service.present(aws.credential(), None, **bearer(UNKNOWN))).status_code == 401
        samples = await service.metrics()
        assert value(samples, "kuma_aws_iam_reload_failures_total", what="caller_token") >= 3
        assert len(service.events("not reloaded")) >= 3
        assert "canary" not in str(service.events("not reloaded"))
        exchange(service, "")
        assert (await service.present(aws.credential())).status_code == 401  # the check stays on


async def test_the_settings_of_a_running_service_keep_no_token(
    aws: Aws, settings_of: LoadSettings, known: dict[str, str]
) -> None:
    settings = settings_of(**aws.service_environment(), **known)
    async with running_service(aws, settings):
        dumped = json.dumps(settings.model_dump(mode="python"), default=repr)
    assert TOKEN not in dumped
