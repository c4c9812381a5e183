"""The whole service in one process: how it gets ready, its warnings, and how it ends."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.emulator import FaultKind
from app.iam import preparation
from app.local.clock import utc_now
from app.service import Service, open_service
from tests.conftest import LoadSettings, StartService
from tests.support.exposition import read_samples, value
from tests.support.passing_time import let_pass
from tests.support.patience import PATIENCE
from tests.support.service import AUTHENTICATE, RunningService, listening, running_service, until
from tests.support.world import (
    ACCOUNT,
    DATAPLANE,
    INGRESS,
    OTHER_ACCOUNT,
    PROXY,
    SERVICE_ROLE,
    STRANGERS_ACCOUNT,
    Aws,
    recipe_of,
)


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for credentials again at once."""
    monkeypatch.setattr(preparation, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(preparation, "LAST_RETRY_SECONDS", 0.01)


def client_of(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=service.api), base_url="http://service")


def named(log: list[EventDict], event: str) -> list[EventDict]:
    return [each for each in log if each["event"] == event]


async def test_the_main_job_is_done(service: RunningService, aws: Aws) -> None:
    session = aws.task()
    response = await service.present(recipe_of(session).credential(), PROXY)
    assert response.status_code == 200
    principal = response.json()["principal"]
    assert (principal["account"], principal["role"], principal["arn"]) == (ACCOUNT, "demo-app", session.principal.arn)
    assert response.json()["identity"] == {
        "type": "dataplane",
        "mesh": "default",
        "service": "demo-app",
        "workload": None,
        "zone": None,
        "labels": {},
    }
    [line] = service.decisions()
    assert (line["outcome"], line["granted"]["service"]) == ("allowed", "demo-app")
    assert line["sts"]["request_id"] == aws.sts_calls()[0].request_id
    assert line["iam"]["request_id"] == aws.iam_calls()[0].request_id


async def test_a_role_of_another_account_is_read_through_the_reader_role(service: RunningService, aws: Aws) -> None:
    claim = {**PROXY, "tags": {"kuma.io/service": ["backend"]}}
    response = await service.present(aws.credential("backend", OTHER_ACCOUNT), claim)
    assert response.status_code == 200
    assert response.json()["principal"]["account"] == OTHER_ACCOUNT
    assert [call.account for call in aws.iam_calls()] == [OTHER_ACCOUNT]


async def test_the_same_credential_costs_aws_one_call_each(service: RunningService, aws: Aws) -> None:
    credential = aws.credential()
    for _ in range(5):
        assert (await service.present(credential, PROXY)).status_code == 200
    assert (len(aws.sts_calls()), len(aws.iam_calls())) == (1, 1)
    assert [line["sts"]["cache"] for line in service.decisions()] == ["miss", "hit", "hit", "hit", "hit"]


async def test_a_caller_on_a_unix_socket_has_no_address(service: RunningService, tmp_path: Path) -> None:
    path = str(tmp_path / "api.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    async with (
        listening(service.service.api, listener=listener),
        httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as client,
    ):
        assert (await client.post(f"http://x{AUTHENTICATE}", json={"credential": "x"})).status_code == 401
    [line] = service.decisions()
    assert line["client"] is None


async def test_each_line_about_a_credential_names_who_it_was(service: RunningService, aws: Aws) -> None:
    """A cache hit has the same facts as the miss before it. The TCP peer is the one fact that no caller can choose."""
    session, forged = aws.task(), {"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.7"}
    recipe = recipe_of(session)
    call = {"credential": recipe.credential(), "proxy": PROXY}
    async with listening(service.service.api) as (host, port):
        url = f"http://{host}:{port}{AUTHENTICATE}"
        async with httpx.AsyncClient(trust_env=False, headers=forged, timeout=PATIENCE) as client:
            assert [(await client.post(url, json=call)).status_code for _ in range(2)] == [200, 200]
    lines = service.decisions()
    assert [line["sts"]["cache"] for line in lines] == ["miss", "hit"]
    for line in lines:
        assert line["client"] == "127.0.0.1"
        assert line["access_key"] == {"id": session.access_key_id, "unverified_account": ACCOUNT}
        assert line["signed_for"] == {"host": recipe.host, "region": recipe.region}
        assert line["role"]["tags"].items() >= DATAPLANE.items()
        assert 0 <= line["age_seconds"] == -line["clock_skew_seconds"]


