"""What a control plane of a given version does not read in a proxy's resource.

Kuma drops unknown fields without an error, so a file of the other generation describes another proxy than its author meant.
The fields are those of kumahq/kuma: api/mesh/v1alpha1/dataplane.proto and UPGRADE.md of 3.0.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.core.kuma_version import LABELS_ONLY, KumaVersion

_LISTENERS_BEGIN: Final = KumaVersion(2, 14)


def faults(resource: Mapping[str, Any], version: KumaVersion) -> Iterator[str]:
    """Yield a sentence for each field of a resource that a control plane of this version does not read.

    Args:
        resource: a Dataplane, ZoneIngress or ZoneEgress in the universal form; fields may have any type.
        version: the version of the control plane.
    """
    networking = resource.get("networking")
    networking = networking if isinstance(networking, Mapping) else {}
    if version >= LABELS_ONLY:
        yield from _faults_of_labels_only(resource.get("type"), networking, version)
    elif version < _LISTENERS_BEGIN and networking.get("listeners"):
        yield f"networking.listeners: {version} has no zone listeners; write a ZoneIngress or ZoneEgress"


def _faults_of_labels_only(kind: Any, networking: Mapping[str, Any], version: KumaVersion) -> Iterator[str]:
    if kind in ("ZoneIngress", "ZoneEgress"):
        yield f"type: {version} has no {kind}; write a Dataplane with networking.listeners of type {kind}"
    for number in _with_tags(networking, "inbound"):
        yield (
            f"networking.inbound[{number}].tags: {version} has no inbound tags; move them to labels, and kuma.io/protocol "
            "to the inbound's protocol"
        )
    for number in _with_tags(networking, "outbound"):
        yield f"networking.outbound[{number}].tags: {version} has no outbounds by tags; write a backendRef"
    if networking.get("advertisedAddress"):
        yield f"networking.advertisedAddress: {version} has no such field; remove it"
    gateway = networking.get("gateway")
    if isinstance(gateway, Mapping) and gateway.get("type") == "BUILTIN":
        yield f"networking.gateway.type: {version} has no BUILTIN gateways; remove the Dataplane before the upgrade"


def _with_tags(networking: Mapping[str, Any], key: str) -> Iterator[int]:
    entries = networking.get(key)
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and entry.get("tags"):
            yield number
