"""``/openapi.json`` is complete and valid, and describes the real answers."""

import json
from typing import Any

import httpx
import pytest

from app.core.proxy import ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from app.emulator import FaultKind
from tests.api.conftest import Client
from tests.support.openapi import require_valid, validator
from tests.support.service import AUTHENTICATE, RunningService
from tests.support.world import PROXY, Aws

JSON = "application/json"
PROBLEM = "application/problem+json"
DESCRIBED = sorted(set(Reason) - {Reason.NOT_FOUND})


@pytest.fixture
async def description(client: Client) -> dict[str, Any]:
    response = await client.get("/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def operation(description: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = description["paths"][AUTHENTICATE]["post"]
    return found


def schema_of(description: dict[str, Any], status: int, media_type: str) -> dict[str, Any]:
    found: dict[str, Any] = operation(description)["responses"][str(status)]["content"][media_type]["schema"]
    return found


def fits(description: dict[str, Any], response: httpx.Response) -> bool:
    """Whether an answer matches the schema of its status."""
    media_type = response.headers["content-type"]
    validator(description, schema_of(description, response.status_code, media_type)).validate(response.json())
    return True


async def test_the_description_is_valid_openapi(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    require_valid(description)


async def test_the_paths_are_these_and_no_others(description: dict[str, Any]) -> None:
    found = {path: set(methods) for path, methods in description["paths"].items()}
    assert found == {AUTHENTICATE: {"post"}, "/healthy": {"get"}, "/ready": {"get"}, "/metrics": {"get"}}


async def test_the_statuses_are_those_that_are_given(description: dict[str, Any]) -> None:
    given = {str(EXPLANATIONS[reason].status) for reason in DESCRIBED}
    assert set(operation(description)["responses"]) == {"200", *given}
    assert "422" not in given  # contract, section 4: never


@pytest.mark.parametrize("reason", DESCRIBED)
async def test_every_reason_stands_under_its_status_alone(description: dict[str, Any], reason: Reason) -> None:
    responses = operation(description)["responses"]
    explanation = EXPLANATIONS[reason]
    places = {status for status, response in responses.items() if f"`{reason.value}`" in response["description"]}
    assert places == {str(explanation.status)}
    example = responses[str(explanation.status)]["content"][PROBLEM]["examples"][reason.value]["value"]
    assert (example["reason"], example["status"]) == (reason.value, explanation.status)
    assert (example["title"], example["detail"]) == (explanation.title, explanation.detail)
    validator(description, schema_of(description, explanation.status, PROBLEM)).validate(example)


async def test_the_reasons_are_a_closed_set(description: dict[str, Any]) -> None:
    assert set(description["components"]["schemas"]["Reason"]["enum"]) == set(Reason)


async def test_retry_after_is_described_where_it_is_sent(description: dict[str, Any]) -> None:
    with_header = {status for status, response in operation(description)["responses"].items() if "headers" in response}
    assert with_header == {"401", "503"}
    assert set(operation(description)["responses"]["401"]["headers"]) == {"WWW-Authenticate"}
    assert "Retry-After" in operation(description)["responses"]["503"]["headers"]


async def test_the_real_answers_are_as_described(
    description: dict[str, Any], service: RunningService, aws: Aws
) -> None:
    answers = [
        await service.present(aws.credential(), PROXY),
        await service.present(aws.credential()),
        await service.present(aws.credential(), {**PROXY, "mesh": "payments"}),
        await service.present("x"),
        await service.send(b"{}"),
        await service.send(b" " * 70_000),
        await service.send(b"{}", **{"content-type": "text/plain"}),
        await service.client.put(AUTHENTICATE),
    ]
    aws.emulator.faults.sts.inject(FaultKind.THROTTLE)
    answers.append(await service.present(aws.credential()))
    assert [answer.status_code for answer in answers] == [200, 200, 403, 401, 400, 413, 415, 405, 503]
    assert all(fits(description, answer) for answer in answers)


async def test_the_call_is_described_as_it_is_read(description: dict[str, Any], client: Client) -> None:
    """A call that matches the schema is parsed (and its credential denied). One that does not match is malformed."""
    body = operation(description)["requestBody"]
    assert body["required"] is True
    checker = validator(description, body["content"][JSON]["schema"])
    calls: list[Any] = [
        {"credential": "x"},
        {"credential": "x", "proxy": None},
        {"credential": "x", "proxy": PROXY},
        {"credential": "x", "proxy": {**PROXY, "labels": {"a": "b"}, "zone": "z"}},
        *({"credential": "x", "proxy": {"type": kind, "mesh": "default"}} for kind in ProxyType),
        {},
        [],
        {"credential": 1},
        {"credential": "x", "more": 1},
        {"credential": "x", "proxy": {}},
        {"credential": "x", "proxy": {"type": "gateway"}},
        {"credential": "x", "proxy": {"type": "ingress", "more": 1}},
        {"credential": "x", "proxy": {"type": "ingress", "tags": {"a": "b"}}},
        {"credential": "x", "proxy": {"type": "ingress", "labels": {"a": ["b"]}}},
        {"credential": "x", "proxy": {"type": "ingress", "zone": ""}},
        {"credential": "x", "proxy": {"type": "ingress", "name": "n" * 254}},
    ]
    for call in calls:
        response = await client.post(AUTHENTICATE, json=call)
        assert checker.is_valid(call) == (response.status_code == 401), call


async def test_the_example_of_a_call_is_one(description: dict[str, Any], client: Client) -> None:
    [example] = description["components"]["schemas"]["AuthenticateCall"]["examples"]
    response = await client.post(AUTHENTICATE, json=example)
    assert response.json()["reason"] == "credential_malformed"  # cut off, but decodable


async def test_the_probes_are_as_described(description: dict[str, Any], client: Client) -> None:
    for path in ("/healthy", "/ready"):
        schema = description["paths"][path]["get"]["responses"]["200"]["content"][JSON]["schema"]
        validator(description, schema).validate((await client.get(path)).json())


async def test_no_page_loads_scripts_from_elsewhere(description: dict[str, Any]) -> None:
    assert "http" not in json.dumps(description).replace("https://sts", "").replace("httpx", "")
