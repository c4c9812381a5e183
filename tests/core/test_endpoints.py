import pytest

from app.core.endpoints import AWS_GLOBAL, StsEndpoint, can_be_region, select_endpoints
from tests.support.signing import every_endpoint

GLOBAL = StsEndpoint(host="sts.amazonaws.com", partition="aws", region=AWS_GLOBAL, signing_region="us-east-1")
VIRGINIA = StsEndpoint(
    host="sts.us-east-1.amazonaws.com", partition="aws", region="us-east-1", signing_region="us-east-1"
)
IRELAND = StsEndpoint(
    host="sts.eu-west-1.amazonaws.com", partition="aws", region="eu-west-1", signing_region="eu-west-1"
)
BEIJING = StsEndpoint(
    host="sts.cn-north-1.amazonaws.com.cn", partition="aws-cn", region="cn-north-1", signing_region="cn-north-1"
)
ALL = (GLOBAL, VIRGINIA, IRELAND, BEIJING)


def test_select_endpoints_keeps_one_partition_by_host() -> None:
    assert select_endpoints(ALL, partition="aws") == {each.host: each for each in (GLOBAL, VIRGINIA, IRELAND)}


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        pytest.param(["us-east-1"], [VIRGINIA], id="a-region-is-not-the-global-endpoint-that-signs-like-it"),
        pytest.param([AWS_GLOBAL], [GLOBAL], id="the-global-endpoint-is-a-region-of-its-own"),
        pytest.param({"eu-west-1", AWS_GLOBAL}, [GLOBAL, IRELAND], id="two"),
        pytest.param(["cn-north-1"], [], id="region-of-another-partition"),
        pytest.param(["us-east"], [], id="prefix-of-a-region"),
    ],
)
def test_select_endpoints_narrows_to_the_named_regions(regions: list[str], expected: list[StsEndpoint]) -> None:
    assert list(select_endpoints(ALL, partition="aws", regions=regions).values()) == expected


def test_select_endpoints_finds_nothing_in_an_unknown_partition() -> None:
    assert not select_endpoints(ALL, partition="aws-moon")


def test_select_endpoints_cannot_be_widened_afterwards() -> None:
    selected = select_endpoints(ALL, partition="aws")
    with pytest.raises(TypeError):
        selected["sts.evil.example"] = BEIJING  # type: ignore[index]


def test_partitions_share_no_host() -> None:
    """I1: the host determines the partition, so an ARN of another partition is false."""
    endpoints = every_endpoint()
    assert len({endpoint.host for endpoint in endpoints}) == len(endpoints)


@pytest.mark.parametrize("name", ["a", "us-east-1", "moon-north-9", "a" * 32])
def test_can_be_region_accepts_what_a_host_name_can_hold(name: str) -> None:
    assert can_be_region(name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="nothing"),
        pytest.param("a" * 33, id="33-characters"),
        pytest.param("US-EAST-1", id="capitals"),
        pytest.param("us.east", id="two-labels"),
        pytest.param("us-east-1\n", id="line-break-behind"),
        pytest.param("us-east-\u0661", id="digit-beyond-ascii"),
    ],
)
def test_can_be_region_rejects_what_would_make_another_host(name: str) -> None:
    assert not can_be_region(name)
