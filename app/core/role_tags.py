"""`AdmittedPrincipal` and `RoleRecord` → `RoleGrant`: check that the role is the caller's and that its tags are valid."""

import functools
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from app.core.arn import ArnError, parse_arn
from app.core.errors import AuthorizationError
from app.core.principal import AdmittedPrincipal, Principal
from app.core.proxy import SERVICE_TAG, WORKLOAD_TAG, ProxyAssertion, ProxyType
from app.core.reasons import Reason
from app.core.role_grant import GrantPolicy, RoleGrant, require_permitted

TYPE_TAG: Final = "kuma.io/type"
MESH_TAG: Final = "kuma.io/mesh"
ZONE_TAG: Final = "kuma.io/zone"
# A tag with this prefix pins the label whose key follows.
LABEL_TAG_PREFIX: Final = "kuma.io/label/"
TAG_KEYS: Final = frozenset({TYPE_TAG, MESH_TAG, SERVICE_TAG, WORKLOAD_TAG, ZONE_TAG})

# The audit line has longer texts only in part. IAM's own bounds are 512 characters for a path and 256 for a value.
MAX_NOTED_CHARS: Final = 512
# A role has at most 50 tags (IAM's quota).
MAX_NOTED_TAGS: Final = 50
MAX_VALUE_CHARS: Final = 253
MAX_LABEL_CHARS: Final = 63
# Kuma's own grammars: mesh and zone names follow DNS rules; a service name may also contain upper case and colons.
_NAME: Final = re.compile(r"[0-9a-z._-]+", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
# A label's key is an optional prefix, which is a DNS subdomain, and a name with the grammar of a value (the same page).
_LABEL_PREFIX: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
# Labels with these prefixes are Kuma's. Those that make an identity have role tags with rules of their own.
_KUMA_PREFIXES: Final = frozenset({"kuma.io", "k8s.kuma.io"})
# The grammar and the largest length of each tag's value. The value of ``kuma.io/type`` is a `ProxyType`.
_GRAMMARS: Final = MappingProxyType(
    {
        MESH_TAG: (_NAME, MAX_VALUE_CHARS),
        SERVICE_TAG: (_SERVICE, MAX_VALUE_CHARS),
        WORKLOAD_TAG: (_LABEL_VALUE, MAX_LABEL_CHARS),
        ZONE_TAG: (_NAME, MAX_VALUE_CHARS),
    }
)


class RoleArn(NamedTuple):
    """The parts of the ARN of an IAM role; ``path`` begins and ends with a slash."""

    partition: str
    account: str
    path: str
    name: str


# This class has no slots, because `functools.cached_property` stores the parts and the grant in the record itself. Python
# frees them together with the record.
@dataclass(frozen=True, kw_only=True)
class RoleRecord:
    """What IAM says about one role. `read_grant` checks whether the role is the caller's role.

    Every stream of every proxy with this role needs the same grant, so the tags are read only once for each record.

    Attributes:
        arn: the role's ARN in IAM, path included.
        role_id: the unique ``AROA...`` id of the role.
        name: the role's name.
        tags: every tag, in IAM's order; two keys may differ only in case.
        request_id: IAM's request id, for the audit line.
    """

    arn: str
    role_id: str
    name: str
    tags: tuple[tuple[str, str], ...]
    request_id: str

    @functools.cached_property
    def parts(self) -> RoleArn:
        """The parts of the record's ARN.

        Raises:
            ArnError: the text is not the ARN of a role.
        """
        arn = parse_arn(self.arn)
        if (arn.service, arn.region) != ("iam", "") or not arn.resource.startswith("role/"):
            raise ArnError("it names no role of IAM")
        before, slash, name = arn.resource.rpartition("/")
        return RoleArn(arn.partition, arn.account, before.removeprefix("role") + slash, name)

    @functools.cached_property
    def identifiers(self) -> tuple[str, str, str, str] | None:
        """Partition, account, unique id and name of the record's role; None if its fields contradict each other."""
        try:
            parts = self.parts
        except ArnError:
            return None
        return (parts.partition, parts.account, self.role_id, self.name) if parts.name == self.name else None

    @functools.cached_property
    def noted(self) -> dict[str, Any]:
        """The members of the audit line about this role: its id, its path, and the tags of this service as IAM has them.

        A key that differs from a key of this service only in case is included. Nobody may change the returned dictionary.
        """
        try:
            path = self.parts.path[:MAX_NOTED_CHARS]
        except ArnError:
            path = None
        tags = [(key, value[:MAX_NOTED_CHARS]) for key, value in self.tags if _may_be_kuma_tag(key.lower())]
        return {"role_id": self.role_id[:MAX_NOTED_CHARS], "path": path, "tags": dict(tags[:MAX_NOTED_TAGS])}

    @functools.cached_property
    def grant(self) -> RoleGrant:
        """The grant of these tags, if the proxy's resource has the type that the tag ``kuma.io/type`` names.

        Raises:
            AuthorizationError: ``role_*_missing``, ``role_tag_invalid``.
        """
        return _read_tags(self, in_dataplane=False)

    @functools.cached_property
    def grant_in_dataplane(self) -> RoleGrant:
        """The grant of these tags, if the proxy's resource is a Dataplane with zone listeners.

        Raises:
            AuthorizationError: as `grant` does.
        """
        return _read_tags(self, in_dataplane=True)


def read_grant(
    admitted: AdmittedPrincipal, role: RoleRecord, policy: GrantPolicy, proxy: ProxyAssertion | None = None
) -> RoleGrant:
    """Read the grant from the tags of the caller's own role.

    Args:
        admitted: the caller.
        role: the role from IAM's answer.
        policy: what the settings require of a role.
        proxy: what the proxy asserts. If the role is for a zone proxy, its mesh and its workload are read only if the proxy
            is a Dataplane with zone listeners.

    Raises:
        AuthorizationError: ``role_id_mismatch``, ``role_path_not_allowed``, ``role_*_missing``, ``role_tag_invalid``,
            ``account_mesh_not_allowed``.
    """
    principal = admitted.principal
    # The only parameter of GetRole is a name, and IAM looks for it in the account whose credentials sign the call. Without
    # this comparison the service would accept a role with the same name in another account (CVE-2025-11621, CVE-2025-59048),
    # or a new role with the name of a deleted role (Vault PR 2814).
    if role.identifiers != principal.role_identifiers:
        raise AuthorizationError(Reason.ROLE_ID_MISMATCH, _difference(principal, role))
    # The path is checked before the tags, so that a denial because of the path reveals nothing about the tags.
    if policy.role_path_prefix is not None and not role.parts.path.startswith(policy.role_path_prefix):
        raise AuthorizationError(Reason.ROLE_PATH_NOT_ALLOWED, f"the role has the path {role.parts.path}")
    grant = role.grant_in_dataplane if proxy is not None and proxy.listeners else role.grant
    require_permitted(grant, principal.account, policy)
    return grant


def _read_tags(role: RoleRecord, *, in_dataplane: bool) -> RoleGrant:
    tags = _kuma_tags(role)
    proxy_type = _proxy_type(tags)
    is_dataplane = proxy_type is ProxyType.DATAPLANE
    zone = None if is_dataplane else _value(tags, ZONE_TAG)
    labels = _labels(tags)
    if not is_dataplane and not in_dataplane:
        return RoleGrant(type=proxy_type, zone=zone, labels=labels)
    mesh = _value(tags, MESH_TAG)
    if mesh is None:
        raise AuthorizationError(Reason.ROLE_MESH_MISSING, f"the role has no {MESH_TAG}")
    service = _value(tags, SERVICE_TAG) if is_dataplane else None
    workload = _value(tags, WORKLOAD_TAG)
    return RoleGrant(type=proxy_type, mesh=mesh, service=service, workload=workload, zone=zone, labels=labels)


def _difference(principal: Principal, role: RoleRecord) -> str:
    """Return why a record does not describe the caller's role."""
    try:
        parts = role.parts
    except ArnError as error:
        return f"IAM's role has no ARN of a role: {error}"
    if role.role_id != principal.role_id:
        return "IAM's role has another RoleId than the caller's"
    if (parts.partition, parts.account) != (principal.partition, principal.account):
        return "IAM's role is in another account than the caller's"
    return "IAM's role has another name than the caller's"


def _kuma_tags(role: RoleRecord) -> dict[str, str]:
    """Return the values of the tags of this service by tag key. The comparison of keys respects case (I14).

    IAM ignores case when it compares tag keys, but keeps the spelling. So a tag ``KUMA.IO/service`` can evade an IAM policy
    that protects ``kuma.io/*``. Therefore the service denies a role in two cases: a key, or the prefix ``kuma.io/label/``,
    differs from this service's only in case, or a key appears twice.
    """
    tags: dict[str, str] = {}
    for key, value in role.tags:
        if not is_kuma_tag(key):
            continue
        if key in tags:
            raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"{key} appears twice")
        tags[key] = value
    return tags


