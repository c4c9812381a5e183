"""``POST /v1/authenticate`` as its caller sees it."""

import asyncio
import json
import re
import time
from typing import Any, NoReturn

import httpx
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from app.api import authenticate as module
from app.api import call_bounds
from app.api.application import build_api
from app.api.authenticate import MAX_BODY_BYTES, AuthenticateEndpoint
from app.api.known_calls import KnownCalls
from app.api.schemas import AuthenticateAnswer, Problem
from app.decision.authenticator import Authenticator, Decision
from app.emulator import FaultKind
from app.local.clock import utc_now
from app.sts.known_credentials import KnownCredentials
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from tests.api.conftest import Client
from tests.support.exposition import read_samples, value
from tests.support.patience import PATIENCE
from tests.support.service import AUTHENTICATE, RunningService, listening
from tests.support.world import PROXY, Aws

JSON = {"content-type": "application/json"}
HEAD = f"POST {AUTHENTICATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MADE = re.compile(r"[0-9a-f]{32}")


async def post(client: Client, body: bytes | str, **headers: str) -> httpx.Response:
    return await client.post(AUTHENTICATE, content=body, headers=JSON | headers)


def call(credential: object = "x", **members: object) -> str:
    return json.dumps({"credential": credential, **members})


def reason_of(response: httpx.Response) -> str:
    return Problem.model_validate(response.json()).reason.value


# Answers and their headers.


async def test_an_approval_has_its_documented_shape(live: Client, aws: Aws) -> None:
    response = await post(live, call(aws.credential(), proxy=PROXY))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["identity", "principal", "expiresAt"]
    assert list(answer["identity"]) == ["type", "mesh", "service", "workload", "zone", "labels"]
    assert list(answer["principal"]) == ["partition", "account", "role", "roleId", "session", "arn"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["expiresAt"])
    assert AuthenticateAnswer.model_validate(answer).model_dump(mode="json") == answer


async def test_every_answer_is_for_this_moment_alone(live: Client, aws: Aws) -> None:
    allowed = await post(live, call(aws.credential()))
    denied = await post(live, call())
    malformed = await post(live, "")
    for response in (allowed, denied, malformed):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert int(response.headers["content-length"]) == len(response.content)
        assert "server" not in response.headers
        assert "www-authenticate" not in response.headers  # that is for an unknown caller
    assert [response.status_code for response in (allowed, denied, malformed)] == [200, 401, 400]


@pytest.mark.parametrize("request_id", ["request-1", "A" * 128, "6f1c2a4b.e0d9_4f0f"])
async def test_a_request_id_is_echoed(either: Client, request_id: str) -> None:
    response = await post(either, call(), **{"x-request-id": request_id})
    assert response.headers["x-request-id"] == response.json()["requestId"] == request_id


@pytest.mark.parametrize(
    "request_id", ["", "A" * 129, "two words", 'x","reason":"allowed', "<script>", "ä".encode().decode("latin-1")]
)
async def test_a_request_id_that_is_no_plain_token_is_replaced(client: Client, request_id: str) -> None:
    headers = httpx.Headers({**JSON, "x-request-id": request_id}, encoding="latin-1")
    response = await client.post(AUTHENTICATE, content=call(), headers=headers)
    assert response.headers["x-request-id"] == response.json()["requestId"]
    assert MADE.fullmatch(response.json()["requestId"])


async def test_each_call_has_an_id_of_its_own(client: Client) -> None:
    ids = {(await post(client, call())).json()["requestId"] for _ in range(5)}
    assert len(ids) == 5


async def test_undecided_says_when_to_come_again(live: Client, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.THROTTLE)
    response = await post(live, call(aws.credential()))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert reason_of(response) == "sts_throttled"


async def test_a_denial_does_not_ask_to_come_again(client: Client) -> None:
    assert "retry-after" not in (await post(client, call())).headers


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_not_allowed(either: Client, method: str) -> None:
    response = await either.request(method, AUTHENTICATE)
    assert (response.status_code, reason_of(response)) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_a_head_request_is_not_allowed_and_has_no_body(either: Client) -> None:
    response = await either.head(AUTHENTICATE)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


# What a call may contain.


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="absent"),
        pytest.param({"proxy": None}, id="null"),
        pytest.param(
            {"proxy": {"type": "dataplane", "mesh": "default", "tags": {"kuma.io/service": ["demo-app"]}}}, id="least"
        ),
        pytest.param(
            {"proxy": {**PROXY, "zone": None, "labels": None, "name": None}},
            id="optional-members-null",
        ),
        pytest.param(
            {"proxy": {**PROXY, "labels": {"kuma.io/service": "demo-app", "team": ""}, "zone": "zone-1"}},
            id="every-member",
        ),
    ],
)
async def test_the_claim_may_be_partly_or_wholly_absent(client: Client, members: dict[str, Any]) -> None:
    """The call is valid. Only its credential is denied."""
    assert reason_of(await post(client, call(**members))) == "credential_malformed"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
