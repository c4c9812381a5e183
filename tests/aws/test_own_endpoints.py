"""The endpoints of the service's own calls, compared with botocore's clients, which find them in another way."""

from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from app.aws.own_endpoints import OwnEndpoint, ServiceName, find_own_endpoint
from app.sts.endpoints import implicit_region
from tests.support.signing import every_endpoint

PARTITIONS = sorted({endpoint.partition for endpoint in every_endpoint()})


@pytest.mark.parametrize(
    ("region", "url", "signing_region"),
    [
        ("us-east-1", "https://iam.amazonaws.com", "us-east-1"),
        ("eu-west-1", "https://iam.amazonaws.com", "us-east-1"),
        ("cn-northwest-1", "https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("us-gov-east-1", "https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
        ("eusc-de-east-1", "https://iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("us-iso-west-1", "https://iam.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
    ],
)
def test_iam_has_one_endpoint_for_all_regions_of_a_partition(region: str, url: str, signing_region: str) -> None:
    assert find_own_endpoint("iam", region) == OwnEndpoint(service="iam", url=url, signing_region=signing_region)


def test_sts_is_asked_in_the_own_region() -> None:
    endpoint = find_own_endpoint("sts", "eu-west-1")
    assert (endpoint.url, endpoint.signing_region) == ("https://sts.eu-west-1.amazonaws.com", "eu-west-1")


def test_the_global_endpoint_of_sts_is_signed_for_its_region() -> None:
    endpoint = find_own_endpoint("sts", "aws-global")
    assert (endpoint.url, endpoint.signing_region) == ("https://sts.amazonaws.com", "us-east-1")


# botocore's clients find no FIPS or dual-stack endpoint in the other partitions.
VARIANTS = [
    *((partition, False, False) for partition in PARTITIONS),
    *((partition, fips, dual) for partition in ("aws", "aws-us-gov") for fips, dual in ((True, False), (False, True))),
]


@pytest.mark.parametrize(("partition", "fips", "dual_stack"), VARIANTS)
@pytest.mark.parametrize("service", ["iam", "sts"])
def test_each_is_the_one_that_a_client_of_the_sdk_takes(
    partition: str,
    service: ServiceName,
    *,
    fips: bool,
    dual_stack: bool,
) -> None:
    region = implicit_region(partition)
    found = find_own_endpoint(service, region, fips=fips, dual_stack=dual_stack)
    config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack)
    create: Any = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x").client
    client: Any = create(service, region_name=region, config=config)
    action = client.list_roles if service == "iam" else client.get_caller_identity
    sent: list[Any] = []

    def stop(request: object, **_: object) -> None:
        sent.append(request)
        raise StopIteration

    client.meta.events.register("before-send", stop)
    with pytest.raises(StopIteration):
        action()
    [request] = sent
    assert request.url == f"{found.url}/"
    assert f"/{found.signing_region}/{service}/aws4_request" in str(request.headers["Authorization"])


def test_a_url_of_the_operators_changes_where_a_call_is_sent_and_not_its_region() -> None:
    endpoint = find_own_endpoint("iam", "eu-west-1", url="https://iam.internal:8443")
    assert (endpoint.url, endpoint.signing_region) == ("https://iam.internal:8443", "us-east-1")


def test_files_of_the_home_directory_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / ".aws/models"
    models.mkdir(parents=True)
    (models / "partitions.json").write_text("{}")
    (tmp_path / ".aws/config").write_text("[default]\nendpoint_url = https://evil.example\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_DATA_PATH", str(models))
    monkeypatch.setattr("botocore.loaders.Loader.CUSTOMER_DATA_PATH", str(models))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / ".aws/config"))
    assert find_own_endpoint("iam", "us-east-1").url == "https://iam.amazonaws.com"
