"""``/openapi.json`` of a service that issues tokens: valid, equal to the real answers, with the caller's token."""

from pathlib import Path
from typing import Any

import pytest

from app.local.caller_tokens import OWN_HEADER
from tests.conftest import StartService
from tests.support.keys import KeyFiles
from tests.support.openapi import require_valid, validator
from tests.support.service import AUTHENTICATE, RunningService
from tests.support.world import PROXY, Aws

EXT_AUTHZ = "/v1/ext-authz/{path}"


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


async def description_of(service: RunningService, **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = (await service.client.get("/openapi.json", headers=headers)).json()
    require_valid(found)
    return found


def fits(description: dict[str, Any], path: str, status: int, media_type: str, body: object) -> None:
    response = description["paths"][path]["post"]["responses"][str(status)]
    validator(description, response["content"][media_type]["schema"]).validate(body)


async def test_the_answers_are_those_that_are_described(aws: Aws, start_service: StartService, files: KeyFiles) -> None:
    async with start_service(**files.settings()) as service:
        description = await description_of(service)
        allowed = await service.client.post("/v1/token", json={"credential": aws.credential(), "proxy": PROXY})
        fits(description, "/v1/token", 200, "application/json", allowed.json())
        required = description["components"]["schemas"]["TokenAnswer"]["required"]
        assert sorted(required) == sorted(allowed.json())
        denied = await service.client.post("/v1/token", json={"credential": "x"})
        fits(description, "/v1/token", 401, "application/problem+json", denied.json())
        ext_authz = description["paths"][EXT_AUTHZ]["post"]
        answer = await service.client.post("/v1/ext-authz/x", headers={"authorization": aws.credential()})
        [header] = ext_authz["responses"]["200"]["headers"]
        assert header.lower() in answer.headers
        refused = await service.client.post("/v1/ext-authz/x")
        fits(description, EXT_AUTHZ, 401, "application/problem+json", refused.json())
        assert "requestBody" not in ext_authz
        [[name]] = ext_authz["security"]
        assert description["components"]["securitySchemes"][name]["name"] == "authorization"


async def test_a_caller_token_is_described_where_it_stands(start_service: StartService, files: KeyFiles) -> None:
    token = "caller-token-of-32-characters-or-more"
    path = files.folder / "caller-tokens"
    path.write_text(token)
    async with start_service(**files.settings(), KMESH_AWSIAM_CALLER_TOKEN_FILE=str(path)) as service:
        description = await description_of(service, authorization=f"Bearer {token}")
    schemes = description["components"]["securitySchemes"]
    for place in (AUTHENTICATE, "/v1/token"):
        [[name]] = description["paths"][place]["post"]["security"]
        assert schemes[name]["scheme"] == "bearer"
    [both] = description["paths"][EXT_AUTHZ]["post"]["security"]
    assert {schemes[name]["name"] for name in both} == {"authorization", OWN_HEADER.decode()}
