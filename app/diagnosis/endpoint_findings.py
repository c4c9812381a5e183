"""Judge the answers of the endpoints: which regions the service can serve, and whether this host's clock is right."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from app.core.endpoints import StsEndpoint
from app.diagnosis.endpoint_probe import Probe
from app.diagnosis.finding import Finding, failed, ok, skipped, warning

CLOCK: Final = "clock"
# The service accepts credentials that are dated at most 300 s in the future, and AWS rejects signatures of a clock that is
# more than 300 s wrong. Tokens of two replicas may be 10 s apart.
_MAX_SKEW_SECONDS: Final = 300
_GOOD_SKEW_SECONDS: Final = 10
# More regions than this share one row.
_MAX_ROWS: Final = 4
_NTP: Final = "set this host's clock by NTP (on ECS and EC2: the Amazon Time Sync Service)"


def judge_clock(probes: Iterable[Probe]) -> Finding:
    """Compare this host's clock with the date of the first answer."""
    skew = next((probe.skew for probe in probes if probe.skew is not None), None)
    if skew is None:
        return skipped(CLOCK, "not checked: STS sent no answer with a date")
    seconds = round(abs(skew))
    if seconds <= _GOOD_SKEW_SECONDS:
        return ok(CLOCK, f"within {_GOOD_SKEW_SECONDS} s of STS's clock")
    side = "ahead of" if skew > 0 else "behind"
    found = f"this host's clock is {seconds} s {side} STS's"
    if seconds <= _MAX_SKEW_SECONDS:
        return warning(CLOCK, f"{found}: credentials seem {'older' if skew > 0 else 'newer'} than they are", _NTP)
    effect = (
        "new credentials seem expired, and AWS rejects the service's own calls"
        if skew > 0
        else "new credentials are credential_not_yet_valid, and AWS rejects the service's own calls"
    )
    return failed(CLOCK, f"{found}: {effect}", _NTP)


def judge_regions(
    endpoints: Sequence[StsEndpoint], probes: Mapping[str, Probe], required: Collection[str]
) -> Iterator[Finding]:
    """Judge the STS hosts that a credential may be signed for.

    Args:
        endpoints: the accepted hosts. In each region, the plain regional host comes first.
        probes: the result of each host.
        required: the regions that must work: those of ``KMESH_AWSIAM_REGIONS``, and the service's own.
    """
    regions: dict[str, list[Probe]] = {}
    for endpoint in endpoints:
        regions.setdefault(endpoint.region, []).append(probes[endpoint.host])
    good = {region: hosts for region, hosts in regions.items() if hosts[0].cause is None}
    bad = {region: hosts[0] for region, hosts in regions.items() if hosts[0].cause is not None}
    yield from _good_rows(good)
    needed = {region: probe for region, probe in bad.items() if region in required}
    yield from _bad_rows(needed, failed)
    yield from _bad_rows({region: probe for region, probe in bad.items() if region not in required}, _warn_of_unused)
    for region, hosts in good.items():
        for host in hosts[1:]:
            if host.cause is not None and not host.does_not_resolve:
                yield warning(f"STS {region}", *host.cause)


def _good_rows(regions: Mapping[str, list[Probe]]) -> Iterator[Finding]:
    if len(regions) > _MAX_ROWS:
        count = sum(probe.cause is None for probes in regions.values() for probe in probes)
        yield ok(f"STS, {len(regions)} regions", f"{count} hosts resolve, are trusted and answer")
        return
    for region, hosts in regions.items():
        answering = [host.name for host in hosts if host.cause is None]
        yield ok(f"STS {region}", f"{', '.join(answering)}: resolves, is trusted, answers")


def _bad_rows(regions: Mapping[str, Probe], state: Callable[[str, str, str | None], Finding]) -> Iterator[Finding]:
    causes = {region: probe.cause for region, probe in regions.items() if probe.cause is not None}
    if len(causes) > _MAX_ROWS:
        first = next(iter(causes.values()))
        found = f"no answer from {', '.join(sorted(causes))}; the first: {first.problem}"
        yield state(f"STS, {len(causes)} regions", found, first.remedy)
        return
    for region, cause in causes.items():
        yield state(f"STS {region}", cause.problem, cause.remedy)


def _warn_of_unused(check: str, found: str, remedy: str | None) -> Finding:
    return warning(
        check,
        found,
        f"{remedy}. If no proxy signs for it, list only the regions in use in KMESH_AWSIAM_REGIONS",
    )
