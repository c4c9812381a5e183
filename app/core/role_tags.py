"""`AdmittedPrincipal` and `RoleRecord` → `ProxyClaims`: the role is the caller's own, and its tags are in order."""

import functools
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from app.core.arn import ArnError, parse_arn
from app.core.principal import AdmittedPrincipal, Principal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyClaims, ProxyType
from app.errors import AuthorizationError
from app.reasons import Reason

TYPE_TAG: Final = "kuma.io/type"
MESH_TAG: Final = "kuma.io/mesh"
ZONE_TAG: Final = "kuma.io/zone"
TAG_KEYS: Final = frozenset({TYPE_TAG, MESH_TAG, SERVICE_TAG, WORKLOAD_TAG, ZONE_TAG})

# In place of a list of meshes: every mesh, and zone proxies.
ANY_MESH: Final = "*"
AccountMeshes = Mapping[str, AbstractSet[str]]

MAX_VALUE_CHARS: Final = 253
MAX_CLAIMS: Final = 10_000
_MAX_LABEL_CHARS: Final = 63
# Kuma's own grammars: mesh and zone names are DNS-like, a service name may hold upper case and colons.
_NAME: Final = re.compile(r"[0-9a-z._-]+", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRecord:
    """What IAM says of one role. Whether it is the caller's role is `read_claims`'s to find out.

    Attributes:
        arn: the IAM ARN, path included.
        role_id: the unique id.
        name: the role's name.
        tags: every tag, in IAM's order; keys may collide when case is ignored.
        request_id: IAM's request id, for the audit line.
    """

    arn: str
    role_id: str
    name: str
    tags: tuple[tuple[str, str], ...]
    request_id: str


def read_claims(
    admitted: AdmittedPrincipal,
    role: RoleRecord,
    *,
    require_service: bool = False,
    account_meshes: AccountMeshes | None = None,
) -> ProxyClaims:
    """Read the claims out of the tags of the caller's own role.

    Args:
        admitted: the caller.
        role: what IAM says.
        require_service: refuse a data plane role without ``kuma.io/service``.
        account_meshes: the meshes that each account may claim; None where that is not limited.

    Raises:
        AuthorizationError: ``role_id_mismatch``, ``role_*_missing``, ``role_tag_invalid``, ``account_mesh_not_allowed``.
    """
    principal = admitted.principal
    claims = _read_tags(
        principal.partition, principal.account, principal.role, principal.role_id, role, require_service
    )
    if account_meshes is not None:
        require_mesh_of_account(claims, account_meshes.get(principal.account, frozenset()))
    return claims


def require_mesh_of_account(claims: ProxyClaims, meshes: AbstractSet[str]) -> None:
    """Hold an account to its meshes: whoever tags roles in one account must not claim another's mesh.

    A zone proxy carries the traffic of every mesh, so only an account with ``*`` may have one.

    Raises:
        AuthorizationError: ``account_mesh_not_allowed``.
    """
    if ANY_MESH not in meshes and claims.mesh not in meshes:
        raise AuthorizationError(
            Reason.ACCOUNT_MESH_NOT_ALLOWED, f"the account may not claim {claims.mesh or claims.type}"
        )


# Every proxy of a role brings the same question at each of its streams. It is a pure one, and the record is a part of it: no
# answer outlives the record.
@functools.lru_cache(MAX_CLAIMS)
def _read_tags(
    partition: str,
    account: str,
    name: str,
    role_id: str,
    role: RoleRecord,
    require_service: bool,  # noqa: FBT001 - a cached function takes no names
) -> ProxyClaims:
    require_same_record(partition, account, name, role_id, role)
    tags = _kuma_tags(role)
    proxy_type = _proxy_type(tags)
    if proxy_type is not ProxyType.DATAPLANE:
        return ProxyClaims(type=proxy_type, zone=_value(tags, ZONE_TAG, _NAME))
    mesh = _value(tags, MESH_TAG, _NAME)
    if mesh is None:
        raise AuthorizationError(Reason.ROLE_MESH_MISSING, f"the role has no {MESH_TAG}")
    service = _value(tags, SERVICE_TAG, _SERVICE)
    if service is None and require_service:
        raise AuthorizationError(Reason.ROLE_SERVICE_MISSING, f"the role has no {SERVICE_TAG}")
    workload = _value(tags, WORKLOAD_TAG, _LABEL_VALUE, max_chars=_MAX_LABEL_CHARS)
    return ProxyClaims(type=proxy_type, mesh=mesh, service=service, workload=workload)


def require_same_role(principal: Principal, role: RoleRecord) -> None:
    """Hold IAM's role to what STS vouched for.

    GetRole takes a name and answers for the account of whoever asks: without these comparisons a role of the same name in
    another account passes (CVE-2025-11621, CVE-2025-59048), and so does one made anew under its name (Vault PR 2814).

    Raises:
        AuthorizationError: ``role_id_mismatch``.
    """
    require_same_record(principal.partition, principal.account, principal.role, principal.role_id, role)


def require_same_record(partition: str, account: str, name: str, role_id: str, role: RoleRecord) -> None:
    """Hold a record to the one role that it is looked up for, as `require_same_role` does.

    Raises:
        AuthorizationError: ``role_id_mismatch``.
    """
    try:
        arn = parse_arn(role.arn)
    except ArnError as error:
        raise AuthorizationError(Reason.ROLE_ID_MISMATCH, "IAM's role has no ARN") from error
    if role.role_id != role_id:
        raise AuthorizationError(Reason.ROLE_ID_MISMATCH, "IAM's role has another RoleId than the caller's")
    if (arn.partition, arn.service, arn.region, arn.account) != (partition, "iam", "", account):
        raise AuthorizationError(Reason.ROLE_ID_MISMATCH, "IAM's role is in another account than the caller's")
    kind, _, path_and_name = arn.resource.partition("/")
    if kind != "role" or {role.name, path_and_name.rpartition("/")[2]} != {name}:
        raise AuthorizationError(Reason.ROLE_ID_MISMATCH, "IAM's role has another name than the caller's")


def _kuma_tags(role: RoleRecord) -> dict[str, str]:
    """Return our five tags by key, compared exactly (I14).

    IAM compares keys without case but keeps the spelling, so a policy that guards ``kuma.io/*`` can be walked around with
    ``KUMA.IO/service``; a key that is ours only when case is ignored therefore denies, and so does a second one.
    """
    tags: dict[str, str] = {}
    for key, value in role.tags:
        if key.lower() not in TAG_KEYS:
            continue
        if key not in TAG_KEYS:
            raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"a key is {key.lower()} but for its case")
        if key in tags:
            raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"{key} stands twice")
        tags[key] = value
    return tags


def _proxy_type(tags: dict[str, str]) -> ProxyType:
    value = tags.get(TYPE_TAG)
    if value is None:
        raise AuthorizationError(Reason.ROLE_TYPE_MISSING, f"the role has no {TYPE_TAG}")
    try:
        return ProxyType(value)
    except ValueError as error:
        raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"{TYPE_TAG} is not dataplane, ingress or egress") from error


def _value(tags: dict[str, str], key: str, grammar: re.Pattern[str], max_chars: int = MAX_VALUE_CHARS) -> str | None:
    """Return a tag's whole value; it is one opaque string, never a list or a pattern."""
    value = tags.get(key)
    if value is not None and (len(value) > max_chars or not grammar.fullmatch(value)):
        raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"the value of {key} breaks its grammar")
    return value
