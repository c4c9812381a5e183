import pytest

from app.core.endpoints import AWS_GLOBAL, StsEndpoint
from app.emulator import hosts
from app.sts.endpoints import implicit_region, load_sts_endpoints, make_sts_endpoints, partition_of

ENDPOINTS = load_sts_endpoints()
BY_HOST = {endpoint.host: endpoint for endpoint in ENDPOINTS}


def test_every_host_stands_once() -> None:
    assert len(BY_HOST) == len(ENDPOINTS)


def test_hosts_are_those_that_the_emulator_generates_for_itself() -> None:
    """Two independent programs use the same data of botocore."""
    theirs = {host: (endpoint.partition, endpoint.signing_region) for host, endpoint in hosts.sts_hosts().items()}
    assert {host: (endpoint.partition, endpoint.signing_region) for host, endpoint in BY_HOST.items()} == theirs


def test_a_region_has_its_plain_fips_and_dual_stack_hosts() -> None:
    """https://docs.aws.amazon.com/general/latest/gr/sts.html."""
    found = {endpoint.host for endpoint in ENDPOINTS if endpoint.region == "us-east-1"}
    assert found == {
        "sts.us-east-1.amazonaws.com",
        "sts-fips.us-east-1.amazonaws.com",
        "sts.us-east-1.api.aws",
        "sts-fips.us-east-1.api.aws",
    }


def test_the_global_endpoint_is_signed_for_us_east_1() -> None:
    assert BY_HOST["sts.amazonaws.com"] == StsEndpoint(
        host="sts.amazonaws.com", partition="aws", region=AWS_GLOBAL, signing_region="us-east-1"
    )


def test_no_other_pseudo_region_is_taken_for_one() -> None:
    """`aws-cn-global` and similar names would resolve to hosts that do not exist."""
    assert [endpoint.region for endpoint in ENDPOINTS if "global" in endpoint.region] == [AWS_GLOBAL]


def test_hosts_are_lower_case_names_alone() -> None:
    assert all(host == host.lower() and not set(host) & set(":/@?# ") for host in BY_HOST)


def test_another_partition_has_its_own_suffix() -> None:
    assert BY_HOST["sts.cn-north-1.amazonaws.com.cn"].partition == "aws-cn"
    assert "sts.cn-north-1.amazonaws.com" not in BY_HOST
    assert BY_HOST["sts.us-gov-west-1.amazonaws.com"].partition == "aws-us-gov"


def test_the_endpoints_are_generated_once() -> None:
    assert load_sts_endpoints() is ENDPOINTS


def test_implicit_region_is_one_of_the_partition() -> None:
    for partition in {endpoint.partition for endpoint in ENDPOINTS}:
        regions = {endpoint.region for endpoint in ENDPOINTS if endpoint.partition == partition}
        assert implicit_region(partition) in regions
    assert implicit_region("aws") == "us-east-1"


@pytest.mark.parametrize("region", sorted({endpoint.region for endpoint in ENDPOINTS} - {AWS_GLOBAL}))
def test_a_region_that_is_made_has_the_endpoints_that_a_known_one_has(region: str) -> None:
    """One template for both: the endpoints of a newer region are those that botocore will have for it."""
    known = {endpoint for endpoint in ENDPOINTS if endpoint.region == region}
    assert known <= set(make_sts_endpoints(region))
    assert {endpoint.host for endpoint in make_sts_endpoints(region)} == {endpoint.host for endpoint in known}
    assert partition_of(region) == next(iter(known)).partition


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-north-7", "aws"),
        ("cn-south-9", "aws-cn"),
        ("us-gov-north-9", "aws-us-gov"),
        ("eusc-de-west-9", "aws-eusc"),
        ("us-iso-north-9", "aws-iso"),
    ],
)
def test_a_newer_region_is_of_the_partition_whose_pattern_it_matches(region: str, partition: str) -> None:
    made = make_sts_endpoints(region)
    known = next(
        endpoint for endpoint in ENDPOINTS if endpoint.partition == partition and AWS_GLOBAL not in endpoint.region
    )
    assert {(endpoint.partition, endpoint.region, endpoint.signing_region) for endpoint in made} == {
        (partition, region, region)
    }
    assert made[0].host == known.host.replace(known.region, region)
    assert not {endpoint.host for endpoint in made} & BY_HOST.keys()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "eu-é-1",
        "eu-evil_x-1",
        "eu-north-7\n",
        "eu-north-７",  # noqa: RUF001 - a digit of another script
        "EU-north-7",
        "eu-north-7.evil.example",
        "eu-north-7/",
        "x-eu-north-7",
        "eu-north-7-x",
        "aws-global",
        "aws-cn-global",
        "mars-north-1",
        f"eu-{'x' * 28}-1",
    ],
)
def test_what_botocores_own_matching_would_let_through_is_the_name_of_no_region(name: str) -> None:
    assert partition_of(name) is None
    with pytest.raises(ValueError, match="no partition"):
        make_sts_endpoints(name)
