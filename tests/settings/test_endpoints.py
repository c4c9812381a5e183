"""The settings of destinations: partitions, regions, endpoints, certificates, proxies."""

from pathlib import Path

import pytest

from app.core.endpoints import AWS_GLOBAL
from app.settings.loading import SettingsError
from app.settings.warnings import find_warnings
from tests.conftest import LoadSettings
from tests.support.keys import KeyFiles
from tests.support.signing import every_endpoint
from tests.support.tls import make_certificate
from tests.support.world import NEW_GENERATION

PARTITIONS = sorted({endpoint.partition for endpoint in every_endpoint()})


def test_partitions_are_those_of_the_contract() -> None:
    expected = ["aws", "aws-cn", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-us-gov"]
    assert expected == PARTITIONS


@pytest.mark.parametrize("partition", PARTITIONS)
def test_accepted_endpoints_are_those_of_the_partition_alone(settings_of: LoadSettings, partition: str) -> None:
    settings = settings_of(**NEW_GENERATION, KMESH_AWSIAM_PARTITION=partition)
    accepted = settings.accepted_endpoints
    assert {endpoint.partition for endpoint in accepted.values()} == {partition}
    assert set(accepted) == {endpoint.host for endpoint in every_endpoint() if endpoint.partition == partition}
    assert settings.own_region in {endpoint.region for endpoint in accepted.values()}


def test_accepted_endpoints_hold_the_global_one_of_the_commercial_partition(settings_of: LoadSettings) -> None:
    assert "sts.amazonaws.com" in settings_of(**NEW_GENERATION).accepted_endpoints


def test_accepted_endpoints_are_narrowed_to_the_regions(settings_of: LoadSettings) -> None:
    settings = settings_of(**NEW_GENERATION, KMESH_AWSIAM_REGIONS="eu-west-1")
    assert "sts.eu-west-1.amazonaws.com" in settings.accepted_endpoints
    assert {endpoint.region for endpoint in settings.accepted_endpoints.values()} == {"eu-west-1"}


def test_accepted_endpoints_hold_the_global_one_only_if_it_is_among_the_regions(settings_of: LoadSettings) -> None:
    settings = settings_of(**NEW_GENERATION, KMESH_AWSIAM_REGIONS=AWS_GLOBAL)
    assert set(settings.accepted_endpoints) == {"sts.amazonaws.com"}


NEWER = {"KMESH_AWSIAM_EXTRA_REGIONS": "eu-north-7"}


def test_accepted_endpoints_hold_those_of_a_region_that_botocore_does_not_know(settings_of: LoadSettings) -> None:
    without = set(settings_of(**NEW_GENERATION).accepted_endpoints)
    accepted = settings_of(**NEW_GENERATION, **NEWER, AWS_REGION="eu-north-7").accepted_endpoints
    assert set(accepted) - without == {
        "sts.eu-north-7.amazonaws.com",
        "sts-fips.eu-north-7.amazonaws.com",
        "sts.eu-north-7.api.aws",
        "sts-fips.eu-north-7.api.aws",
    }
    assert accepted["sts.eu-north-7.amazonaws.com"].signing_region == "eu-north-7"


def test_a_newer_region_of_another_partition_has_its_suffix(settings_of: LoadSettings) -> None:
    variables = {"KMESH_AWSIAM_PARTITION": "aws-cn", "KMESH_AWSIAM_EXTRA_REGIONS": "cn-south-9"}
    settings = settings_of(**NEW_GENERATION, **variables, AWS_REGION="cn-south-9")
    assert settings.own_region == "cn-south-9"
    assert "sts.cn-south-9.amazonaws.com.cn" in settings.accepted_endpoints


def test_a_list_of_regions_must_hold_a_newer_one_as_well(settings_of: LoadSettings) -> None:
    """Otherwise it would be unclear whether the region is accepted."""
    with pytest.raises(SettingsError) as raised:
        settings_of(**NEW_GENERATION, **NEWER, KMESH_AWSIAM_REGIONS="eu-west-1")
    [problem] = raised.value.problems
    assert problem.variable == "KMESH_AWSIAM_EXTRA_REGIONS"
    assert "KMESH_AWSIAM_REGIONS is set and lacks eu-north-7" in problem.remedy
    settings = settings_of(**NEW_GENERATION, **NEWER, KMESH_AWSIAM_REGIONS="eu-west-1,eu-north-7")
    assert {endpoint.region for endpoint in settings.accepted_endpoints.values()} == {"eu-west-1", "eu-north-7"}


@pytest.mark.parametrize("variable", ["AWS_REGION", "KMESH_AWSIAM_REGIONS"])
def test_a_region_that_is_not_known_names_the_way_out(settings_of: LoadSettings, variable: str) -> None:
    with pytest.raises(SettingsError, match="KMESH_AWSIAM_EXTRA_REGIONS"):
        settings_of(**NEW_GENERATION, **{variable: "eu-north-7"})


def test_warnings_tell_of_a_newer_region_that_botocore_knows_by_now(settings_of: LoadSettings) -> None:
    variables = {"KMESH_AWSIAM_AUDIENCE": "prod", "KMESH_AWSIAM_EXTRA_REGIONS": "eu-north-7,eu-north-1"}
    settings = settings_of(**NEW_GENERATION, **variables)
    [warning] = find_warnings(settings)
    assert warning.startswith("KMESH_AWSIAM_EXTRA_REGIONS")
    assert warning.endswith("eu-north-1")
    assert "sts.eu-north-7.amazonaws.com" in settings.accepted_endpoints


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({}, "us-east-1"),
        ({"KMESH_AWSIAM_PARTITION": "aws-cn"}, "cn-northwest-1"),
    ],
    ids=["AWS_REGION", "AWS_DEFAULT_REGION", "neither", "neither-in-another-partition"],
)
def test_own_region_is_the_sdks_else_the_partitions(
    settings_of: LoadSettings, variables: dict[str, str], region: str
) -> None:
    assert settings_of(**NEW_GENERATION, **variables).own_region == region


