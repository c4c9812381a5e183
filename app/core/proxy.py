"""What a proxy says it is, what its role lets it be, and whether the one covers the other (contract, section 4)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.errors import AuthorizationError
from app.reasons import Reason

SERVICE_TAG: Final = "kuma.io/service"
WORKLOAD_TAG: Final = "kuma.io/workload"


class ProxyType(StrEnum):
    """The kinds of proxy that a control plane tells apart."""

    DATAPLANE = "dataplane"
    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRequest:
    """What the proxy says it is, as its DP server knows it. Untrusted.

    Attributes:
        type: its kind.
        mesh: a data plane proxy's mesh; zone proxies have none.
        name: its resource's name; it decides nothing and stands in the audit line.
        zone: a zone proxy's zone, if it is known.
        tags: per tag, the values over all inbounds and ``networking.gateway.tags``.
        labels: the resource's metadata labels.
        services: every ``kuma.io/service`` that it carries, in inbounds, gateway and labels.
    """

    type: ProxyType
    mesh: str | None = None
    name: str | None = None
    zone: str | None = None
    tags: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    services: AbstractSet[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once, and not on each decision about the same claim.
        label = self.labels.get(SERVICE_TAG)
        services = self.tags.get(SERVICE_TAG, frozenset()) | (frozenset() if label is None else {label})
        object.__setattr__(self, "services", services)

    @property
    def workload(self) -> str | None:
        """The ``kuma.io/workload`` of its labels."""
        return self.labels.get(WORKLOAD_TAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyIdentity:
    """The authorized identity: the proxy may be this, and no more."""

    type: ProxyType
    mesh: str | None
    service: str | None
    workload: str | None
    zone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyClaims:
    """What the role's tags let a proxy be; made by `app.core.role_tags.read_claims` alone.

    ``mesh`` is set for a data plane, and for it alone; ``service`` and ``workload`` narrow a data plane, ``zone`` a zone
    proxy. None means that the tag is not there or does not apply, and so narrows nothing.
    """

    type: ProxyType
    mesh: str | None = None
    service: str | None = None
    workload: str | None = None
    zone: str | None = None
    # What `match` grants: made once with the claims, which are remembered, and not on each decision.
    _identity: ProxyIdentity = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Fail closed: a missing mesh would narrow nothing, and match every mesh.
        if (self.mesh is not None) != (self.type is ProxyType.DATAPLANE):
            raise ValueError("a data plane's claims name a mesh, and a zone proxy's none")
        identity = ProxyIdentity(
            type=self.type, mesh=self.mesh, service=self.service, workload=self.workload, zone=self.zone
        )
        object.__setattr__(self, "_identity", identity)


def match(claims: ProxyClaims, proxy: ProxyRequest | None, enabled: AbstractSet[ProxyType]) -> ProxyIdentity:
    """Compare what the proxy says it is with its claims (I15). Without ``proxy`` the caller wants the identity alone.

    Runs on every decision, cache hits included.

    Raises:
        AuthorizationError: ``proxy_type_disabled`` or ``proxy_*_mismatch``.
    """
    if claims.type not in enabled:
        raise AuthorizationError(Reason.PROXY_TYPE_DISABLED, f"aws-iam is off for {claims.type}")
    if proxy is not None:
        _require_covered(claims, proxy)
    return claims._identity  # noqa: SLF001 - this function alone hands it out


def _require_covered(claims: ProxyClaims, proxy: ProxyRequest) -> None:
    if proxy.type is not claims.type:
        raise AuthorizationError(Reason.PROXY_TYPE_MISMATCH, f"the role is for {claims.type}")
    if claims.mesh is not None and proxy.mesh != claims.mesh:
        raise AuthorizationError(Reason.PROXY_MESH_MISMATCH, f"the role is for mesh {claims.mesh}")
    if claims.service is not None and proxy.services != {claims.service}:
        raise AuthorizationError(Reason.PROXY_SERVICE_MISMATCH, f"the role is for service {claims.service}")
    if claims.workload is not None and proxy.workload != claims.workload:
        raise AuthorizationError(Reason.PROXY_WORKLOAD_MISMATCH, f"the role is for workload {claims.workload}")
    if claims.zone is not None and proxy.zone is not None and proxy.zone != claims.zone:
        raise AuthorizationError(Reason.PROXY_ZONE_MISMATCH, f"the role is for zone {claims.zone}")