def is_kuma_tag(key: str) -> bool:
    """Return whether this service reads the tag with this key: it is one of the five, or pins a label.

    Raises:
        AuthorizationError: ``role_tag_invalid``; the key, or the prefix ``kuma.io/label/``, differs only in case.
    """
    if key in TAG_KEYS or key.startswith(LABEL_TAG_PREFIX):
        return True
    folded = key.lower()
    if _may_be_kuma_tag(folded):
        known = folded if folded in TAG_KEYS else LABEL_TAG_PREFIX
        raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"a tag key differs from {known} only in case")
    return False


def _may_be_kuma_tag(folded: str) -> bool:
    return folded in TAG_KEYS or folded.startswith(LABEL_TAG_PREFIX)


def is_label_value(text: str) -> bool:
    """Return whether a text is the value of a Kubernetes label, and not empty."""
    return len(text) <= MAX_LABEL_CHARS and _LABEL_VALUE.fullmatch(text) is not None


def is_pinnable_label(key: str) -> bool:
    """Return whether a role can pin the label with this key: it is a key of Kubernetes, and not one of Kuma's own."""
    prefix, slash, name = key.rpartition("/")
    if not is_label_value(name):
        return False
    if not slash:
        return True
    return (
        len(prefix) <= MAX_VALUE_CHARS and _LABEL_PREFIX.fullmatch(prefix) is not None and prefix not in _KUMA_PREFIXES
    )