@pytest.mark.parametrize(
    ("variables", "sts", "iam"),
    [
        ({}, None, None),
        ({"AWS_ENDPOINT_URL_STS": "https://sts.internal"}, "https://sts.internal", None),
        ({"AWS_ENDPOINT_URL_IAM": "https://iam.internal"}, None, "https://iam.internal"),
        ({"AWS_ENDPOINT_URL": "https://aws.internal"}, "https://aws.internal", "https://aws.internal"),
        (
            {"AWS_ENDPOINT_URL": "https://aws.internal", "AWS_ENDPOINT_URL_STS": "https://sts.internal"},
            "https://sts.internal",
            "https://aws.internal",
        ),
        ({"AWS_ENDPOINT_URL": "https://aws.internal", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None, None),
    ],
    ids=["none", "sts", "iam", "both", "the-specific-one-wins", "ignored"],
)
def test_own_urls_follow_the_sdks_rules(
    settings_of: LoadSettings, variables: dict[str, str], sts: str | None, iam: str | None
) -> None:
    """https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html."""
    settings = settings_of(**NEW_GENERATION, **variables)
    assert (settings.own_sts_url, settings.own_iam_url) == (sts, iam)


PLAIN = "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"AWS_ENDPOINT_URL": PLAIN}, {"AWS_ENDPOINT_URL": "STS and IAM"}),
        ({"AWS_ENDPOINT_URL_STS": PLAIN}, {"AWS_ENDPOINT_URL_STS": "STS"}),
        ({"AWS_ENDPOINT_URL_IAM": PLAIN}, {"AWS_ENDPOINT_URL_IAM": "IAM"}),
        ({"AWS_ENDPOINT_URL_STS": "https://127.0.0.1:4566"}, {}),
        ({"AWS_ENDPOINT_URL": PLAIN, "AWS_ENDPOINT_URL_STS": "https://sts.internal"}, {"AWS_ENDPOINT_URL": "IAM"}),
        ({"AWS_ENDPOINT_URL": PLAIN, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {}),
    ],
    ids=["both", "sts", "iam", "https", "the-specific-one-wins", "ignored"],
)
def test_plain_http_is_warned_about_since_whoever_listens_there_is_aws(
    settings_of: LoadSettings, variables: dict[str, str], told: dict[str, str]
) -> None:
    settings = settings_of(**NEW_GENERATION, KMESH_AWSIAM_AUDIENCE="prod", **variables)
    assert [warning.partition(" in plain http")[0] for warning in find_warnings(settings)] == [
        f"{variable} sends requests to {upstreams}" for variable, upstreams in told.items()
    ]


