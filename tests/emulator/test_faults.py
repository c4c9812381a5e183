"""Every fault appears on the wire, as often and for the callers that the test names."""

import asyncio
import gzip
import http.client
import socket
import time
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from app.emulator import Emulator, FaultKind, SessionCredentials, lies
from app.emulator.asgi import EmulatorApp
from app.emulator.fault_kinds import LIES
from app.emulator.faults import ServiceFaults
from tests.emulator.conftest import ACCOUNT, OTHER_ACCOUNT, MovableClock
from tests.emulator.signing import Message, Response, presign, sign
from tests.support.patience import PATIENCE

JSON = ("Accept", "application/json")
Event = MutableMapping[str, Any]
Shows = Callable[[Response], bool]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.THROTTLE, 400, "Throttling"),
        (FaultKind.INTERNAL_FAILURE, 500, "InternalFailure"),
        (FaultKind.SERVICE_UNAVAILABLE, 503, "ServiceUnavailable"),
        (FaultKind.ACCESS_DENIED, 403, "AccessDenied"),
        (FaultKind.UNKNOWN_CODE, 400, "UnheardOf"),
    ],
)
@pytest.mark.parametrize("headers", [(), (JSON,)], ids=["xml", "json"])
def test_error_is_answered_in_the_format_asked_for(
    emulator: Emulator,
    credentials: SessionCredentials,
    kind: FaultKind,
    status: int,
    code: str,
    headers: tuple[tuple[str, str], ...],
) -> None:
    emulator.faults.sts.inject(kind)

    answer = presign(credentials).with_headers(*headers).send(emulator.url)

    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["content-type"] == ("application/json" if headers else "text/xml")
    assert emulator.calls[0].outcome == kind


def test_throttling_is_answered_as_aws_does(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.THROTTLE)

    answer = presign(credentials).with_headers(JSON).send(emulator.url)

    assert answer.json["Error"] == {"Code": "Throttling", "Message": "Rate exceeded", "Type": "Sender"}


def test_redirect_leads_to_a_page(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.REDIRECT)

    answer = presign(credentials).send(emulator.url)

    assert (answer.status, answer.body) == (302, b"")
    assert answer.headers["location"] == "https://aws.amazon.com/iam"


