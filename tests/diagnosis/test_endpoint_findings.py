"""What the answers of the endpoints say about the clock and about the regions."""

import pytest

from app.core.endpoints import StsEndpoint, select_endpoints
from app.diagnosis.endpoint_findings import judge_clock, judge_regions
from app.diagnosis.endpoint_probe import Probe
from app.diagnosis.finding import Finding
from app.local.causes import Cause
from app.sts.endpoints import load_sts_endpoints

REGIONS = ("eu-west-1", "eu-central-1")


@pytest.mark.parametrize(
    ("skew", "state"),
    [
        (0.4, "ok"),
        (-10.4, "ok"),
        (11, "warning"),
        (-300, "warning"),
        (301, "failed"),
        (-5000, "failed"),
        (None, "skipped"),
    ],
)
def test_the_clock_is_judged_by_its_distance_to_stss(skew: float | None, state: str) -> None:
    assert judge_clock([Probe(name="a"), Probe(name="b", skew=skew)]).state == state


def test_the_side_of_a_wrong_clock_is_named_with_the_effect() -> None:
    assert "301 s ahead of STS's: new credentials seem expired" in judge_clock([Probe(name="a", skew=301)]).found
    assert "credential_not_yet_valid" in judge_clock([Probe(name="a", skew=-400)]).found


def judge(
    bad: dict[str, Probe], regions: tuple[str, ...] = REGIONS, required: tuple[str, ...] = REGIONS
) -> list[Finding]:
    accepted = [*select_endpoints(load_sts_endpoints(), partition="aws", regions=regions).values()]
    return [*judge_regions(accepted, probes(accepted) | bad, required)]


def probes(endpoints: list[StsEndpoint]) -> dict[str, Probe]:
    return {endpoint.host: Probe(name=endpoint.host) for endpoint in endpoints}


def down(host: str, *, unknown: bool = False) -> dict[str, Probe]:
    return {host: Probe(name=host, cause=Cause(f"{host} is down", "look there"), does_not_resolve=unknown)}


def test_a_region_is_fine_although_a_name_of_it_does_not_exist() -> None:
    rows = {row.check: row for row in judge(down("sts-fips.eu-west-1.amazonaws.com", unknown=True))}
    assert {check: row.state.value for check, row in rows.items()} == {"STS eu-west-1": "ok", "STS eu-central-1": "ok"}
    assert "sts.eu-west-1.amazonaws.com" in rows["STS eu-west-1"].found
    assert "sts-fips.eu-west-1.amazonaws.com" not in rows["STS eu-west-1"].found


def test_a_further_name_that_exists_and_fails_is_a_warning() -> None:
    *_, last = judge(down("sts.eu-west-1.api.aws"))
    assert (last.check, last.state, last.remedy) == ("STS eu-west-1", "warning", "look there")


def test_a_region_that_is_needed_and_fails_is_a_failure() -> None:
    good, bad = judge(down("sts.eu-central-1.amazonaws.com", unknown=True))
    assert (good.check, bad.check, bad.state) == ("STS eu-west-1", "STS eu-central-1", "failed")


def test_a_region_that_nobody_named_is_a_warning_with_the_setting() -> None:
    *_, bad = judge(down("sts.af-south-1.amazonaws.com"), regions=(), required=("eu-west-1",))
    assert (bad.check, bad.state) == ("STS af-south-1", "warning")
    assert "KMESH_AWSIAM_REGIONS" in (bad.remedy or "")


def test_many_regions_share_a_row() -> None:
    accepted = [*select_endpoints(load_sts_endpoints(), partition="aws").values()]
    everything = {key: probe for endpoint in accepted for key, probe in down(endpoint.host).items()}
    assert [finding.state for finding in judge({}, regions=())] == ["ok"]
    needed, others = judge(everything, regions=(), required=("eu-west-1",))
    assert (needed.state, others.state) == ("failed", "warning")
    assert "af-south-1" in others.found
