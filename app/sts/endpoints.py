"""Generate every existing STS host from botocore's own partition and endpoint data (invariants I1, I8).

botocore's resolver inserts any text into a template. If the region is ``us-east-1.evil.com/``, the resolver returns a host
of somebody else. So the service gives the resolver only the regions of ``partitions.json`` and the newer regions that the
operator names, whose names must match a grammar. The service does this once, at its start. Later it only looks up the host
of a client's request in the resulting table.
"""

import functools
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from botocore.endpoint_provider import EndpointProvider

from app.aws.sdk_data import load_partitions, new_endpoint_provider
from app.core.endpoints import AWS_GLOBAL, StsEndpoint, can_be_region

# Only the partition aws has this endpoint. Requests to it are always signed for us-east-1.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_region-endpoints.html
_GLOBAL_ENDPOINT: Final = StsEndpoint(
    host="sts.amazonaws.com", partition="aws", region=AWS_GLOBAL, signing_region="us-east-1"
)


@functools.cache
def load_sts_endpoints() -> tuple[StsEndpoint, ...]:
    """Generate the endpoints of all partitions: regional, FIPS, dual-stack, FIPS with dual-stack, and global.

    This function takes about 0.2 s and reads only files. Its result is cached.
    """
    provider = new_endpoint_provider("sts")
    endpoints = {_GLOBAL_ENDPOINT.host: _GLOBAL_ENDPOINT}
    for partition in load_partitions():
        for region in partition["regions"]:
            # Exclude pseudo-regions such as aws-global: the resolver would return hosts that do not exist.
            if not re.match(partition["regionRegex"], region):
                continue
            for endpoint in _regional(provider, partition["id"], region):
                # In GovCloud the FIPS endpoint has the same host as the plain endpoint, so both entries are equal.
                endpoints.setdefault(endpoint.host, endpoint)
    return tuple(endpoints.values())


@functools.cache
def make_sts_endpoints(region: str) -> tuple[StsEndpoint, ...]:
    """Generate the endpoints of a region from the templates of its partition. The region may be unknown to botocore.

    Args:
        region: a text from the operator, never from a client.

    Raises:
        ValueError: no partition has a region with such a name.
    """
    partition = partition_of(region)
    if partition is None:
        raise ValueError(f"no partition of AWS has a region with the name {region!r}")
    return tuple(_regional(new_endpoint_provider("sts"), partition, region))


def partition_of(region: str) -> str | None:
    """Return the partition whose pattern a region's name matches; None if there is no such partition.

    botocore's own check is weaker: it matches only the beginning of the name and allows Unicode letters. So it accepts
    ``eu-é-1``, ``eu-evil_x-1`` and a name with a newline at the end.
    """
    if not can_be_region(region):
        return None
    return next((str(p["id"]) for p in load_partitions() if re.fullmatch(p["regionRegex"], region, re.ASCII)), None)


def implicit_region(partition: str) -> str:
    """Return the region that botocore uses for a partition's global services: ``us-east-1`` for ``aws``."""
    return next(str(p["outputs"]["implicitGlobalRegion"]) for p in load_partitions() if p["id"] == partition)


def _regional(provider: EndpointProvider, partition: str, region: str) -> Iterator[StsEndpoint]:
    for host in _hosts(provider, region):
        yield StsEndpoint(host=host, partition=partition, region=region, signing_region=region)


def _hosts(provider: EndpointProvider, region: str) -> list[str]:
    return [
        host
        for fips in (False, True)
        for dual_stack in (False, True)
        if (
            host := urlsplit(
                provider.resolve_endpoint(
                    Region=region, UseFIPS=fips, UseDualStack=dual_stack, UseGlobalEndpoint=False
                ).url
            ).hostname
        )
    ]
