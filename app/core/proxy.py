"""What a proxy asserts about itself (untrusted), and the identity that the service grants to it (contract, section 4)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

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
        labels: the resource's labels. A role can pin each of them by a tag ``kuma.io/label/KEY``.
        listeners: the kinds of zone listeners in the proxy's Dataplane; empty if there are none.
        service_tags: every value of the tag ``kuma.io/service``, which Kuma compares up to 2.14.
        service_label: the label ``kuma.io/service``, which Kuma compares from 3.0 on.
        services: every name of the proxy's service: ``service_tags`` and ``service_label``.
        workload: the label ``kuma.io/workload``.
    """

    type: ProxyType
    mesh: str | None = None
    name: str | None = None
    zone: str | None = None
    tags: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    listeners: AbstractSet[ZoneListener] = frozenset()

    # These four are computed once for each call of the API, not in each comparison with a grant.
    service_tags: AbstractSet[str] = field(init=False, repr=False, compare=False)
    service_label: str | None = field(init=False, repr=False, compare=False)
    services: AbstractSet[str] = field(init=False, repr=False, compare=False)
    workload: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tags, label = self.tags.get(SERVICE_TAG, frozenset()), self.labels.get(SERVICE_TAG)
        object.__setattr__(self, "service_tags", tags)
        object.__setattr__(self, "service_label", label)
        object.__setattr__(self, "services", tags if label is None else tags | {label})
        object.__setattr__(self, "workload", self.labels.get(WORKLOAD_TAG))


def identity_words(members: Mapping[str, Any]) -> str:
    """Return an identity as words for people, such as ``type=dataplane mesh=default label app=web``.

    Args:
        members: those of `ProxyIdentity.members`, or of an answer.
    """
    labels = [f"label {key}={value}" for key, value in members.get("labels", {}).items()]
    return " ".join(
        [f"{key}={value}" for key, value in members.items() if value is not None and key != "labels"] + labels
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyIdentity:
    """The identity that the service granted: the proxy may have exactly this identity.

    Attributes:
        type: the type that the role's tag names.
        mesh: the only mesh; None for a ZoneIngress or ZoneEgress resource.
        service: the only name of the proxy's service; None if the role restricts none.
        workload: the label ``kuma.io/workload`` that the proxy must have.
        zone: the zone of a zone proxy.
        labels: the labels that the role pins, as pairs of key and value in the order of the keys.
    """

    type: ProxyType
    mesh: str | None
    service: str | None
    workload: str | None
    zone: str | None
    labels: tuple[tuple[str, str], ...] = ()
    # The identity of a grant is cached, and each hit needs these members twice.
    _members: Mapping[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = {
            "type": self.type.value,
            "mesh": self.mesh,
            "service": self.service,
            "workload": self.workload,
            "zone": self.zone,
            "labels": dict(self.labels),
        }
        object.__setattr__(self, "_members", members)

    def members(self) -> Mapping[str, Any]:
        """Return the identity as the answer and the audit line contain it. It is always the same dictionary."""
        return self._members

    @property
    def is_zone_proxy_in_dataplane(self) -> bool:
        """Whether the proxy is an ingress or egress of one mesh. In Kuma such a proxy is a Dataplane with zone listeners."""
        return self.mesh is not None and self.type is not ProxyType.DATAPLANE