def _result(answer: Response) -> dict[str, str]:
    if answer.headers["content-type"] == "application/json":
        result: dict[str, str] = answer.json["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
        return result
    return {name: answer.element(name) or "" for name in ("Arn", "UserId", "Account")}


LIE_SHOWS: dict[FaultKind, Shows] = {
    FaultKind.WRONG_CONTENT_TYPE: lambda a: a.headers["content-type"] == "text/html" and b"demo-app" in a.body,
    FaultKind.OVERSIZE_BODY: lambda a: len(a.body) > lies.PADDING_BYTES and b"demo-app" in a.body,
    FaultKind.TRUNCATED: lambda a: not a.body.strip().endswith((b"Response>", b"}}}")),
    FaultKind.DTD: lambda a: a.body.startswith(b"<!DOCTYPE") and b"<Account>&account;</Account>" in a.body,
    FaultKind.TWO_DOCUMENTS: lambda a: a.body.count(b"demo-app/") == 1 and a.body.count(b"administrator/") == 1,
    FaultKind.FORGED_ACTION: lambda a: b"GetAccessKeyInfoResponse" in a.body[:60] and b"administrator/" in a.body,
    FaultKind.ACCOUNT_MISMATCH: lambda a: _result(a)["Account"] not in _result(a)["Arn"],
    FaultKind.SESSION_MISMATCH: lambda a: _result(a)["UserId"].split(":")[1] not in _result(a)["Arn"],
    FaultKind.OTHER_PARTITION: lambda a: _result(a)["Arn"].startswith("arn:aws-cn:sts::"),
    FaultKind.DUPLICATE_ACCOUNT: lambda a: a.body.count(b"Account>") == 4 or a.body.count(b'"Account":') == 2,
    FaultKind.GZIP_BOMB: lambda a: a.headers.get("content-encoding") == "gzip" and len(a.body) < 128 * 1024,
}


def test_every_lie_is_tried() -> None:
    assert LIE_SHOWS.keys() == LIES


@pytest.mark.parametrize("kind", LIE_SHOWS)
@pytest.mark.parametrize("headers", [(), (JSON,)], ids=["xml", "json"])
def test_lie_comes_with_status_200(
    emulator: Emulator, credentials: SessionCredentials, kind: FaultKind, headers: tuple[tuple[str, str], ...]
) -> None:
    truth = presign(credentials).with_headers(*headers).send(emulator.url)
    emulator.faults.sts.inject(kind)

    answer = presign(credentials).with_headers(*headers).send(emulator.url)

    assert answer.status == 200
    assert LIE_SHOWS[kind](answer)
    assert not LIE_SHOWS[kind](truth)
    assert emulator.calls[1].outcome == kind


def test_bomb_unpacks_to_64_mebibytes(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.GZIP_BOMB)

    assert len(gzip.decompress(presign(credentials).send(emulator.url).body)) == lies.BOMB_BYTES


def test_duplicate_account_in_json_ends_with_the_true_one(emulator: Emulator, credentials: SessionCredentials) -> None:
    """A lenient reader would not notice."""
    emulator.faults.sts.inject(FaultKind.DUPLICATE_ACCOUNT)

    answer = presign(credentials).with_headers(JSON).send(emulator.url)

    result = orjson.loads(answer.body)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    assert result["Account"] == ACCOUNT


def test_lie_waits_for_a_success_to_replace(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.ACCOUNT_MISMATCH, times=1)

    refused = presign(credentials).changed("Expires=60", "Expires=61").send(emulator.url)
    replaced = presign(credentials).send(emulator.url)

    assert refused.code == "SignatureDoesNotMatch"
    assert replaced.element("Account") == lies.OTHER_ACCOUNT


def test_lies_are_about_get_caller_identity_alone(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.TRUNCATED)
    arn = f"arn:aws:iam::{ACCOUNT}:role/kuma-aws-iam"

    answer = sign(credentials, body=f"Action=AssumeRole&Version=2011-06-15&RoleArn={arn}&RoleSessionName=x1")

    assert b"</AssumeRoleResponse>" in answer.send(emulator.url).body


def test_fault_ends_after_its_times_and_the_next_one_acts(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.THROTTLE, times=2)
    emulator.faults.sts.inject(FaultKind.INTERNAL_FAILURE, times=1)

    codes = [presign(credentials).send(emulator.url).code for _ in range(4)]

    assert codes == ["Throttling", "Throttling", "InternalFailure", None]


def test_fault_without_times_acts_until_cleared(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.THROTTLE)

    before = {presign(credentials).send(emulator.url).code for _ in range(5)}
    emulator.faults.clear()

    assert before == {"Throttling"}
    assert presign(credentials).send(emulator.url).status == 200


def test_fault_may_be_one_accounts_or_one_actions(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.THROTTLE, account=OTHER_ACCOUNT)
    emulator.faults.sts.inject(FaultKind.INTERNAL_FAILURE, action="AssumeRole")
    other = emulator.issue(OTHER_ACCOUNT, "reader", "task-1")

    assert presign(credentials).send(emulator.url).status == 200
    assert presign(other).send(emulator.url).code == "Throttling"
    assert sign(credentials, body="Action=AssumeRole&Version=2011-06-15").send(emulator.url).status == 500


def test_faults_of_iam_leave_sts_alone(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.iam.inject(FaultKind.THROTTLE)
    body = "Action=GetRole&Version=2010-05-08&RoleName=demo-app"

    iam = sign(credentials, host="iam.amazonaws.com", service="iam", region="us-east-1", body=body)

    assert iam.send(emulator.url).code == "Throttling"
    assert presign(credentials).send(emulator.url).status == 200


def test_times_must_be_positive() -> None:
    with pytest.raises(ValueError, match="times"):
        ServiceFaults().inject(FaultKind.HANG, times=0)


def test_rate_limits_each_account_and_region_by_itself(
    emulator: Emulator, credentials: SessionCredentials, clock: MovableClock
) -> None:
    emulator.faults.sts.rate = 2
    other = emulator.issue(OTHER_ACCOUNT, "reader", "task-1")
    message = presign(credentials)
    clock.fixed = message.date

    first = [message.send(emulator.url).code for _ in range(3)]
    elsewhere = presign(credentials, host="sts.us-east-1.amazonaws.com", region="us-east-1").send(emulator.url).code
    another = presign(other).send(emulator.url).code
    clock.advance(timedelta(seconds=0.5))
    later = [message.send(emulator.url).code for _ in range(2)]

    assert first == [None, None, "Throttling"]
    assert (elsewhere, another) == (None, None)
    assert later == [None, "Throttling"]


def test_hanging_call_has_its_answer_once_released(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.HANG, times=1)
    message = presign(credentials)

    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(message.send, emulator.url)
        emulator.calls.wait_for(1)
        meanwhile = message.send(emulator.url)
        was_answered = hanging.done()
        still_hanging = emulator.faults.sts.hanging()
        emulator.faults.sts.release()
        released = hanging.result()

    assert not was_answered
    assert (still_hanging, emulator.faults.sts.hanging()) == (1, 0)
    assert meanwhile.status == released.status == 200


def test_a_call_whose_client_left_hangs_no_longer(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.HANG)

    message, server = presign(credentials), urlsplit(emulator.url)
    headers = "".join(f"{name}: {value}\r\n" for name, value in (("Host", message.host), *message.headers))
    with socket.create_connection((server.hostname, server.port)) as client:
        client.sendall(f"{message.method} {message.target} HTTP/1.1\r\n{headers}\r\n".encode())
        emulator.calls.wait_for(1)
        assert emulator.faults.sts.hanging() == 1

    deadline = time.monotonic() + PATIENCE
    while emulator.faults.sts.hanging() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert emulator.faults.sts.hanging() == 0


def test_clearing_lets_hanging_calls_go(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.HANG)

    with ThreadPoolExecutor() as pool:
        hanging = [pool.submit(presign(credentials).send, emulator.url) for _ in range(3)]
        emulator.calls.wait_for(3)
        emulator.faults.clear()

    assert [each.result().status for each in hanging] == [200, 200, 200]


def test_dripping_answer_is_whole_in_the_end(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.drip_interval = 0
    emulator.faults.sts.inject(FaultKind.SLOW_DRIP)

    assert presign(credentials).send(emulator.url).element("Account") == ACCOUNT


async def test_dripping_answer_goes_out_byte_by_byte(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.drip_interval = 0
    emulator.faults.sts.inject(FaultKind.SLOW_DRIP)

    parts = await _drive(emulator.app, presign(credentials))

    assert {len(part) for part in parts[:-1]} == {1}
    assert b"".join(parts).endswith(b"</GetCallerIdentityResponse>\n")


async def _drive(app: EmulatorApp, message: Message) -> list[bytes]:
    """Call the application without a server, and return the parts of the body."""
    parts: list[bytes] = []

    async def receive() -> Event:
        return await asyncio.Future()  # the client neither sends more nor leaves

    async def send(event: Event) -> None:
        if event["type"] == "http.response.body":
            parts.append(event.get("body", b""))

    path, _, query = message.target.partition("?")
    headers = [(b"host", message.host.encode())]
    scope = {"type": "http", "method": message.method, "raw_path": path.encode(), "query_string": query.encode()}
    await app(scope | {"headers": headers}, receive, send)
    return parts


def test_answer_may_be_cut_off_in_the_middle(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.CUT_OFF)

    with pytest.raises(http.client.IncompleteRead) as error:
        presign(credentials).send(emulator.url)

    assert error.value.partial.startswith(b"<GetCallerIdentityResponse")


def test_connection_may_be_reset_before_the_answer(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.inject(FaultKind.RESET, times=1)
    with _connect(emulator, presign(credentials)) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)

    assert presign(credentials).send(emulator.url).status == 200


@pytest.mark.parametrize("spoil", ["hang", "latency", "slow_drip"])
def test_emulator_stops_at_once_whatever_is_under_way(spoil: str) -> None:
    with Emulator() as emulator:
        faults = emulator.faults.sts
        faults.latency = 3600 if spoil == "latency" else 0
        faults.drip_interval = 3600
        if spoil != "latency":
            faults.inject(FaultKind(spoil))
        left = _connect(emulator, presign(emulator.issue(ACCOUNT, "demo-app")))
        stayed = _connect(emulator, presign(emulator.issue(ACCOUNT, "demo-app")))
        emulator.calls.wait_for(2)
        left.close()

    stayed.close()


def test_latency_delays_and_changes_nothing_else(emulator: Emulator, credentials: SessionCredentials) -> None:
    emulator.faults.sts.latency = 0.001

    assert presign(credentials).send(emulator.url).status == 200
    assert emulator.calls[0].outcome == "ok"


def _connect(emulator: Emulator, message: Message) -> socket.socket:
    """Send a request and do not read the answer."""
    server = urlsplit(emulator.url)
    connection = socket.create_connection((server.hostname or "", server.port or 0), timeout=PATIENCE)
    connection.sendall(f"GET {message.target} HTTP/1.1\r\nHost: {message.host}\r\n\r\n".encode())
    return connection