async def test_a_remembered_identity_still_proves_its_claim_each_time(service: RunningService, aws: Aws) -> None:
    credential = aws.credential()
    assert (await service.present(credential, PROXY)).status_code == 200
    response = await service.present(credential, {**PROXY, "mesh": "payments"})
    assert response.json()["reason"] == "proxy_mesh_mismatch"


async def test_a_change_of_tags_holds_once_the_ttl_is_over(start_service: StartService, aws: Aws) -> None:
    role = aws.add_role()
    credential = recipe_of(aws.session_of(role)).credential()
    async with start_service(KMESH_AWSIAM_ROLE_TTL="0.000001") as service:
        assert (await service.present(credential, PROXY)).status_code == 200
        aws.emulator.world.set_role_tags(ACCOUNT, role.name, INGRESS)
        response = await service.present(credential, PROXY)
    assert response.json()["reason"] == "proxy_type_mismatch"
    assert (len(aws.sts_calls()), len(aws.iam_calls())) == (1, 2)


async def test_a_change_of_tags_waits_for_the_ttl(service: RunningService, aws: Aws) -> None:
    role = aws.add_role()
    credential = recipe_of(aws.session_of(role)).credential()
    assert (await service.present(credential, PROXY)).status_code == 200
    aws.emulator.world.set_role_tags(ACCOUNT, role.name, INGRESS)
    assert (await service.present(credential, PROXY)).status_code == 200


async def test_a_decision_ends_by_its_own_deadline(start_service: StartService, aws: Aws) -> None:
    aws.emulator.faults.iam.inject(FaultKind.HANG)
    async with start_service(KMESH_AWSIAM_DECISION_TIMEOUT="60") as service:
        deciding = asyncio.create_task(service.present(aws.credential(), PROXY))
        await until(lambda: len(aws.iam_calls()) > 0)
        let_pass(60.0)
        response = await deciding
        assert (response.status_code, response.json()["reason"]) == (503, "iam_unavailable")
        aws.emulator.faults.clear()
        assert (await service.present(aws.credential(), PROXY)).status_code == 200


# Getting ready.