def require_valid_value(key: str, value: str) -> None:
    """Check the value of a tag of this service. A decision checks only the values that apply to the type of its proxy.

    Raises:
        AuthorizationError: ``role_tag_invalid``.
    """
    if key == TYPE_TAG:
        _proxy_type({key: value})
    elif key.startswith(LABEL_TAG_PREFIX):
        _labels({key: value})
    else:
        _value({key: value}, key)


def _proxy_type(tags: dict[str, str]) -> ProxyType:
    value = tags.get(TYPE_TAG)
    if value is None:
        raise AuthorizationError(Reason.ROLE_TYPE_MISSING, f"the role has no {TYPE_TAG}")
    try:
        return ProxyType(value)
    except ValueError as error:
        raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"{TYPE_TAG} is not dataplane, ingress or egress") from error


def _labels(tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the labels that the tags pin, in the order of their keys."""
    labels = {
        key.removeprefix(LABEL_TAG_PREFIX): value for key, value in tags.items() if key.startswith(LABEL_TAG_PREFIX)
    }
    for key, value in labels.items():
        if not is_pinnable_label(key):
            raise AuthorizationError(
                Reason.ROLE_TAG_INVALID, f"{LABEL_TAG_PREFIX}{key} names no label that a role can pin"
            )
        if not is_label_value(value):
            raise AuthorizationError(
                Reason.ROLE_TAG_INVALID, f"the value of {LABEL_TAG_PREFIX}{key} breaks its grammar"
            )
    return tuple(sorted(labels.items()))


def _value(tags: dict[str, str], key: str) -> str | None:
    """Return the whole value of a tag, or None if the tag is absent. A value is one text, never a list or a pattern."""
    value = tags.get(key)
    grammar, max_chars = _GRAMMARS[key]
    if value is not None and (len(value) > max_chars or not grammar.fullmatch(value)):
        raise AuthorizationError(Reason.ROLE_TAG_INVALID, f"the value of {key} breaks its grammar")
    return value
