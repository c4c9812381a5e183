"""What a role grants, and whether the grant covers what a proxy asserts (contract, section 4)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from app.core.errors import AuthorizationError
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyIdentity, ProxyType, ZoneListener
from app.core.reasons import Reason

# Stands for every mesh, and also allows zone proxies.
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
        require_service: refuse data plane roles without ``kuma.io/service``.
        require_workload: refuse roles of Dataplanes, zone proxies among them, without ``kuma.io/workload``.
        allow_unbound_workloads: let a proxy carry a ``kuma.io/workload`` label although its role has no such tag.
        role_path_prefix: a role's path must begin with it; it begins and ends with a slash. None allows every path.
        account_meshes: the meshes that each account may claim; None where that is not limited.
        zone: the one zone of ingresses and egresses; None where that is not limited.
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

    None means that the tag is absent or does not apply. Then it restricts nothing, with one exception: without a workload in
    the grant, a proxy may have no workload label (`GrantPolicy.allow_unbound_workloads`). A grant has one of three shapes:

    ========================================  ===================  ============================
    for                                       ``mesh``             may narrow by
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
    # Computed once for each grant, which is cached: the type of the proxy's resource, the zone listeners that it must have,
    # and the services that its tags must name (None for any services).
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
            type=self.type, mesh=self.mesh, service=self.service, workload=self.workload, zone=self.zone
        )
        object.__setattr__(self, "resource", ProxyType.DATAPLANE if is_in_mesh else self.type)
        listeners = _LISTENERS[self.type] if is_in_mesh else frozenset()
        # A zone proxy has no service of its own, and its role grants none: any service in its tags would belong to another
        # proxy.
        services = frozenset({self.service} - {None}) if listeners or self.service is not None else None
        object.__setattr__(self, "listeners", listeners)
        object.__setattr__(self, "services", services)
        object.__setattr__(self, "_identity", identity)


def require_permitted(grant: RoleGrant, account: str, policy: GrantPolicy) -> None:
    """Check a grant against the settings, whether it comes from a role or from a token.

    The check runs on every decision, cache hits included.

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
    """Check that the account may claim the mesh. Whoever can tag roles in one account must not claim another account's mesh.

    A ZoneIngress or ZoneEgress carries the traffic of every mesh, so only an account with ``*`` may have such a proxy.
    """
    if ANY_MESH not in meshes and grant.mesh not in meshes:
        raise AuthorizationError(
            Reason.ACCOUNT_MESH_NOT_ALLOWED, f"the account may not claim {grant.mesh or grant.type}"
        )


def match(grant: RoleGrant, proxy: ProxyAssertion | None, policy: GrantPolicy) -> ProxyIdentity:
    """Compare what the proxy asserts with its grant (I15, I27). With ``proxy`` None, return the identity without comparing.

    The comparison runs on every decision, cache hits included.

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
    if grant.type is not ProxyType.DATAPLANE:
        _require_one_zone(grant, proxy, policy.zone if grant.mesh is None else None)
    return grant._identity  # noqa: SLF001 - this function alone hands it out


def _require_same_dataplane(grant: RoleGrant, proxy: ProxyAssertion, policy: GrantPolicy) -> None:
    """Compare every name from which Kuma can make an identity of a Dataplane. Reject a name that the grant lacks (I27).

    Kuma takes the mTLS service from the tags. If the tags contain no service, Kuma takes it from the workload label
    (pkg/xds/secrets/identity_tags.go of 2.14.2). A MeshIdentity takes the SPIFFE id from the workload label.
    """
    if proxy.mesh != grant.mesh:
        raise AuthorizationError(Reason.PROXY_MESH_MISMATCH, f"the role is for mesh {grant.mesh}")
    if grant.services is not None and (
        proxy.services != grant.services
        or (grant.service is not None and proxy.service_label not in (None, grant.service))
    ):
        raise AuthorizationError(Reason.PROXY_SERVICE_MISMATCH, f"the role is for service {grant.service or '(none)'}")
    if proxy.workload != grant.workload and not (grant.workload is None and policy.allow_unbound_workloads):
        raise AuthorizationError(
            Reason.PROXY_WORKLOAD_MISMATCH, f"the role is for workload {grant.workload or '(none)'}"
        )


def _require_one_zone(grant: RoleGrant, proxy: ProxyAssertion | None, bound: str | None) -> None:
    """Check that a zone proxy has one zone: the known zones of the role, the proxy and the setting must be equal."""
    zones = {grant.zone, bound, None if proxy is None else proxy.zone}
    if len(zones - {None}) > 1:
        detail = f"the role is for zone {grant.zone or '(any)'}, this service for {bound or '(any)'}"
        raise AuthorizationError(Reason.PROXY_ZONE_MISMATCH, detail)
