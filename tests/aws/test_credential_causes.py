"""Why AWS credentials cannot be used, from the errors that the SDK's chain of providers really raises."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    MetadataRetrievalError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
)
from botocore.utils import ContainerMetadataFetcher

from app.aws.credential_causes import CredentialProblem, explain_search
from app.aws.sdk_data import new_session

SECRET_PATH = "/v2/credentials/secret-canary"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the pauses of 1 s between the SDK's three requests to a container endpoint."""
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)


def problem_of_the_chain() -> CredentialProblem:
    with pytest.raises(Exception) as raised:  # noqa: PT011, PT012 - either step raises any exception
        credentials = new_session().get_credentials()
        assert credentials is not None
        credentials.get_frozen_credentials()
    problem = explain_search(raised.value)
    assert "canary" not in str(problem.cause)
    assert "Error" not in str(problem.cause)
    return problem


@pytest.fixture
def closed() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_an_endpoint_that_is_not_there(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{closed}{SECRET_PATH}")
    problem = problem_of_the_chain()
    assert problem.fault == "unreachable"
    assert f"the endpoint of the credentials (127.0.0.1:{closed}) cannot be reached" in problem.cause.problem
    assert "AWS_CONTAINER_CREDENTIALS_*" in problem.cause.remedy


def test_an_endpoint_that_the_sdk_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://credentials.example{SECRET_PATH}")
    problem = problem_of_the_chain()
    assert (problem.fault, "FULL_URI" in problem.cause.problem) == ("refused", True)
    assert "loopback" in problem.cause.remedy


def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    problem = problem_of_the_chain()
    assert (problem.fault, "no profile nobody" in problem.cause.problem) == ("missing", True)


def test_half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    problem = problem_of_the_chain()
    assert (problem.fault, "only a part of a key" in problem.cause.problem) == ("missing", True)


def test_a_program_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    problem = problem_of_the_chain()
    assert (problem.fault, "(custom-process)" in problem.cause.problem) == ("failed", True)


@pytest.mark.parametrize(
    ("error", "fault", "words"),
    [
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "canary"}}, "AssumeRoleWithWebIdentity"),
            "refused",
            "AssumeRoleWithWebIdentity answered AccessDenied",
        ),
        (ClientError({"Error": {"Code": "a\nb canary"}}, "AssumeRole"), "refused", "AssumeRole answered abcanary"),
        (
            MetadataRetrievalError(error_msg="Received non 200 response 404 from container metadata: canary"),
            "refused",
            "answers 404",
        ),
        (
            ConnectTimeoutError(endpoint_url="http://169.254.170.2/canary"),
            "unreachable",
            "(169.254.170.2) gives no answer",
        ),
        (ProxyConnectionError(proxy_url="http://user:canary@proxy:3128"), "unreachable", "the proxy (proxy:3128) on"),
        (
            SSLError(endpoint_url="https://sts.example/canary", error=OSError("canary")),
            "unreachable",
            "is not trusted; set AWS_CA",
        ),
        (
            RuntimeError("the refreshed credentials are still expired."),
            "expired",
            "have expired already; if this host's",
        ),
        (PartialCredentialsError(provider="env", cred_var="canary"), "missing", "a part of a key"),
        (CredentialRetrievalError(provider="sso", error_msg="canary"), "failed", "from its source (sso)"),
        (KeyError("canary"), "failed", "from their source"),
    ],
)
def test_an_error_has_a_fault_and_words(error: Exception, fault: str, words: str) -> None:
    problem = explain_search(error)
    assert (problem.fault, words in str(problem.cause)) == (fault, True), problem
    assert "Error" not in str(problem.cause)
    if "abcanary" not in words:
        assert "canary" not in str(problem.cause)
