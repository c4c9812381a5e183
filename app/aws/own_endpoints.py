"""Find the endpoints of the service's own calls in botocore's own partition and endpoint data.

These calls cannot be redirected by ``~/.aws/config``, ``~/.aws/models`` or AWS_DATA_PATH.
"""

from dataclasses import dataclass
from typing import Literal

from app.aws.sdk_data import new_endpoint_provider

ServiceName = Literal["iam", "sts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEndpoint:
    """The endpoint of a service, and the scope that requests to it are signed for.

    Attributes:
        service: the name of the service in the scope of signatures.
        url: scheme, host and optional port, without a path.
        signing_region: the region in the scope.
    """

    service: ServiceName
    url: str
    signing_region: str


def find_own_endpoint(
    service: ServiceName, region: str, *, fips: bool = False, dual_stack: bool = False, url: str | None = None
) -> OwnEndpoint:
    """Return the endpoint of a service for callers in a region. IAM has one endpoint for all regions of a partition.

    Args:
        service: IAM or STS.
        region: a region that the settings have checked. This is needed because botocore inserts any text into its template.
        fips: whether to return the FIPS endpoint (``AWS_USE_FIPS_ENDPOINT``).
        dual_stack: whether to return the endpoint with IPv6 (``AWS_USE_DUALSTACK_ENDPOINT``).
        url: the operator's URL in place of AWS's URL (``AWS_ENDPOINT_URL_IAM``, ``…_STS``). Requests are then signed for the
            host of this URL.
    """
    global_sts = {"UseGlobalEndpoint": False} if service == "sts" else {}
    provider = new_endpoint_provider(service)
    found = provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack, **global_sts)
    schemes: list[dict[str, str]] = found.properties.get("authSchemes", [])
    signing_region = schemes[0]["signingRegion"] if schemes else region
    return OwnEndpoint(service=service, url=url or found.url, signing_region=signing_region)