@pytest.mark.parametrize(
    ("variables", "sts", "iam"),
    [
        ({}, "https://sts.eu-west-1.amazonaws.com", "https://iam.amazonaws.com"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true"},
            "https://sts-fips.eu-west-1.amazonaws.com",
            "https://iam-fips.amazonaws.com",
        ),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://sts.eu-west-1.api.aws", "https://iam.global.api.aws"),
        ({"AWS_ENDPOINT_URL": "https://aws.internal"}, "https://aws.internal", "https://aws.internal"),
    ],
    ids=["regional", "fips", "dual-stack", "url"],
)
def test_own_endpoints_are_those_of_the_own_region_and_of_iam_in_the_partition(
    settings_of: LoadSettings, variables: dict[str, str], sts: str, iam: str
) -> None:
    settings = settings_of(**NEW_GENERATION, AWS_REGION="eu-west-1", **variables)
    assert (settings.own_sts_endpoint.url, settings.own_iam_endpoint.url) == (sts, iam)
    assert settings.own_sts_endpoint.signing_region == "eu-west-1"
    assert settings.own_iam_endpoint.signing_region == "us-east-1"


def test_ca_bundle_is_a_file_of_certificates(settings_of: LoadSettings, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    assert settings_of(**NEW_GENERATION, AWS_CA_BUNDLE=str(certificate.cert)).ca_bundle == str(certificate.cert)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_warnings_tell_of_a_proxy_that_is_ignored_without_repeating_it(settings_of: LoadSettings, name: str) -> None:
    settings = settings_of(**NEW_GENERATION, KMESH_AWSIAM_AUDIENCE="prod", **{name: "http://user:canary@proxy:3128"})
    [warning] = find_warnings(settings)
    assert warning.startswith(f"{name} is ignored")
    assert "KMESH_AWSIAM_HTTPS_PROXY" in warning
    assert "canary" not in warning
    assert settings.https_proxy is None


def test_warnings_tell_of_the_default_audience(settings_of: LoadSettings) -> None:
    [warning] = find_warnings(settings_of(**NEW_GENERATION))
    assert warning.startswith("KMESH_AWSIAM_AUDIENCE is the default")


def test_warnings_tell_of_replayable_credentials(settings_of: LoadSettings) -> None:
    variables = {"KMESH_AWSIAM_AUDIENCE": "prod", "KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS": "true"}
    [warning] = find_warnings(settings_of(**NEW_GENERATION, **variables))
    assert warning.startswith("KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS is on")


def test_a_careful_configuration_has_no_warnings(settings_of: LoadSettings) -> None:
    assert list(find_warnings(settings_of(**NEW_GENERATION, KMESH_AWSIAM_AUDIENCE="prod"))) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE": "aws-iam"},
            "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE is aws-iam, and Kuma 3.0 has no ZoneIngress",
        ),
        (
            {"KUMA_DP_SERVER_AUTH_TYPE": "aws-iam", "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH": "true"},
            "KUMA_DP_SERVER_AUTH_TYPE",
        ),
    ],
)
def test_warnings_tell_what_kuma_3_does_not_have(
    settings_of: LoadSettings, variables: dict[str, str], words: str
) -> None:
    dataplanes = {key: value for key, value in NEW_GENERATION.items() if "ZONE_PROXY" not in key}
    given = {**dataplanes, "KMESH_AWSIAM_AUDIENCE": "prod", **variables}
    [warning] = find_warnings(settings_of(**given, KMESH_AWSIAM_KUMA_VERSION="3.0"))
    assert warning.startswith(words)
    assert list(find_warnings(settings_of(**given, KMESH_AWSIAM_KUMA_VERSION="2.14"))) == []


def test_warnings_tell_that_kuma_3_accepts_no_zone_tokens(settings_of: LoadSettings, tmp_path: Path) -> None:
    keys = KeyFiles.make(tmp_path)
    dataplanes = {key: value for key, value in NEW_GENERATION.items() if "ZONE_PROXY" not in key}
    given = {**dataplanes, **keys.settings(), "KMESH_AWSIAM_AUDIENCE": "prod", "KMESH_AWSIAM_KUMA_VERSION": "3.0"}
    warnings = [warning.partition(" ")[0] for warning in find_warnings(settings_of(**given))]
    assert warnings == ["KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG", "KMESH_AWSIAM_ZONE_KEYS_FILE"]
    tagged = {**given, "KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "true"}
    del tagged["KMESH_AWSIAM_ZONE_KEYS_FILE"]
    assert list(find_warnings(settings_of(**tagged))) == []
