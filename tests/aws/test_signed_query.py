"""Calls that the service signs itself, compared byte for byte with botocore's signatures."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from app import __version__
from app.aws.own_endpoints import ServiceName, find_own_endpoint
from app.aws.signed_query import Query, RefusedError, SignedQueries
from app.http.network import NetworkOptions, open_pool
from app.local.clock import Clock, utc_now
from tests.support.wire import Arrived, Recorder, answering, recording_server

SESSION = ReadOnlyCredentials("ASIAEXAMPLEEXAMPLE01", "secret-of-a-session", "token/of+a=session==")
USER = ReadOnlyCredentials("AKIAEXAMPLEEXAMPLE01", "secret-of-a-user", None)
GET_ROLE = Query(action="GetRole", parameters={"RoleName": "demo-app"})
ASSUME = Query(
    action="AssumeRole",
    parameters={"RoleArn": "arn:aws:iam::444455556666:role/a/b", "ExternalId": "a b+c&d=%/ü"},
)


@pytest.fixture
async def aws() -> AsyncIterator[Recorder]:
    async with recording_server(answering("200 OK", {}, b"answer")) as recorder:
        yield recorder


async def ask(
    url: str,
    query: Query,
    credentials: ReadOnlyCredentials,
    service: ServiceName = "iam",
    region: str = "us-east-1",
    clock: Clock = utc_now,
) -> bytes:
    network = NetworkOptions()
    pool = open_pool(network)
    try:
        queries = SignedQueries(find_own_endpoint(service, region, url=url), pool, network, clock)
        return (await queries.ask(query, credentials, asyncio.get_running_loop().time() + 10)).body
    finally:
        await pool.close()


def signed_by_botocore(url: str, arrived: Arrived, credentials: ReadOnlyCredentials, scope: tuple[str, str]) -> str:
    """The Authorization header that botocore's unchanged signer writes at the same time."""
    headers = {name: arrived.header(name) for name in ("content-type", "host")}
    request = AWSRequest("POST", f"{url}/", headers=headers, data=arrived.body)
    moment = datetime.strptime(f"{arrived.header('x-amz-date')}", SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: moment)
        SigV4Auth(credentials, *scope).add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("credentials", [SESSION, USER], ids=["session", "user"])
@pytest.mark.parametrize(
    ("service", "region", "signing_region", "query"),
    [("iam", "eu-west-1", "us-east-1", GET_ROLE), ("sts", "eu-west-1", "eu-west-1", ASSUME)],
)
async def test_a_call_is_signed_as_botocore_signs(
    aws: Recorder,
    credentials: ReadOnlyCredentials,
    service: ServiceName,
    region: str,
    signing_region: str,
    query: Query,
) -> None:
    assert await ask(aws.url, query, credentials, service, region) == b"answer"
    [arrived] = aws.requests
    expected = signed_by_botocore(aws.url, arrived, credentials, (service, signing_region))
    assert arrived.header("authorization") == expected
    assert arrived.header("x-amz-security-token") == credentials.token


@pytest.mark.parametrize(
    ("service", "query", "version"), [("iam", GET_ROLE, "2010-05-08"), ("sts", ASSUME, "2011-06-15")]
)
async def test_a_call_is_a_form_of_its_action_version_and_parameters(
    aws: Recorder, service: ServiceName, query: Query, version: str
) -> None:
    await ask(aws.url, query, SESSION, service)
    [arrived] = aws.requests
    form: Mapping[str, list[str]] = parse_qs(arrived.body.decode("ascii"), strict_parsing=True)
    expected = {"Action": query.action, "Version": version, **query.parameters}
    assert form == {name: [value] for name, value in expected.items()}
    assert arrived.line == "POST / HTTP/1.1"
    assert arrived.header("user-agent") == f"kuma-aws-iam/{__version__}"
    assert arrived.header("accept-encoding") is None


async def test_a_second_attempt_is_signed_anew_on_a_connection_of_its_own() -> None:
    answers = iter(["503 Service Unavailable", "200 OK"])
    moments = iter(datetime(2026, 11, 24, 5, 15, second, tzinfo=UTC) for second in range(2))

    async def respond(writer: asyncio.StreamWriter) -> None:
        await answering(next(answers), {}, b"answer")(writer)

    async with recording_server(respond) as aws:
        await ask(aws.url, GET_ROLE, SESSION, clock=lambda: next(moments))
    assert [request.header("x-amz-date") for request in aws.requests] == ["20261124T051500Z", "20261124T051501Z"]
    assert len({request.header("authorization") for request in aws.requests}) == 2
    assert aws.connections == 2


async def test_a_refusal_holds_the_action_the_status_and_the_code() -> None:
    body = b"<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>evil</Message></Error></ErrorResponse>"
    async with recording_server(answering("404 Not Found", {}, body)) as aws:
        with pytest.raises(RefusedError) as raised:
            await ask(aws.url, GET_ROLE, SESSION)
    refused = raised.value
    assert (refused.action, refused.status, refused.code) == ("GetRole", 404, "NoSuchEntity")
    assert "evil" not in str(refused)


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\nb", "a\rb"])
async def test_a_line_break_in_credentials_is_not_sent(aws: Recorder, token: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        await ask(aws.url, GET_ROLE, ReadOnlyCredentials("ASIA", "secret", token))
    assert aws.requests == []