async def test_the_media_type_is_json_in_any_spelling(client: Client, content_type: str) -> None:
    response = await client.post(AUTHENTICATE, content=call(), headers={"content-type": content_type})
    assert reason_of(response) == "credential_malformed"  # so it was read


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"content-type": "text/plain"}, id="text"),
        pytest.param({"content-type": "application/x-www-form-urlencoded"}, id="form"),
        pytest.param({"content-type": "application/json; charset=latin-1"}, id="another-charset"),
        pytest.param({"content-type": "application/jsonp"}, id="longer"),
        pytest.param({"content-type": "text/plain; application/json"}, id="hidden"),
        pytest.param({**JSON, "content-encoding": "gzip"}, id="gzip"),
        pytest.param({**JSON, "content-encoding": "identity"}, id="even-identity"),
    ],
)
async def test_another_media_type_or_a_coding_is_refused(client: Client, headers: dict[str, str]) -> None:
    """A small body must not decompress into a large one (I20, CVE-2025-59043)."""
    response = await client.post(AUTHENTICATE, content=call().encode(), headers=headers)
    assert (response.status_code, reason_of(response)) == (415, "unsupported_media_type")


async def test_a_body_of_64_kib_is_read(either: Client) -> None:
    body = call("x").ljust(MAX_BODY_BYTES)
    assert MAX_BODY_BYTES == 64 * 1024
    assert reason_of(await post(either, body)) == "credential_malformed"


@pytest.mark.parametrize("chunked", ["whole", "in-chunks"])
async def test_a_longer_body_is_refused(either: Client, chunked: str) -> None:
    body = call("x").ljust(MAX_BODY_BYTES + 1).encode()

    async def pieces() -> Any:
        for at in range(0, len(body), 1024):
            yield body[at : at + 1024]

    content = body if chunked == "whole" else pieces()
    response = await either.post(AUTHENTICATE, content=content, headers=JSON)
    assert (response.status_code, reason_of(response)) == (413, "request_too_large")


async def test_a_body_may_come_in_chunks(live: Client, aws: Aws) -> None:
    body = call(aws.credential(), proxy=PROXY).encode()

    async def pieces() -> Any:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    response = await live.post(AUTHENTICATE, content=pieces(), headers=JSON)
    assert response.status_code == 200


AMBIGUOUS = {
    "not-json": b"credential=x",
    "empty": b"",
    "not-utf-8": b'{"credential":"\xff"}',
    "utf-16": call().encode("utf-16"),
    "byte-order-mark": b"\xef\xbb\xbf" + call().encode(),
    "trailing-text": b'{"credential":"x"} {}',
    "array": b'["x"]',
    "string": b'"x"',
    "null": b"null",
    "nan": b'{"credential":NaN}',
    "infinity": b'{"credential":"x","proxy":-Infinity}',
    "duplicate": b'{"credential":"x","credential":"y"}',
    "duplicate-by-escape": b'{"credential":"x","cr\\u0065dential":"y"}',
    "duplicate-within": b'{"credential":"x","proxy":{"type":"ingress","type":"egress"}}',
    "duplicate-tag": b'{"credential":"x","proxy":{"type":"ingress","tags":{"a":["1"],"a":["2"]}}}',
    "deep": b"[" * 60_000,
    "deep-objects": b'{"a":' * 10_000,
    "huge-number": b'{"credential":' + b"1" * 60_000 + b"}",
    "lone-surrogate": b'{"credential":"x","proxy":{"type":"ingress","name":"\\ud800"}}',
}


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_an_ambiguous_body_is_malformed(client: Client, body: bytes) -> None:
    """I26."""
    response = await post(client, body)
    assert (response.status_code, reason_of(response)) == (400, "malformed_request")


