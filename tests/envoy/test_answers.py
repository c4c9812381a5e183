"""Envoy's behaviour for each answer of the service, for no answer, and for the answers of another program.

A stand-in answers, also what no service would. The service itself is in test_service.py.
"""

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.envoy import Front, open_front
from tests.support.patience import PATIENCE
from tests.support.process import free_address
from tests.support.service import until
from tests.support.stand_in import StandIn, standing_in

CREDENTIAL = "kuma-aws-v1.a-credential"
TOKEN = f"eyJhbGciOiJSUzI1NiJ9.eyJNZXNoIjoiZGVmYXVsdCJ9.{'s' * 342}"
TOKEN_ON = (r"#(authorization_request:\n *)#( *headers_to_add:\n *)#( *- )", r"\1\2\3")
"""The change that an operator makes who has a caller token: three lines are no comments any more."""


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with standing_in(200, ("authorization", TOKEN)) as service:
        yield service


@pytest.fixture
async def front(stand_in: StandIn) -> AsyncIterator[Front]:
    async with open_front(stand_in.address) as opened:
        yield opened


async def test_an_approval_puts_the_token_in_the_credentials_place(front: Front, stand_in: StandIn) -> None:
    assert (await front.answer_to(CREDENTIAL)).code == "OK"
    (seen,) = front.control_plane.streams
    assert seen.values("authorization") == [TOKEN]
    assert CREDENTIAL not in str(seen.headers)
    assert stand_in.values("authorization") == [CREDENTIAL]


async def test_a_configuration_of_megabytes_passes_in_both_directions(front: Front) -> None:
    """The buffers of the configuration make a sender wait, and truncate nothing."""
    async with front.connected() as proxy:
        stream = await proxy.open(CREDENTIAL)
        for size in (1, 1024, 3 * 1024 * 1024):
            assert await stream.ask(b"a" * size)


async def test_the_service_is_told_the_method_and_of_the_rest_next_to_nothing(front: Front, stand_in: StandIn) -> None:
    headers = [("cookie", "a"), ("x-other", "b"), ("x-forwarded-for", "192.0.2.1"), ("x-request-id", "theirs")]
    await front.answer_to(CREDENTIAL, headers=headers)
    (target, came), (seen,) = stand_in.calls[0], front.control_plane.streams
    assert target == f"POST /v1/ext-authz{seen.method}"
    assert {name.lower() for name, _ in came} <= {
        *("host", "authorization", "content-length", "x-request-id", "x-forwarded-for"),
        *("x-envoy-internal", "x-envoy-expected-rq-timeout-ms"),
    }
    assert stand_in.values("x-request-id") == seen.values("x-request-id") != ["theirs"]
    assert "192.0.2.1" not in stand_in.values("x-forwarded-for")