@pytest.mark.usefixtures("_hurried")
async def test_ready_waits_for_the_own_credentials(
    aws: Aws, settings_of: LoadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(**{**aws.service_environment(), "AWS_CONTAINER_CREDENTIALS_FULL_URI": None})
    with capture_logs() as log:
        async with open_service(settings) as service, client_of(service) as client:
            await until(lambda: bool(named(log, "no AWS credentials yet")))
            response = await client.get("/ready")
            assert (response.status_code, response.json()["ready"]) == (503, False)
            assert "task role" in response.json()["detail"]
            assert (await client.get("/healthy")).status_code == 200
            monkeypatch.setenv(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI", aws.emulator.credentials_uri(ACCOUNT, SERVICE_ROLE)
            )
            await until(lambda: service.readiness.ready)
            response = await client.get("/ready")
            assert (response.status_code, response.json()["ready"]) == (200, True)
            await until(lambda: bool(named(log, "own account")))


@pytest.mark.usefixtures("_hurried")
async def test_a_place_of_credentials_that_the_sdk_refuses_is_told_and_ends_nothing(
    aws: Aws, settings_of: LoadSettings
) -> None:
    uri = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://credentials.example/role"}
    settings = settings_of(**{**aws.service_environment(), **uri})
    with capture_logs() as log:
        async with open_service(settings) as service:
            await until(lambda: bool(named(log, "no AWS credentials yet")))
            assert not service.readiness.ready


async def test_ready_does_not_depend_on_the_health_of_aws(service: RunningService, aws: Aws) -> None:
    """Removing a replica because AWS is down would turn undecided calls into failed connections."""
    aws.emulator.faults.sts.inject(FaultKind.SERVICE_UNAVAILABLE)
    assert (await service.present(aws.credential())).status_code == 503
    response = await service.client.get("/ready")
    assert response.status_code == 200
    assert response.json()["upstreams"] == {"sts": "sts_unavailable", "iam": "none"}


async def test_ready_ends_with_draining(service: RunningService) -> None:
    service.service.readiness.draining = True
    response = await service.client.get("/ready")
    assert (response.status_code, response.json()["detail"]) == (503, "stopping: new calls belong elsewhere")
    assert value(await service.metrics(), "kuma_aws_iam_ready") == 0
    assert (await service.client.get("/healthy")).status_code == 200


async def test_ready_is_a_metric_too(service: RunningService) -> None:
    assert value(await service.metrics(), "kuma_aws_iam_ready") == 1


@pytest.mark.usefixtures("_hurried")
async def test_the_own_account_is_told_once_aws_comes_up(aws: Aws, settings_of: LoadSettings) -> None:
    aws.emulator.faults.sts.inject(FaultKind.UNKNOWN_CODE, times=2)
    with capture_logs() as log:
        async with open_service(settings_of(**aws.service_environment())) as service:
            await until(lambda: bool(named(log, "own account")))
            assert service.readiness.ready
    assert named(log, "own account")[0]["account"] == ACCOUNT
    assert len(named(log, "the service's own account could not be found out")) == 2


async def test_accounts_that_cannot_be_read_are_warned_about_at_the_start(aws: Aws, settings_of: LoadSettings) -> None:
    variables: dict[str, str | None] = {
        **aws.service_environment(),
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": f"{STRANGERS_ACCOUNT},{ACCOUNT},{OTHER_ACCOUNT}",
        "KMESH_AWSIAM_READER_ROLE_NAME": None,
        "KMESH_AWSIAM_READER_EXTERNAL_ID": None,
    }
    async with running_service(aws, settings_of(**variables)) as service:
        await until(lambda: bool(service.events("listed accounts cannot be read")))
    [event] = service.events("listed accounts cannot be read")
    assert event["accounts"] == [OTHER_ACCOUNT, STRANGERS_ACCOUNT]
    assert "KMESH_AWSIAM_READER_ROLE_NAME" in event["remedy"]


async def test_nothing_is_warned_about_when_every_account_can_be_read(service: RunningService) -> None:
    assert [event for event in service.log if event["log_level"] != "info"] == []


# Two listeners, two services, and the end.


async def test_diagnostics_move_to_a_listener_of_their_own(start_service: StartService) -> None:
    async with start_service(KMESH_AWSIAM_DIAGNOSTICS_LISTEN="127.0.0.1:5691") as service:
        assert service.service.diagnostics is not None
        transport = httpx.ASGITransport(app=service.service.diagnostics)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as diagnostics:
            for path in ("/healthy", "/ready", "/metrics"):
                assert (await diagnostics.get(path)).status_code == 200
                assert (await service.client.get(path)).status_code == 404
            assert (await diagnostics.post("/v1/authenticate", json={})).status_code == 404
            await service.present("x")
            samples = read_samples((await diagnostics.get("/metrics")).text)
        labels = {"outcome": "denied", "reason": "credential_malformed", "proxy_type": "none", "form": "none"}
        assert value(samples, "kuma_aws_iam_decisions_total", **labels) == 1


async def test_two_services_in_one_process_share_nothing(start_service: StartService, aws: Aws) -> None:
    credential = aws.credential()
    async with start_service() as one, start_service(KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=OTHER_ACCOUNT) as other:
        assert (await one.present(credential)).status_code == 200
        assert (await other.present(credential)).json()["reason"] == "account_not_authorized"
    assert len(aws.sts_calls()) == 2


async def test_a_service_closes_while_aws_hangs(aws: Aws, settings_of: LoadSettings) -> None:
    aws.emulator.faults.sts.inject(FaultKind.HANG)
    settings = settings_of(**aws.service_environment())
    async with asyncio.timeout(PATIENCE), open_service(settings):
        await asyncio.to_thread(aws.emulator.calls.wait_for, 1)


def test_the_clock_is_in_utc() -> None:
    assert str(utc_now().tzinfo) == "UTC"