FIELDS = [
    ("credential", {}),
    ("credential", {"credential": None}),
    ("credential", {"credential": 1}),
    ("credential", {"credential": ["canary"]}),
    ("an unknown member", {"credential": "x", "canary": 1}),
    ("proxy", {"credential": "x", "proxy": "canary"}),
    ("proxy", {"credential": "x", "proxy": []}),
    ("proxy.type", {"credential": "x", "proxy": {}}),
    ("proxy.type", {"credential": "x", "proxy": {"type": "canary"}}),
    ("proxy.type", {"credential": "x", "proxy": {"type": "Dataplane", "mesh": "default"}}),
    ("proxy.mesh", {"credential": "x", "proxy": {"type": "dataplane"}}),
    ("proxy.mesh", {"credential": "x", "proxy": {"type": "dataplane", "mesh": None}}),
    ("proxy.mesh", {"credential": "x", "proxy": {"type": "dataplane", "mesh": ""}}),
    ("proxy.mesh", {"credential": "x", "proxy": {"type": "dataplane", "mesh": "canary" * 50}}),
    ("proxy.name", {"credential": "x", "proxy": {"type": "ingress", "name": 1}}),
    ("proxy.zone", {"credential": "x", "proxy": {"type": "ingress", "zone": {"canary": 1}}}),
    ("proxy.tags", {"credential": "x", "proxy": {"type": "ingress", "tags": {"canary": "canary"}}}),
    ("proxy.tags", {"credential": "x", "proxy": {"type": "ingress", "tags": {"canary": [1]}}}),
    ("proxy.tags", {"credential": "x", "proxy": {"type": "ingress", "tags": {"canary" * 100: []}}}),
    ("proxy.labels", {"credential": "x", "proxy": {"type": "ingress", "labels": {"canary": ["canary"]}}}),
    ("proxy.labels", {"credential": "x", "proxy": {"type": "ingress", "labels": ["canary"]}}),
    ("proxy.an unknown member", {"credential": "x", "proxy": {"type": "ingress", "canary": "canary"}}),
]


@pytest.mark.parametrize(("field", "members"), FIELDS)
async def test_a_malformed_call_names_the_field_and_echoes_nothing(
    client: Client, field: str, members: dict[str, Any]
) -> None:
    """I24: an answer contains no value of the call, not even a member's name that the caller chose."""
    with capture_logs() as log:
        response = await post(client, json.dumps(members))
    assert (response.status_code, reason_of(response)) == (400, "malformed_request")
    assert response.json()["detail"].startswith(f"At fault: {field}. ")
    assert "canary" not in response.text + repr(log)


async def test_a_credential_that_is_no_ascii_is_the_credentials_fault(client: Client) -> None:
    response = await post(client, json.dumps({"credential": "\ud800ä"}))
    assert (response.status_code, reason_of(response)) == (401, "credential_malformed")


# Time and connections.


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_bounds, "BODY_TIMEOUT_SECONDS", 0.05)


@pytest.mark.usefixtures("_short_patience")
async def test_a_body_that_does_not_come_is_not_waited_for(service: RunningService) -> None:
    head = f"{HEAD}Content-Length: 20\r\n\r\n"
    async with listening(service.service.api) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head.encode() + b'{"cred')
        answer = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b'"reason":"malformed_request"' in answer
        writer.close()
        await writer.wait_closed()
    [line] = service.decisions()
    assert line["reason"] == "malformed_request"


async def test_the_time_of_a_body_begins_with_the_call(
    monkeypatch: pytest.MonkeyPatch, service: RunningService
) -> None:
    """The deadline is the same for a caller that sends nothing of the body and for one that sends half of it."""
    passed, monotonic = 0.0, time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)
    wakings: list[Message] = []

    async def receive() -> Message:
        nonlocal passed
        passed += call_bounds.BODY_TIMEOUT_SECONDS
        wakings.append({"type": "http.request", "body": b"", "more_body": True})
        return wakings[-1]

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": AUTHENTICATE,
        "headers": [(b"content-type", b"application/json")],
    }
    await service.service.api(scope, receive, send)
    assert sent[0]["status"] == 400
    assert len(wakings) == 1


@pytest.mark.usefixtures("_short_patience")
async def test_a_body_that_drips_is_not_waited_for_either(service: RunningService) -> None:
    """Each byte wakes the reader, but the deadline applies to the whole body."""
    head = f"{HEAD}Content-Length: 60000\r\n\r\n"
    async with listening(service.service.api) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head.encode())

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0)

        dripping = asyncio.create_task(drip())
        answer = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        dripping.cancel()
        assert answer.startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_body_in_two_pieces_is_one(service: RunningService, aws: Aws) -> None:
    body = json.dumps({"credential": aws.credential()}).encode()
    async with listening(service.service.api) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body[:100])
        await writer.drain()
        writer.write(body[100:])
        answer = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_caller_that_leaves_is_counted_and_harms_nobody(service: RunningService, aws: Aws) -> None:
    head = f"{HEAD}Content-Length: 20\r\n\r\n"
    async with listening(service.service.api) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(head.encode() + b'{"cred')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await service.present(aws.credential())).status_code == 200
    assert value(await service.metrics(), "kuma_aws_iam_in_flight_decisions") == 0


async def test_a_caller_may_send_byte_by_byte_over_a_kept_connection(service: RunningService, aws: Aws) -> None:
    body = call(aws.credential()).encode()
    head = f"{HEAD}Content-Length: {len(body)}\r\n\r\n"
    async with listening(service.service.api) as address:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(2):
            for byte in head.encode() + body:
                writer.write(bytes([byte]))
                await writer.drain()
            answer = await asyncio.wait_for(reader.readuntil(b'Z"}'), PATIENCE)
            assert answer.startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