async def test_what_is_between_envoys_comes_from_no_proxy(front: Front, stand_in: StandIn) -> None:
    headers = [
        ("x-envoy-original-path", "/elsewhere"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-decorator-operation", "a"),
        ("x-envoy-internal", "true"),
        ("x-kuma-aws-iam-caller-token", "guessed"),
    ]
    assert (await front.answer_to(CREDENTIAL, headers=headers)).code == "OK"
    (seen,) = front.control_plane.streams
    assert {name for name, _ in seen.headers} & {name for name, _ in headers} == set()
    assert "guessed" not in str(stand_in.calls)
    assert "/elsewhere" not in front.envoy.log()


async def test_a_stranger_with_an_underscore_in_a_headers_name_gets_nowhere(front: Front, stand_in: StandIn) -> None:
    answer = await front.answer_to(CREDENTIAL, headers=[("authorization_", "a")])
    assert answer.code != "OK"
    assert (stand_in.calls, front.control_plane.streams) == ([], [])


@pytest.mark.parametrize(
    "presented", [("one", "two"), ("one", "one"), (TOKEN, CREDENTIAL)], ids=["two", "same", "token"]
)
async def test_two_values_reach_the_service_as_one_that_holds_a_comma(
    front: Front, stand_in: StandIn, presented: tuple[str, str]
) -> None:
    """The joined value is neither a credential nor a token, so the real service refuses it (test_service.py)."""
    await front.answer_to(*presented)
    assert stand_in.values("authorization") == [",".join(presented)]


async def test_an_empty_value_beside_another_is_none(front: Front, stand_in: StandIn) -> None:
    """Envoy drops the empty value: the service and the control plane see the same single value."""
    await front.answer_to(CREDENTIAL, "")
    assert stand_in.values("authorization") == [CREDENTIAL]
    assert [seen.values("authorization") for seen in front.control_plane.streams] == [[TOKEN]]


async def test_a_credential_of_12_kib_passes_and_a_head_over_32_does_not(front: Front, stand_in: StandIn) -> None:
    long = "kuma-aws-v1." + "a" * (12 * 1024 - 12)
    assert (await front.answer_to(long)).code == "OK"
    assert stand_in.values("authorization") == [long]
    assert (await front.answer_to("a" * 33 * 1024)).code != "OK"
    assert len(stand_in.calls) == len(front.control_plane.streams) == 1


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED")])
async def test_a_denial_ends_the_stream_with_its_status(
    front: Front, stand_in: StandIn, status: int, code: str
) -> None:
    stand_in.status = status
    assert (await front.answer_to(CREDENTIAL)).code == code
    assert front.control_plane.streams == []


@pytest.mark.parametrize("status", [201, 204, 302, 400, 404, 405, 413, 415, 429, 500, 502, 503, 504])
async def test_what_is_no_decision_is_unavailable(front: Front, stand_in: StandIn, status: int) -> None:
    """Also a 2xx that the service never sends, and statuses that Envoy counts as a denial: 404 if there are no keys."""
    stand_in.status = status
    stand_in.headers = [] if status < 300 else stand_in.headers
    answer = await front.answer_to(CREDENTIAL)
    assert answer.code == "UNAVAILABLE"
    assert answer.details.startswith("could not decide about the credential; request ")
    assert front.control_plane.streams == []


async def test_a_service_that_does_not_know_this_envoy_has_decided_nothing_about_a_proxy(
    front: Front, stand_in: StandIn
) -> None:
    stand_in.status, stand_in.headers = 401, [("www-authenticate", 'Bearer realm="kuma-aws-iam"')]
    assert (await front.answer_to(CREDENTIAL)).code == "UNAVAILABLE"


@pytest.mark.parametrize(
    "presented",
    [
        CREDENTIAL,
        "k8s-aws-v1.a",
        "eyJhbGciOiJub25lIn0.eyJ1cmwiOiJodHRwczovL3N0cyJ9.",
        "eyJpYW1fYQ",
        '{"method": "POST"}',
    ],
    ids=["native", "eks", "jwt", "envelope", "plain"],
)
@pytest.mark.parametrize("is_echoed", [False, True])
async def test_an_approval_without_a_token_lets_nobody_in(
    front: Front, stand_in: StandIn, presented: str, *, is_echoed: bool
) -> None:
    """Another program listens on the service's port and answers 200 to everything."""
    stand_in.headers = [("authorization", presented)] if is_echoed else []
    assert (await front.answer_to(presented)).code == "UNAVAILABLE"
    assert front.control_plane.streams == []


@pytest.mark.parametrize("presented", [CREDENTIAL, TOKEN], ids=["credential", "token"])
async def test_without_a_service_nobody_gets_in(presented: str) -> None:
    """A token does not help either, although its shape is right."""
    async with open_front(free_address()) as front:
        assert (await front.answer_to(presented)).code == "UNAVAILABLE"
        assert front.control_plane.streams == []


async def test_a_service_that_hangs_is_given_up_after_the_time_that_the_configuration_gives(stand_in: StandIn) -> None:
    stand_in.released = threading.Event()
    async with open_front(stand_in.address, (r"timeout: 11s", "timeout: 0.2s")) as front:
        assert (await front.answer_to(CREDENTIAL)).code == "UNAVAILABLE"
        assert front.control_plane.streams == []
        assert len(stand_in.calls) == 1


async def test_the_callers_token_comes_from_the_environment_and_goes_to_the_service_alone(stand_in: StandIn) -> None:
    async with open_front(stand_in.address, TOKEN_ON, KUMA_AWS_IAM_CALLER_TOKEN="a-token-of-envoy") as front:
        headers = [("x-kuma-aws-iam-caller-token", "guessed")]
        assert (await front.answer_to(CREDENTIAL, headers=headers)).code == "OK"
        assert stand_in.values("x-kuma-aws-iam-caller-token") == ["a-token-of-envoy"]
        assert "a-token-of-envoy" not in str(front.control_plane.streams[0].headers)
        assert "a-token-of-envoy" not in (await front.envoy.admin.get("/config_dump")).text


# Requests that are no streams.


def trusting(front: Front) -> httpx.AsyncClient:
    context = ssl.create_default_context(cadata=front.envoy.authority.cert.decode())
    return httpx.AsyncClient(
        verify=context, base_url=f"https://localhost:{front.envoy.port}", trust_env=False, timeout=PATIENCE
    )


async def test_a_bootstrap_passes_whatever_the_service_does() -> None:
    """kuma-dp posts JSON with the credential over HTTP/1.1. The answer names the host of the request."""
    body = {"mesh": "default", "name": "demo-app-1", "dataplaneToken": CREDENTIAL, "dataplaneTokenPath": "/token"}
    async with open_front(free_address()) as front, trusting(front) as client:
        headers = {"accept": "application/json", "x-kuma-aws-iam-caller-token": "guessed", "authorization": CREDENTIAL}
        answer = await client.post("/bootstrap", json=body, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["host"] == f"localhost:{front.envoy.port}"
        (seen,) = front.control_plane.bootstraps
        assert json.loads(seen.body) == body
        assert seen.values("accept") == ["application/json"]
        assert seen.values("authorization") == seen.values("x-kuma-aws-iam-caller-token") == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/bootstrap", 404),
        ("POST", "/bootstrap/", 404),
        ("POST", "/bootstrap/../config", 404),
        ("POST", "/%2e%2e%2fbootstrap", 400),
        ("GET", "/", 404),
        ("POST", "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", 404),
        ("POST", "/v1/ext-authz/a", 404),
    ],
)
async def test_nothing_else_is_there_and_nobody_is_asked_about_it(
    front: Front, stand_in: StandIn, method: str, path: str, status: int
) -> None:
    async with trusting(front) as client:
        assert (await client.request(method, path, headers={"authorization": CREDENTIAL})).status_code == status
    assert (stand_in.calls, front.control_plane.bootstraps, front.control_plane.streams) == ([], [], [])


