from app.adapters.sts_endpoints import implicit_region, load_sts_endpoints
from app.core.endpoints import AWS_GLOBAL, StsEndpoint
from app.emulator import hosts

ENDPOINTS = load_sts_endpoints()
BY_HOST = {endpoint.host: endpoint for endpoint in ENDPOINTS}


def test_every_host_stands_once() -> None:
    assert len(BY_HOST) == len(ENDPOINTS)


def test_hosts_are_those_that_the_emulator_generates_for_itself() -> None:
    """Two programs written apart, over the same data of botocore's."""
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
    """`aws-cn-global` and its kin would resolve to hosts that do not exist."""
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
