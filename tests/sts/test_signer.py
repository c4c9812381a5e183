"""The signer of a proxy: the service accepts what `presign` signs, and the emulator verifies it."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.credentials import ReadOnlyCredentials

from app.core.credential import encode_jwt_clothes, encode_native
from app.core.request_policy import require_fresh
from app.sts.signer import MAX_EXPIRES, SigningError, ambient_credentials, find_endpoint, presign
from tests.support.signing import ACCESS_KEY_ID, AUDIENCE, SECRET_KEY, TOKEN, every_endpoint, judge, make_policy
from tests.support.world import ACCOUNT, Aws

KEYS = ReadOnlyCredentials(ACCESS_KEY_ID, SECRET_KEY, TOKEN)
REGIONS = sorted({(endpoint.partition, endpoint.region) for endpoint in every_endpoint()})


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_presign_makes_what_validate_accepts_in_every_region(partition: str, region: str) -> None:
    endpoint = find_endpoint(every_endpoint(), region)
    request = judge(encode_native(presign(KEYS, endpoint, audience=AUDIENCE)), make_policy(partition=partition))
    assert require_fresh(request, datetime.now(UTC)).request.endpoint == endpoint


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "sts.us-east-1.amazonaws.com"),
        ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
        ("aws-global", "sts.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
    ],
)
def test_find_endpoint_gives_the_plain_host(region: str, host: str) -> None:
    assert find_endpoint(every_endpoint(), region).host == host


@pytest.mark.parametrize("region", ["", "us-east-9", "US-EAST-1", "us-east-1.evil.example/"])
def test_find_endpoint_refuses_what_is_no_region(region: str) -> None:
    with pytest.raises(SigningError, match="no region of AWS"):
        find_endpoint(every_endpoint(), region)


def test_presign_leaves_the_audience_out_of_the_url() -> None:
    url = presign(KEYS, find_endpoint(every_endpoint(), "us-east-1"), audience="secret-audience", expires=60)
    assert "secret-audience" not in url
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["X-Amz-SignedHeaders"] == "host;x-kuma-audience"
    assert query["X-Amz-Expires"] == "60"


def test_presign_lives_as_long_as_aws_allows() -> None:
    assert MAX_EXPIRES == 900


def test_both_dresses_of_one_url_are_read_as_the_same_request() -> None:
    url = presign(KEYS, find_endpoint(every_endpoint(), "us-east-1"), audience=AUDIENCE)
    native, jwt = judge(encode_native(url)), judge(encode_jwt_clothes(url))
    assert (native.target, native.headers) == (jwt.target, jwt.headers)


def test_ambient_credentials_are_those_of_the_task(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", aws.emulator.credentials_uri(ACCOUNT, "demo-app"))
    session = aws.emulator.issue(ACCOUNT, "demo-app")
    assert ambient_credentials() == session.frozen()


def test_ambient_credentials_are_missed_with_a_remedy() -> None:
    with pytest.raises(SigningError, match="give the task a task role"):
        ambient_credentials()


def test_a_users_long_term_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE01")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with pytest.raises(SigningError, match="long-term keys of an IAM user"):
        ambient_credentials()


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SigningError, match=r"could not be fetched: .*nobody"):
        ambient_credentials()


def test_an_endpoint_of_credentials_that_the_sdk_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://credentials.example/role")
    with pytest.raises(SigningError, match="could not be fetched"):
        ambient_credentials()
