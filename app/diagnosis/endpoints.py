"""Check the endpoints of STS and IAM that the service uses, all at the same time, and this host's clock."""

import asyncio
from typing import Final

from app.diagnosis.endpoint_findings import judge_clock, judge_regions
from app.diagnosis.endpoint_probe import IAM_TARGET, STS_TARGET, Probe, probe_endpoint
from app.diagnosis.finding import Finding, failed, ok
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin
from app.settings.environment import Settings

# The accepted hosts are at most about 150. So also if none of them answers, all are asked within 20 s.
_AT_A_TIME: Final = 32


async def check_endpoints(settings: Settings, pool: HttpPool, network: NetworkOptions) -> list[Finding]:
    """Return the findings about the clock, about STS and about IAM."""
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def probe(origin: Origin, host: str, target: str, name: str | None = None) -> Probe:
        async with turns:
            return await probe_endpoint(pool, network, origin, host, target, name=name)

    accepted = [*settings.accepted_endpoints.values()]
    own, iam = settings.own_sts_endpoint, settings.own_iam_endpoint
    url = settings.own_sts_url
    asked_iam = probe(Origin.of(iam.url), Origin.of(iam.url).host, IAM_TARGET, settings.own_iam_url)
    if url is not None:
        # All requests go to one server, whatever host they are signed for.
        sts, iam_probe = await asyncio.gather(probe(Origin.of(url), accepted[0].host, STS_TARGET, url), asked_iam)
        return [judge_clock([sts]), _row("STS", sts), _row("IAM", iam_probe)]
    own_host = Origin.of(own.url).host
    hosts = dict.fromkeys((own_host, *(endpoint.host for endpoint in accepted)))
    iam_probe, *results = await asyncio.gather(
        asked_iam, *(probe(Origin("https", host, 443), host, STS_TARGET) for host in hosts)
    )
    probes = dict(zip(hosts, results, strict=True))
    required = settings.regions | {settings.own_region}
    findings = [judge_clock(probes.values()), *judge_regions(accepted, probes, required)]
    if own_host not in settings.accepted_endpoints:
        findings.append(_row("STS, own calls", probes[own_host]))
    return [*findings, _row("IAM", iam_probe)]


def _row(check: str, probe: Probe) -> Finding:
    if probe.cause is not None:
        return failed(check, *probe.cause)
    way = "answers in plain http" if probe.name.startswith("http:") else "resolves, is trusted, answers"
    return ok(check, f"{probe.name}: {way}")