async def test_a_bootstrap_is_held_to_its_size(front: Front) -> None:
    async with trusting(front) as client:
        assert (await client.post("/bootstrap", content=b"a" * 64 * 1024)).status_code == 200
        assert (await client.post("/bootstrap", content=b"a" * (64 * 1024 + 1))).status_code == 413
    assert len(front.control_plane.bootstraps) == 1


async def test_a_bootstrap_whose_body_never_ends_is_given_up_and_a_stream_that_is_silent_is_not(
    stand_in: StandIn,
) -> None:
    short = (r"max_stream_duration: 15s", "max_stream_duration: 0.2s")
    async with open_front(stand_in.address, short) as front, trusting(front) as client, front.connected() as proxy:
        stream = await proxy.open(CREDENTIAL)
        context = ssl.create_default_context(cadata=front.envoy.authority.cert.decode())
        context.set_alpn_protocols(["http/1.1"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", front.envoy.port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"POST /bootstrap HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na part")
        assert (await reader.readline()).split()[1] == b"408"
        writer.transport.abort()
        # The idle timeout would start again with each byte.
        await until(lambda: '"max_duration_timeout"' in front.envoy.log())
        assert front.control_plane.bootstraps == []
        assert (await client.post("/bootstrap", json={})).status_code == 200
        assert await stream.ask()


async def test_when_its_memory_is_used_up_streams_live_on_and_nobody_new_comes_in(stand_in: StandIn) -> None:
    """Otherwise the system would kill the process, and all streams with it."""
    # 15 MiB are in use without any stream; 24 streams use the rest.
    small = (r"max_heap_size_bytes: \d+", f"max_heap_size_bytes: {24 * 1024 * 1024}")
    async with open_front(stand_in.address, small) as front, contextlib.AsyncExitStack() as proxies:
        streams = [await (await proxies.enter_async_context(front.connected())).open(CREDENTIAL)]
        while streams[-1].answer.code == "OK" and len(streams) < 1000:
            streams.append(await (await proxies.enter_async_context(front.connected())).open(CREDENTIAL))
        assert len(streams) > 1
        assert streams[-1].answer.code == "UNAVAILABLE"
        assert await streams[0].ask()
        async with trusting(front) as client:
            assert (await client.post("/bootstrap", json={})).status_code == 503
        base_url = f"http://127.0.0.1:{front.envoy.statistics_port}"
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=PATIENCE) as client:
            text = (await client.get("/stats/prometheus")).text
        assert "envoy_overload_envoy_overload_actions_stop_accepting_requests_active{} 1\n" in text


async def test_bootstraps_beyond_their_rate_are_told_to_come_back(stand_in: StandIn) -> None:
    """A kuma-dp gives up on 4xx, and tries again after 503."""
    one = (r"max_tokens: 1000, tokens_per_fill: 500, fill_interval: 1s", "max_tokens: 1, fill_interval: 3600s")
    async with open_front(stand_in.address, one) as front, trusting(front) as client:
        statuses = [(await client.post("/bootstrap", json={})).status_code for _ in range(2)]
        assert statuses == [200, 503]
        assert (await front.answer_to(CREDENTIAL)).code == "OK"


async def test_statistics_are_all_that_loopback_sees_of_the_admin_interface(front: Front, stand_in: StandIn) -> None:
    await front.answer_to(CREDENTIAL)
    stand_in.status = 403
    await front.answer_to(CREDENTIAL)
    stand_in.status = 503
    await front.answer_to(CREDENTIAL)
    base_url = f"http://127.0.0.1:{front.envoy.statistics_port}"
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=PATIENCE) as client:
        text = (await client.get("/stats/prometheus")).text
        for name in ("ok", "denied", "error"):
            assert f'envoy_http_ext_authz_{name}{{envoy_http_conn_manager_prefix="dp_server"}} 1\n' in text
        assert (await client.get("/ready")).text == "LIVE\n"
        for path in ("/config_dump", "/stats", "/certs", "/"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/quitquitquit")).status_code == 404
    assert (await front.envoy.admin.get("/ready")).is_success
