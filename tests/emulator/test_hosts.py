"""The region and partition of every AWS host are known. For any other host the scope of the signature counts."""

import pytest

from app.emulator import Emulator, SessionCredentials, hosts
from app.emulator.hosts import Endpoint
from tests.emulator.conftest import ACCOUNT
from tests.emulator.signing import IDENTITY, presign, sign


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("sts.amazonaws.com", Endpoint("sts", "aws", "us-east-1")),
        ("sts.us-east-1.amazonaws.com", Endpoint("sts", "aws", "us-east-1")),
        ("STS.EU-West-1.amazonaws.com:443", Endpoint("sts", "aws", "eu-west-1")),
        ("sts-fips.us-west-2.amazonaws.com", Endpoint("sts", "aws", "us-west-2")),
        ("sts.eu-central-1.api.aws", Endpoint("sts", "aws", "eu-central-1")),
        ("sts-fips.us-east-2.api.aws", Endpoint("sts", "aws", "us-east-2")),
        ("sts.cn-north-1.amazonaws.com.cn", Endpoint("sts", "aws-cn", "cn-north-1")),
        ("sts.us-gov-west-1.amazonaws.com", Endpoint("sts", "aws-us-gov", "us-gov-west-1")),
        ("sts.eusc-de-east-1.amazonaws.eu", Endpoint("sts", "aws-eusc", "eusc-de-east-1")),
        ("sts.us-iso-east-1.c2s.ic.gov", Endpoint("sts", "aws-iso", "us-iso-east-1")),
        ("iam.amazonaws.com", Endpoint("iam", "aws", "us-east-1")),
        ("iam.cn-north-1.amazonaws.com.cn", Endpoint("iam", "aws-cn", "cn-north-1")),
        ("iam.us-gov.amazonaws.com", Endpoint("iam", "aws-us-gov", "us-gov-west-1")),
    ],
)
def test_host_of_aws_is_known(host: str, endpoint: Endpoint) -> None:
    assert hosts.find_endpoint(host) == endpoint


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1:4566",
        "[::1]:4566",
        "sts-fips.amazonaws.com",
        "sts.aws-global.amazonaws.com",
        "sts.us-east-99.amazonaws.com",
        "sts.us-east-1.amazonaws.com.evil.example",
        "vpce-0a-b.sts.us-east-1.vpce.amazonaws.com",
    ],
)
def test_any_other_host_is_not(host: str) -> None:
    assert hosts.find_endpoint(host) is None


def test_all_partitions_have_sts_hosts() -> None:
    assert {endpoint.partition for endpoint in hosts.sts_hosts().values()} == hosts.partitions()
    assert "aws-global" not in {endpoint.signing_region for endpoint in hosts.sts_hosts().values()}


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-southeast-2"])
def test_loopback_takes_any_region_of_aws(emulator: Emulator, credentials: SessionCredentials, region: str) -> None:
    host = emulator.url.removeprefix("http://")

    assert presign(credentials, host=host, region=region).send(emulator.url).status == 200


def test_loopback_refuses_a_region_that_aws_does_not_have(emulator: Emulator, credentials: SessionCredentials) -> None:
    answer = presign(credentials, host="localhost", region="us-east-99").send(emulator.url)

    assert (answer.code, answer.message) == (
        "SignatureDoesNotMatch",
        "Credential should be scoped to a valid region.",
    )


def test_loopback_refuses_a_service_that_is_neither_sts_nor_iam(
    emulator: Emulator, credentials: SessionCredentials
) -> None:
    answer = presign(credentials, host="localhost", service="s3").send(emulator.url)

    assert answer.message == "Credential should be scoped to correct service: 'sts'."


def test_loopback_takes_the_service_from_the_scope(emulator: Emulator, credentials: SessionCredentials) -> None:
    body = "Action=GetRole&Version=2010-05-08&RoleName=demo-app"

    answer = sign(credentials, host="localhost", service="iam", region="us-east-1", body=body).send(emulator.url)

    assert answer.element("Arn") == f"arn:aws:iam::{ACCOUNT}:role/workloads/demo-app"


def test_iam_host_does_not_know_the_actions_of_sts(emulator: Emulator, credentials: SessionCredentials) -> None:
    message = sign(credentials, host="iam.amazonaws.com", service="iam", region="us-east-1", body=IDENTITY)

    assert message.send(emulator.url).code == "InvalidAction"


def test_unsigned_request_to_loopback_is_told_apart_by_its_version(emulator: Emulator) -> None:
    message = sign(emulator.issue(ACCOUNT, "demo-app"), host="localhost", body="Action=GetRole&Version=2010-05-08")

    message.without_header("authorization").send(emulator.url)

    assert emulator.calls[0].service == "iam"
