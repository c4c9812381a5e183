"""``credential`` in a pod on EKS: the role is found by IRSA or by Pod Identity, and the service accepts the credential."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import jwt
import pytest

from tests.support.process import Done, Served, run
from tests.support.signing import AUDIENCE
from tests.support.world import ACCOUNT, DATAPLANE, Aws

SERVICE_ACCOUNT: Final = "system:serviceaccount:payments:demo-app"


def service_account_token(subject: str = SERVICE_ACCOUNT, lifetime: timedelta = timedelta(hours=1)) -> str:
    """Return a token as the cluster projects it into a pod."""
    claims = {"sub": subject, "aud": "sts.amazonaws.com", "exp": datetime.now(UTC) + lifetime}
    return jwt.encode(claims, "the key of an invented cluster..", algorithm="HS256")


def pod(aws: Aws, **variables: str) -> Done:
    return run(
        "credential", "--audience", AUDIENCE, AWS_REGION="us-east-1", AWS_ENDPOINT_URL_STS=aws.emulator.url, **variables
    )


def irsa(aws: Aws, folder: Path, role: str, token: str) -> Done:
    """Make a credential with the variables that EKS sets for a service account with a role."""
    file = folder / "service-account-token"
    file.write_text(token)
    return pod(aws, AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE=str(file))


def presented(made: Done, live: Served) -> Done:
    assert (made.status, made.err) == (0, "")
    return run("authenticate", stdin=made.out, KMESH_AWSIAM_LISTEN=live.address)


def test_the_role_of_a_service_account_is_accepted(live: Served, aws: Aws, tmp_path: Path) -> None:
    role = aws.add_named_role(ACCOUNT, "pod", tags=DATAPLANE, trusted=(SERVICE_ACCOUNT,))
    done = presented(irsa(aws, tmp_path, role.arn, service_account_token()), live)
    assert done.out.startswith("allowed\n"), done.err
    assert f"{role.name} ({role.role_id}) of account {ACCOUNT}" in done.out


def test_pod_identity_is_found_as_the_role_of_a_task_is(live: Served, aws: Aws, tmp_path: Path) -> None:
    role = aws.add_role()
    file = tmp_path / "eks-pod-identity-token"
    file.write_text(service_account_token())
    uri = aws.emulator.credentials_uri(ACCOUNT, role.name)
    made = pod(aws, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file))
    assert presented(made, live).out.startswith("allowed\n")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(service_account_token("system:serviceaccount:payments:another"), id="another-service-account"),
        pytest.param(service_account_token(lifetime=timedelta(hours=-1)), id="expired"),
        pytest.param("no token", id="no-token"),
    ],
)
def test_a_pod_that_may_not_take_the_role_gets_no_credential(aws: Aws, tmp_path: Path, token: str) -> None:
    role = aws.add_named_role(ACCOUNT, "pod", tags=DATAPLANE, trusted=(SERVICE_ACCOUNT,))
    done = irsa(aws, tmp_path, role.arn, token)
    assert done.status == 1
    assert done.out == ""
    assert "AssumeRoleWithWebIdentity" in done.err
