"""The page on its listener: who gets it, with which headers, and that no decision waits for it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.api.decisions_page import MAX_READERS, DecisionsPage, add_decisions_page, host_of
from app.local.addresses import ListenAddress, TcpAddress, UnixAddress
from app.settings.loading import SettingsError
from tests.conftest import LoadSettings, StartService
from tests.support.decisions_page import document, recent_decisions, record
from tests.support.service import AUTHENTICATE, RunningService
from tests.support.world import NEW_GENERATION, PROXY, Aws

PAGE = "KMESH_AWSIAM_DECISIONS_PAGE"
DIAGNOSTICS = "KMESH_AWSIAM_DIAGNOSTICS_LISTEN"
LOOPBACK = TcpAddress("127.0.0.1", 5691)
SOCKET = UnixAddress(Path("/run/kuma-aws-iam/Diagnostics.sock"))


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost:5691")


def app_of(listener: ListenAddress = LOOPBACK) -> FastAPI:
    recent = recent_decisions()
    recent.note(record(), None, 0.001)
    app = FastAPI()
    add_decisions_page(app, DecisionsPage(document(recent), listener))
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of()) as own:
        yield own


async def test_the_page_may_be_kept_embedded_and_read_by_nobody_else(client: httpx.AsyncClient) -> None:
    response = await client.get("/decisions")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:5691", "[::1]", "[::1]:65535"])
async def test_a_host_of_this_machine_gets_the_page(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/decisions", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",  # DNS rebinding: its name leads to 127.0.0.1
        "attacker.example:5691",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example",
        "attacker.example:5691@localhost",
        "localhost:5691:5691",
        "localhost:",
        "localhost:x",
        "localhost.",
        "[::1",
        "::1",
        "127.0.0.2",
        "0.0.0.0",  # noqa: S104 - a name, no address to listen on
        "2130706433",
        "",
    ],
)
async def test_another_host_is_refused_and_told_nothing(client: httpx.AsyncClient, host: str) -> None:
    response = await client.get("/decisions", headers={"Host": host})
    assert response.status_code == 403
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == "This page is only for this machine: open it as http://localhost:PORT/decisions.\n"


async def test_a_request_needs_one_host() -> None:
    sent: list[str] = []
    for hosts in ([], [b"localhost", b"attacker.example"], [b"localhost", b"localhost"], [b"localhost"]):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/decisions",
            "raw_path": b"/decisions",
            "query_string": b"",
            "headers": [(b"host", host) for host in hosts],
        }

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                sent.append(str(message["status"]))

        await app_of()(scope, lambda: asyncio.sleep(0, {"type": "http.request"}), send)  # type: ignore[arg-type]
    assert sent == ["403", "403", "403", "200"]


@pytest.mark.parametrize(
    ("listener", "host"),
    [
        (TcpAddress("127.0.0.2", 5691), "127.0.0.2"),
        (TcpAddress("::1", 5691), "[::1]"),
        (SOCKET, "%2frun%2fkuma-aws-iam%2fdiagnostics.sock"),
    ],
)
async def test_the_host_of_the_socket_gets_the_page(listener: ListenAddress, host: str) -> None:
    assert host_of(listener) == host
    async with client_of(app_of(listener)) as client:
        assert (await client.get("/decisions", headers={"Host": host})).status_code == 200
        assert (await client.get("/decisions", headers={"Host": "localhost"})).status_code == 200


@pytest.mark.parametrize(
    ("site", "dest", "status"),
    [
        ("none", "document", 200),  # typed, or a bookmark
        ("same-origin", "document", 200),
        ("cross-site", "document", 200),  # a link: the other site cannot read what it leads to
        ("cross-site", "iframe", 403),
        ("cross-site", "image", 403),
        ("same-site", "script", 403),
        ("cross-site", "empty", 403),
        ("cross-site", None, 403),
    ],
)
async def test_another_site_cannot_embed_the_page(
    client: httpx.AsyncClient, site: str, dest: str | None, status: int
) -> None:
    headers = {"Sec-Fetch-Site": site} | ({} if dest is None else {"Sec-Fetch-Dest": dest})
    assert (await client.get("/decisions", headers=headers)).status_code == status


async def test_more_readers_than_the_limit_are_refused(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.get("/decisions") for _ in range(MAX_READERS + 3)))
    assert sorted(answer.status_code for answer in answers) == [*[200] * MAX_READERS, *[503] * 3]
    assert (await client.get("/decisions")).status_code == 200


# The whole service.


@pytest.fixture
async def with_page(start_service: StartService) -> AsyncIterator[RunningService]:
    async with start_service(**{PAGE: "true", DIAGNOSTICS: "127.0.0.1:5691"}) as running:
        yield running


def diagnostics_of(service: RunningService) -> httpx.AsyncClient:
    assert service.service.diagnostics is not None
    transport = httpx.ASGITransport(app=service.service.diagnostics)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:5691")


async def test_decisions_are_on_the_page_and_nothing_secret_is(with_page: RunningService, aws: Aws) -> None:
    credential = aws.credential()
    assert (await with_page.present(credential, PROXY)).status_code == 200
    denied = await with_page.present(credential, {**PROXY, "mesh": "other"})
    malformed = await with_page.send(b"{")
    async with diagnostics_of(with_page) as client:
        page = (await client.get("/decisions")).text
    assert "3 of 3 decisions" in page
    for part in (denied.json()["requestId"], malformed.json()["requestId"], "sts.us-east-1", "allowed", "task-"):
        assert part in page
    assert credential.partition(".")[2] not in page
    assert "X-Amz" not in page


async def test_a_decision_does_not_wait_for_the_page(with_page: RunningService, aws: Aws) -> None:
    """A decision that begins after the page can end before it: a piece of the page takes one turn of the event loop."""
    credential = aws.credential()
    for _ in range(200):
        await with_page.present(credential, PROXY)
    ended: list[str] = []

    async def read_page() -> None:
        async with diagnostics_of(with_page) as client:
            await client.get("/decisions", params={"text": "demo"})
        ended.append("page")

    async def decide() -> None:
        await with_page.present(credential, PROXY)
        ended.append("decision")

    page = asyncio.create_task(read_page())
    await asyncio.sleep(0)
    await asyncio.gather(page, decide())
    assert ended == ["decision", "page"]


@pytest.mark.parametrize("diagnostics", [None, "127.0.0.1:5691"], ids=["one-listener", "two-listeners"])
async def test_the_page_is_off_unless_it_is_asked_for(start_service: StartService, diagnostics: str | None) -> None:
    async with start_service(**{DIAGNOSTICS: diagnostics}) as service:
        assert (await service.client.get("/decisions")).status_code == 404
        if diagnostics is not None:
            async with diagnostics_of(service) as client:
                assert (await client.get("/decisions")).status_code == 404


async def test_the_api_does_not_serve_the_page(with_page: RunningService) -> None:
    assert (await with_page.client.get("/decisions", headers={"Host": "localhost"})).status_code == 404
    async with diagnostics_of(with_page) as client:
        assert (await client.post(AUTHENTICATE)).status_code == 404
        described = (await client.get("/openapi.json")).json()["paths"]["/decisions"]["get"]
    assert {"200", "403", "503"} <= described["responses"].keys()


# The settings.


@pytest.mark.parametrize("listen", ["127.0.0.1:5691", "[::1]:5691", "localhost:5691", "unix:/run/kuma-aws-iam/d.sock"])
def test_a_local_listener_may_have_the_page(settings_of: LoadSettings, listen: str) -> None:
    settings = settings_of(**NEW_GENERATION, **{PAGE: "true", DIAGNOSTICS: listen})
    assert settings.decisions_page_listener == settings.diagnostics_listen
    assert settings_of(**NEW_GENERATION, **{DIAGNOSTICS: listen}).decisions_page_listener is None


@pytest.mark.parametrize(
    ("listen", "variable"),
    [
        (None, PAGE),
        ("0.0.0.0:5691", DIAGNOSTICS),
        ("[::]:5691", DIAGNOSTICS),
        ("diagnostics.internal:5691", DIAGNOSTICS),
    ],
)
def test_any_other_listener_ends_the_start(settings_of: LoadSettings, listen: str | None, variable: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings_of(**NEW_GENERATION, **{PAGE: "true", DIAGNOSTICS: listen})
    [problem] = raised.value.problems
    assert problem.variable == variable
    assert [
        word
        for word in (PAGE if variable != PAGE else DIAGNOSTICS, "127.0.0.1:5691", "unix:/path")
        if word not in problem.remedy
    ] == []
    settings_of(**NEW_GENERATION, **{PAGE: "false", DIAGNOSTICS: listen})