# How many at once.


async def begin_a_call(address: tuple[str, int], length: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the head of a call. Return when the service asks for the body."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{HEAD}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return reader, writer


@pytest.fixture
def _room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DECISIONS", 1)


@pytest.mark.usefixtures("_room_for_one")
async def test_callers_that_send_no_body_take_nobodys_place(service: RunningService, aws: Aws) -> None:
    """I20."""
    async with listening(service.service.api) as address:
        waiting = [await begin_a_call(address, 20) for _ in range(3)]
        assert (await service.present(aws.credential())).status_code == 200
        for _, writer in waiting:
            writer.close()
            await writer.wait_closed()


@pytest.mark.usefixtures("_room_for_one")
async def test_beyond_the_bound_of_decisions_a_call_is_overload(service: RunningService, aws: Aws) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    under_way = asyncio.create_task(service.present(aws.credential()))
    await asyncio.to_thread(aws.emulator.calls.wait_for, 1)
    refused = await service.present(aws.credential())
    aws.emulator.faults.clear()
    assert (refused.status_code, reason_of(refused)) == (503, "overloaded")
    assert refused.headers["connection"] == "close"
    assert (await under_way).status_code == 200
    assert (await service.present(aws.credential())).status_code == 200


async def test_a_service_that_stops_refuses_before_the_body(service: RunningService) -> None:
    service.service.readiness.draining = True
    async with listening(service.service.api) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"{HEAD}Content-Length: 20\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"reason":"overloaded"' in answer


async def test_a_call_that_had_begun_is_waited_for_and_decided(service: RunningService, aws: Aws) -> None:
    body = call(aws.credential()).encode()
    async with listening(service.service.api) as address:
        reader, writer = await begin_a_call(address, len(body))
        service.service.readiness.draining = True
        idle = asyncio.ensure_future(service.service.wait_until_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        writer.write(body)
        answer = await asyncio.wait_for(reader.readuntil(b'Z"}'), PATIENCE)
        await asyncio.wait_for(idle, PATIENCE)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")


# Both ways to the same answer: the hot path and FastAPI.


@pytest.fixture
def bodies(aws: Aws) -> list[bytes]:
    credential = aws.credential()
    return [
        call(credential, proxy=PROXY).encode(),
        call(credential).encode(),
        call(credential, proxy={**PROXY, "mesh": "payments"}).encode(),
        call().encode(),
        b"",
        b"{}",
        b" " * (MAX_BODY_BYTES + 1),
    ]


async def test_fastapis_own_route_gives_the_same_answers_as_the_hot_path(
    service: RunningService, bodies: list[bytes]
) -> None:
    inner = service.service.api._app  # type: ignore[attr-defined]
    headers = {**JSON, "x-request-id": "request-1"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=inner), base_url="http://service") as slow:
        for body in bodies:
            hot = await service.client.post(AUTHENTICATE, content=body, headers=headers)
            described = await slow.post(AUTHENTICATE, content=body, headers=headers)
            assert (hot.status_code, hot.headers, hot.content) == (
                described.status_code,
                described.headers,
                described.content,
            )


# A bug of ours.


class Buggy:
    """An authenticator with a bug, whose message contains the credential."""

    async def authenticate(self, credential: str, *_: object) -> NoReturn:
        raise KeyError(f"canary {credential}")


async def test_a_bug_of_ours_is_a_bare_500() -> None:
    """I21, I22: a bug neither denies nor admits a proxy, and its answer tells nothing. The log has its place in the code."""
    metrics = Metrics()
    calls = KnownCalls(KnownCredentials(utc_now))
    endpoint = AuthenticateEndpoint(Buggy(), calls, metrics, Readiness(), 10.0)  # type: ignore[arg-type]
    api = build_api(endpoint, metrics, Readiness(), with_probes=True)
    with capture_logs() as log:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://service") as client:
            response = await post(client, call("canary"), **{"x-request-id": "request-1"})
    assert (response.status_code, reason_of(response)) == (500, "internal_error")
    assert response.json()["requestId"] == "request-1"
    assert "KeyError" not in response.text
    [line] = log
    assert (line["reason"], line["outcome"], line["request_id"]) == ("internal_error", "error", "request-1")
    assert "KeyError at authenticate" in line["detail"]
    assert "canary" not in repr(log) + response.text
    samples = read_samples(metrics.expose().decode())
    labels = {"outcome": "error", "reason": "internal_error", "proxy_type": "none", "form": "none"}
    assert value(samples, "kuma_aws_iam_decisions_total", **labels) == 1
    assert value(samples, "kuma_aws_iam_in_flight_decisions") == 0


def test_the_endpoint_takes_the_real_authenticator() -> None:
    """So the interface of `Buggy` above is that of the real authenticator."""
    assert hasattr(Authenticator, "authenticate")
    assert Decision.__slots__
