"""The routes other than the hot path, and routes that do not exist."""

import pytest

from app import __version__
from app.api.schemas import Problem
from tests.api.conftest import Client
from tests.support.service import AUTHENTICATE

PROBES = ["/healthy", "/ready", "/metrics", "/openapi.json"]


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/authenticat", "/v1/Authenticate", "/v2/authenticate", "/docs", "/redoc", "/.env", "/v1/token"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_a_problem(client: Client, method: str, path: str) -> None:
    response = await client.request(method, path, headers={"x-request-id": "request-1"})
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = Problem.model_validate(response.json())
    assert (problem.reason, problem.requestId) == ("not_found", "request-1")


@pytest.mark.parametrize("path", [f"{AUTHENTICATE}/", "/healthy/", "/openapi.json/"])
async def test_a_slash_too_many_is_not_found_and_no_redirect(client: Client, path: str) -> None:
    """A redirect would contain the Host header that the caller sent."""
    response = await client.post(path, headers={"host": "evil.example"})
    assert response.status_code == 404
    assert "location" not in response.headers


@pytest.mark.parametrize("path", ["//v1/authenticate", "/v1//authenticate", "/v1/authenticate;x=1"])
async def test_another_spelling_of_the_path_is_another_path(client: Client, path: str) -> None:
    response = await client.post(f"http://service{path}", json={"credential": "x"})
    assert response.status_code == 404


async def test_a_query_changes_nothing(client: Client) -> None:
    response = await client.post(f"{AUTHENTICATE}?credential=y", json={"credential": "x"})
    assert response.json()["reason"] == "credential_malformed"


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_another_method_of_a_probe_is_not_allowed(client: Client, method: str, path: str) -> None:
    response = await client.request(method, path)
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
    assert Problem.model_validate(response.json()).reason == "method_not_allowed"


async def test_the_description_tells_the_version(client: Client) -> None:
    assert (await client.get("/openapi.json")).json()["info"]["version"] == __version__
