"""What a proxy asserts about itself (untrusted), and the identity that the service grants to it (contract, section 4)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

SERVICE_TAG: Final = "kuma.io/service"
WORKLOAD_TAG: Final = "kuma.io/workload"


class ProxyType(StrEnum):
    """The types of proxy that a control plane distinguishes."""

    DATAPLANE = "dataplane"
    INGRESS = "ingress"
    EGRESS = "egress"


class ZoneListener(StrEnum):
    """The kinds of listener that make a Dataplane a zone proxy of its mesh (``networking.listeners``, Kuma 2.14)."""

    INGRESS = "ZoneIngress"
    EGRESS = "ZoneEgress"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAssertion:
    """What a proxy asserts about itself, as its DP server sends it. Untrusted; the trusted counterpart is `RoleGrant`.

    Attributes:
        type: the kind of the proxy's resource. For a zone proxy in a Dataplane it is ``dataplane`` too.
        mesh: the mesh of a Dataplane; ZoneIngress and ZoneEgress resources have none.
        name: the resource's name.
        zone: a zone proxy's zone, if it is known.
        tags: for each tag, its values in all inbounds and in ``networking.gateway.tags``.
        labels: the resource's metadata labels.
        listeners: the kinds of zone listeners in the proxy's Dataplane; empty if there are none.
        services: every value of the tag ``kuma.io/service``.
        service_label: the label ``kuma.io/service``. It proves nothing, because Kuma compares only tags.
        workload: the label ``kuma.io/workload``.
    """

    type: ProxyType
    mesh: str | None = None
    name: str | None = None
    zone: str | None = None
    tags: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    listeners: AbstractSet[ZoneListener] = frozenset()

    # These three are computed once for each call of the API, not in each comparison with a grant.
    services: AbstractSet[str] = field(init=False, repr=False, compare=False)
    service_label: str | None = field(init=False, repr=False, compare=False)
    workload: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "services", self.tags.get(SERVICE_TAG, frozenset()))
        object.__setattr__(self, "service_label", self.labels.get(SERVICE_TAG))
        object.__setattr__(self, "workload", self.labels.get(WORKLOAD_TAG))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyIdentity:
    """The identity that the service granted: the proxy may have exactly this identity."""

    type: ProxyType
    mesh: str | None
    service: str | None
    workload: str | None
    zone: str | None
    # The identity of a grant is cached, and each hit needs these members twice.
    _members: Mapping[str, str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = {
            "type": self.type.value,
            "mesh": self.mesh,
            "service": self.service,
            "workload": self.workload,
            "zone": self.zone,
        }
        object.__setattr__(self, "_members", members)

    def members(self) -> Mapping[str, str | None]:
        """Return the identity as the answer and the audit line contain it. It is always the same dictionary."""
        return self._members

    @property
    def is_zone_proxy_in_dataplane(self) -> bool:
        """Whether the proxy is an ingress or egress of one mesh. In Kuma such a proxy is a Dataplane with zone listeners."""
        return self.mesh is not None and self.type is not ProxyType.DATAPLANE
