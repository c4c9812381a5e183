"""The grant of a role, and the comparison of the grant with what a proxy asserts (contract, section 4)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from app.core.errors import AuthorizationError
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason

# In `AccountMeshes` this text means every mesh. It also allows zone proxies.
ANY_MESH: Final = "*"
AccountMeshes = Mapping[str, AbstractSet[str]]

_LISTENERS: Final = MappingProxyType(
    {
        ProxyType.DATAPLANE: frozenset[ZoneListener](),
        ProxyType.INGRESS: frozenset({ZoneListener.INGRESS}),
        ProxyType.EGRESS: frozenset({ZoneListener.EGRESS}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantPolicy:
    """The settings that limit what roles and presented tokens grant.

    Attributes:
        enabled_types: the resource types that use aws-iam.
        require_service: whether to deny a data plane role that has no tag ``kuma.io/service``.
        require_workload: whether to deny a role without the tag ``kuma.io/workload``, if it is for a Dataplane. A zone proxy
            in a Dataplane is included.
        allow_unbound_workloads: whether a proxy may have a label ``kuma.io/workload`` if its role has no such tag.
        role_path_prefix: the start that a role's path must have, with a slash at both ends. None allows every path.
        account_meshes: the meshes that each account may use; None allows every mesh.
        zone: the only zone that ingresses and egresses may have; None allows every zone.
    """

    enabled_types: AbstractSet[ProxyType]
    require_service: bool = False
    require_workload: bool = False
    allow_unbound_workloads: bool = False
    role_path_prefix: str | None = None
    account_meshes: AccountMeshes | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleGrant:
    """The identity that a role's tags, or a token's claims, grant to a proxy.

    A value of None means that the tag is absent or does not apply. Such a value restricts nothing, with one exception: if
    ``workload`` is None, a proxy must have no workload label, unless `GrantPolicy.allow_unbound_workloads` is set. The proxy
    must have each of ``labels``, pairs of key and value in the order of the keys, and may have others besides. A grant
    has one of three shapes, and each of them can also have ``labels``:

    ========================================  ===================  ============================
    for                                       ``mesh``             may be restricted by
    ========================================  ===================  ============================
    a data plane proxy                        set                  ``service``, ``workload``
    a ZoneIngress or ZoneEgress resource      None                 ``zone``
    a zone proxy in a Dataplane               set                  ``workload``, ``zone``
    ========================================  ===================  ============================
    """

    type: ProxyType
    mesh: str | None = None
    service: str | None = None
    workload: str | None = None
    zone: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    # Grants are cached, so these values are computed once for each grant: the type of the proxy's resource, the zone
    # listeners that the proxy must have, and the services that the proxy must name (None allows every service).
    resource: ProxyType = field(init=False, repr=False, compare=False)
    listeners: AbstractSet[ZoneListener] = field(init=False, repr=False, compare=False)
    services: AbstractSet[str] | None = field(init=False, repr=False, compare=False)
    _identity: ProxyIdentity = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Fail closed: a grant without its mesh would match every mesh.
        is_in_mesh = self.mesh is not None
        if self.type is ProxyType.DATAPLANE:
            has_shape = is_in_mesh and self.zone is None
        else:
            has_shape = self.service is None and (is_in_mesh or self.workload is None)
        if not has_shape:
            raise ValueError("a grant has the mesh that its type needs, and no value that does not apply")
        identity = ProxyIdentity(
            type=self.type,
            mesh=self.mesh,
            service=self.service,
            workload=self.workload,
            zone=self.zone,
            labels=self.labels,
        )
        object.__setattr__(self, "resource", ProxyType.DATAPLANE if is_in_mesh else self.type)
        listeners = _LISTENERS[self.type] if is_in_mesh else frozenset()
        # A zone proxy has no service of its own, and its role grants none. So neither its tags nor its label may name a
        # service: the service would belong to another proxy.
        services = frozenset({self.service} - {None}) if listeners or self.service is not None else None
        object.__setattr__(self, "listeners", listeners)
        object.__setattr__(self, "services", services)
        object.__setattr__(self, "_identity", identity)


def require_permitted(grant: RoleGrant, account: str, policy: GrantPolicy) -> None:
    """Check that the settings permit a grant, whether the grant comes from a role or from a token.

    The check runs for every decision, cache hits included.

    Raises:
        AuthorizationError: ``role_service_missing``, ``role_workload_missing``, ``account_mesh_not_allowed``.
    """
    if policy.require_service and grant.type is ProxyType.DATAPLANE and grant.service is None:
        raise AuthorizationError(Reason.ROLE_SERVICE_MISSING, f"{SERVICE_TAG} is required and not there")
    if policy.require_workload and grant.mesh is not None and grant.workload is None:
        raise AuthorizationError(Reason.ROLE_WORKLOAD_MISSING, f"{WORKLOAD_TAG} is required and not there")
    if policy.account_meshes is not None:
        _require_mesh_of_account(grant, policy.account_meshes.get(account, frozenset()))


def _require_mesh_of_account(grant: RoleGrant, meshes: AbstractSet[str]) -> None:
    """Check that roles of the account may use the mesh.

    Somebody who can tag roles in one account must not get into the mesh of another account. A ZoneIngress or ZoneEgress
    carries the traffic of every mesh, so only an account with ``*`` may have such a proxy.
    """
    if ANY_MESH not in meshes and grant.mesh not in meshes:
        raise AuthorizationError(
            Reason.ACCOUNT_MESH_NOT_ALLOWED, f"the account may not claim {grant.mesh or grant.type}"
        )


def match(grant: RoleGrant, proxy: ProxyAssertion | None, policy: GrantPolicy) -> ProxyIdentity:
    """Compare what the proxy asserts with the grant (I15, I27), and return the identity that the grant gives.

    The comparison runs for every decision, cache hits included. If ``proxy`` is None, only the proxy type and the zone of
    the grant are compared with the settings.

    Raises:
        AuthorizationError: ``proxy_type_disabled`` or ``proxy_*_mismatch``.
    """
    if grant.resource not in policy.enabled_types:
        raise AuthorizationError(Reason.PROXY_TYPE_DISABLED, f"aws-iam is off for {grant.resource}")
    if proxy is not None:
        if proxy.type is not grant.resource or proxy.listeners != grant.listeners:
            raise AuthorizationError(Reason.PROXY_TYPE_MISMATCH, f"the role is for {grant.type}")
        if grant.mesh is not None:
            _require_same_dataplane(grant, proxy, policy)
        for key, value in grant.labels:
            if proxy.labels.get(key) != value:
                raise AuthorizationError(Reason.PROXY_LABEL_MISMATCH, f"the role pins the label {key} to {value}")
    if grant.type is not ProxyType.DATAPLANE:
        _require_one_zone(grant, proxy, policy.zone if grant.mesh is None else None)
    return grant._identity  # noqa: SLF001 - this function alone hands it out


def _require_same_dataplane(grant: RoleGrant, proxy: ProxyAssertion, policy: GrantPolicy) -> None:
    """Compare every name from which Kuma can make an identity of a Dataplane. Deny a name that is not in the grant (I27).

    Up to 2.14, Kuma takes the service of the mTLS identity from the tags. If the tags contain no service, Kuma takes it from
    the workload label from 2.14.2 on (pkg/xds/secrets/identity_tags.go). From 3.0 on, Kuma ignores the tags, compares the
    label ``kuma.io/service`` with a token, and makes the service and the SPIFFE id from the workload label. A proxy can
    assert names in both places, and the service does not know the version of the control plane. So all names must agree.
    """
    if proxy.mesh != grant.mesh:
        raise AuthorizationError(Reason.PROXY_MESH_MISMATCH, f"the role is for mesh {grant.mesh}")
    if grant.services is not None and proxy.services != grant.services:
        raise AuthorizationError(Reason.PROXY_SERVICE_MISMATCH, _service_difference(grant, proxy))
    if proxy.workload != grant.workload and not _may_be_unbound(grant, proxy, policy):
        found = "the proxy has no such label" if proxy.workload is None else "the proxy's label has another value"
        raise AuthorizationError(
            Reason.PROXY_WORKLOAD_MISMATCH, f"the role is for workload {grant.workload or '(none)'}, and {found}"
        )


def _may_be_unbound(grant: RoleGrant, proxy: ProxyAssertion, policy: GrantPolicy) -> bool:
    """Return whether the proxy may have a workload label that its role does not name.

    If the role names a service, and only the proxy's label names it, then the workload label is the only identity that a
    control plane makes of this proxy: the mTLS service from 2.14.2 on, and the MeshService from 3.0 on.
    """
    return (
        policy.allow_unbound_workloads
        and grant.workload is None
        and (grant.service is None or bool(proxy.service_tags))
    )


def _service_difference(grant: RoleGrant, proxy: ProxyAssertion) -> str:
    """Return which names of a service differ from the grant, and where the proxy has them."""
    granted = f"the role is for service {grant.service or '(none)'}"
    if not proxy.services:
        return f"{granted}, and the proxy names none: neither the label nor a tag {SERVICE_TAG}"
    places = []
    if proxy.service_tags - {grant.service}:
        places.append("the tag of an inbound or of the gateway")
    if proxy.service_label not in (None, grant.service):
        places.append("the label")
    return f"{granted}, and {' and '.join(places)} {SERVICE_TAG} has another value"


def _require_one_zone(grant: RoleGrant, proxy: ProxyAssertion | None, bound: str | None) -> None:
    """Check that the zone of the role, the zone of the proxy and the zone of the settings are equal where they are known."""
    zones = {grant.zone, bound, None if proxy is None else proxy.zone}
    if len(zones - {None}) > 1:
        detail = f"the role is for zone {grant.zone or '(any)'}, this service for {bound or '(any)'}"
        raise AuthorizationError(Reason.PROXY_ZONE_MISMATCH, detail)
