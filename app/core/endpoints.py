"""The finite set of STS hosts that a credential may be signed for (invariant I1).

``app.sts.endpoints`` generates the set from botocore's data; this module only stores the set and selects from it. The
service compares the whole host name: tests of a prefix, a suffix or a pattern led to CVE-2025-49827, and would accept a host
such as ``sts.<bucket>.s3...``.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

# AWS SDKs use this name in place of a region for the global endpoint.
AWS_GLOBAL: Final = "aws-global"
_REGION_NAME: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class StsEndpoint:
    """One host of STS.

    Attributes:
        host: the exact lower-case name, without a port.
        partition: ``aws``, ``aws-cn``, ...
        region: the region that the host serves, or ``aws-global``. The set of regions is closed, so metrics use the region
            as a label.
        signing_region: the region that the SigV4 scope must name; ``us-east-1`` for the global endpoint.
    """

    host: str
    partition: str
    region: str
    signing_region: str
    # The members of the audit line about this endpoint. Every decision that it is signed for writes them.
    signed_for: Mapping[str, str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signed_for", {"host": self.host, "region": self.signing_region})


def can_be_region(name: str) -> bool:
    """Return whether an operator's region name can be part of a host: it has 1 to 32 characters of ``a-z0-9-``."""
    return _REGION_NAME.fullmatch(name) is not None


StsEndpoints = Mapping[str, StsEndpoint]


def select_endpoints(
    endpoints: Iterable[StsEndpoint], *, partition: str, regions: Collection[str] = frozenset()
) -> StsEndpoints:
    """Return the endpoints of ``partition`` by host. If ``regions`` is not empty, leave out all other regions."""
    return MappingProxyType(
        {
            endpoint.host: endpoint
            for endpoint in endpoints
            if endpoint.partition == partition and (not regions or endpoint.region in regions)
        }
    )
