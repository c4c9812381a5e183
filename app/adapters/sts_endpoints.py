"""Every STS host that exists, out of botocore's own partition and endpoint data (invariants I1, I8).

The resolver is a template: an unknown region resolves happily, and ``us-east-1.evil.com/`` to another host. So it is fed
with the regions of ``partitions.json`` alone, once at start, and what a client says is looked up in the outcome.
"""

import functools
import re
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader

from app.core.endpoints import AWS_GLOBAL, StsEndpoint

# Commercial only; signed as us-east-1 since ever.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_region-endpoints.html
_GLOBAL_ENDPOINT: Final = StsEndpoint(
    host="sts.amazonaws.com", partition="aws", region=AWS_GLOBAL, signing_region="us-east-1"
)


@functools.cache
def load_sts_endpoints() -> tuple[StsEndpoint, ...]:
    """Generate the endpoints of all partitions: regional, FIPS, dual-stack and both, and the global one.

    It costs about 0.2 s and reads files alone; call it once.
    """
    loader = Loader()
    partitions: dict[str, Any] = loader.load_data("partitions")
    provider = EndpointProvider(loader.load_service_model("sts", "endpoint-rule-set-1"), partitions)
    endpoints = {_GLOBAL_ENDPOINT.host: _GLOBAL_ENDPOINT}
    for partition in partitions["partitions"]:
        for region in partition["regions"]:
            # Drops the pseudo-regions, aws-global and its kin, which would resolve to hosts that do not exist.
            if not re.match(partition["regionRegex"], region):
                continue
            for host in _hosts(provider, region):
                # GovCloud's FIPS host is its plain one: the first wins, and they are equal.
                endpoints.setdefault(
                    host, StsEndpoint(host=host, partition=partition["id"], region=region, signing_region=region)
                )
    return tuple(endpoints.values())


def implicit_region(partition: str) -> str:
    """Return the region that botocore takes for a partition's global services: ``us-east-1`` for ``aws``."""
    partitions: dict[str, Any] = Loader().load_data("partitions")
    return next(str(p["outputs"]["implicitGlobalRegion"]) for p in partitions["partitions"] if p["id"] == partition)


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
