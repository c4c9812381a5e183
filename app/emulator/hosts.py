"""The hosts of AWS: for each host its service, its partition, and the region that requests to it are signed for.

The table of STS hosts is made from botocore's partition and endpoint data when it is first used. The IAM hosts are listed
here.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader

ServiceName: TypeAlias = Literal["sts", "iam"]

IAM_ENDPOINTS: Final = (
    ("iam.amazonaws.com", "aws", "us-east-1"),
    ("iam-fips.amazonaws.com", "aws", "us-east-1"),
    ("iam.global.api.aws", "aws", "us-east-1"),
    ("iam.cn-north-1.amazonaws.com.cn", "aws-cn", "cn-north-1"),
    ("iam.global.api.amazonwebservices.com.cn", "aws-cn", "cn-north-1"),
    ("iam.us-gov.amazonaws.com", "aws-us-gov", "us-gov-west-1"),
    ("iam.us-gov.api.aws", "aws-us-gov", "us-gov-west-1"),
    ("iam.eusc-de-east-1.amazonaws.eu", "aws-eusc", "eusc-de-east-1"),
    ("iam.global.api.amazonwebservices.eu", "aws-eusc", "eusc-de-east-1"),
    ("iam.us-iso-east-1.c2s.ic.gov", "aws-iso", "us-iso-east-1"),
    ("iam.us-isob-east-1.sc2s.sgov.gov", "aws-iso-b", "us-isob-east-1"),
    ("iam.eu-isoe-west-1.cloud.adc-e.uk", "aws-iso-e", "eu-isoe-west-1"),
    ("iam.us-isof-south-1.csp.hci.ic.gov", "aws-iso-f", "us-isof-south-1"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One AWS host. The scope of a request to it must name exactly this service and region."""

    service: ServiceName
    partition: str
    signing_region: str


def find_endpoint(host: str) -> Endpoint | None:
    """Return the AWS host that a Host header names; None for any other host (a loopback address)."""
    return _endpoints().get(host.lower().partition(":")[0])


def partition_of(region: str) -> str | None:
    """Return the partition of a region that AWS knows, or None."""
    return _regions().get(region)


def partitions() -> frozenset[str]:
    """Return the names of AWS's partitions."""
    return frozenset(_regions().values())


def sts_hosts() -> Mapping[str, Endpoint]:
    """Return every STS host of every partition: global, regional, FIPS and dual-stack."""
    return {host: endpoint for host, endpoint in _endpoints().items() if endpoint.service == "sts"}


@functools.cache
def _partitions() -> Any:
    return Loader().load_data("partitions")


@functools.cache
def _regions() -> dict[str, str]:
    return {
        region: partition["id"]
        for partition in _partitions()["partitions"]
        for region in partition["regions"]
        if re.match(partition["regionRegex"], region)  # excludes pseudo-regions such as aws-global
    }


@functools.cache
def _endpoints() -> dict[str, Endpoint]:
    rules = Loader().load_service_model("sts", "endpoint-rule-set-1")
    provider = EndpointProvider(rules, _partitions())
    found = {host: Endpoint("iam", partition, region) for host, partition, region in IAM_ENDPOINTS}
    for region, partition in _regions().items():
        for fips in (False, True):
            for dual_stack in (False, True):
                resolved = provider.resolve_endpoint(
                    Region=region, UseFIPS=fips, UseDualStack=dual_stack, UseGlobalEndpoint=False
                )
                found.setdefault(urlsplit(resolved.url).hostname or "", Endpoint("sts", partition, region))
    found["sts.amazonaws.com"] = Endpoint("sts", "aws", "us-east-1")
    return found
