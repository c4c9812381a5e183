"""What a stock control plane makes of a token, by Kuma's rules and with none of the service's code.

It stands in for ``kuma-cp`` in the demo and the tests: it reads the configuration that ``kuma-aws-iam keys generate``
prints, and says of a token and a resource what Kuma would. The rules, with Kuma's own files:

- the configuration: pkg/config/dp-server/config.go and pkg/config/types; which keys count for a mesh, and that those without
  a mesh count for each (pull request 8169): pkg/tokens/builtin/components.go
- signature, ``kid``, times and revocation: pkg/core/tokens/validator.go, and golang-jwt v4, which beside ``exp`` and ``nbf``
  refuses an ``iat`` in the future, and wants none of them (v5, in 2.12 and later, does not look at ``iat``)
- claims: pkg/tokens/builtin/issuer/token.go, pkg/tokens/builtin/zone/token.go, read by encoding/json: names without case,
  the last one counts, absent is empty, unknown is left aside
- the comparison: pkg/xds/auth/universal/authenticator.go; an empty claim is no limit. ``Type`` is compared with nothing.
  Up to 2.14 ``Tags`` are compared with the tags of the inbounds, from 3.0 on with the labels, and there are no zone tokens

Where releases of one generation differ, the validator refuses what any of them refuses. ``tests/kuma/test_validator.py``
compares it with a real control plane.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

WORKLOAD_LABEL: Final = "kuma.io/workload"
_PARTS: Final = 3


class RefusedError(Exception):
    """The control plane ends the stream, with this sentence."""


@dataclass(frozen=True, kw_only=True)
class DataplaneResource:
    """A ``Dataplane`` as the control plane stores it: the values of each tag over all inbounds, and its labels."""

    mesh: str
    name: str
    tags: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Key:
    kid: str
    mesh: str
    public: RSAPublicKey


class KumaValidator:
    """The DP server's authenticator, with static public keys and no stored ones."""

    def __init__(
        self,
        configuration: Mapping[str, Any],
        revoked: AbstractSet[str] = frozenset(),
        *,
        has_only_labels: bool = False,
    ) -> None:
        """Read a control plane's configuration.

        Args:
            configuration: the YAML, as a mapping.
            revoked: the ids in the secrets ``dataplane-token-revocations-MESH`` and ``zone-token-revocations``.
            has_only_labels: decide as 3.0 and later, which drop the tags of inbounds.

        Raises:
            RefusedError: the control plane would not start with it.
        """
        authn = configuration["dpServer"]["authn"]
        self._dataplane = _keys(authn.get("dpProxy", {}).get("dpToken", {}))
        self._zone = _keys(authn.get("zoneProxy", {}).get("zoneToken", {}))
        self._revoked = revoked
        self._has_only_labels = has_only_labels

    def check_dataplane(self, token: str, resource: DataplaneResource, now: float) -> None:
        """Say whether a proxy with this token may be this data plane.

        Raises:
            RefusedError: it may not.
        """
        keys = {key.kid: key.public for key in self._dataplane if key.mesh == resource.mesh}
        keys |= {key.kid: key.public for key in self._dataplane if not key.mesh}
        claims = self._verified(token, keys, now)
        name, mesh, workload = (_text(claims, claim) for claim in ("name", "mesh", "workload"))
        if name and name != resource.name:
            raise RefusedError("proxy name from requester is different than in token")
        if mesh and mesh != resource.mesh:
            raise RefusedError("proxy mesh from requester is different than in token")
        _text(claims, "type")
        values = {key: {value} for key, value in resource.labels.items()} if self._has_only_labels else resource.tags
        for tag, allowed in _tags(claims).items():
            if tag not in values:
                raise RefusedError(f'dataplane has no tag "{tag}" required by the token')
            if not values[tag] <= set(allowed):
                raise RefusedError(f'dataplane contains tag "{tag}" with a value which is not allowed with this token')
        if workload and resource.labels.get(WORKLOAD_LABEL) != workload:
            raise RefusedError("dataplane workload is not allowed with this token")

    def check_zone_proxy(self, token: str, scope: str, zone: str, now: float) -> None:
        """Say whether a proxy with this token may be an ``ingress`` or ``egress`` of this zone.

        Raises:
            RefusedError: it may not.
        """
        if self._has_only_labels:
            raise RefusedError(f'proxy type "{scope}" is not supported')
        claims = self._verified(token, {key.kid: key.public for key in self._zone}, now)
        if scope not in _texts(claims.get("scope"), "Scope"):
            raise RefusedError(f"token cannot be used to authenticate zone entity ({scope} is out of token's scope)")
        named = _text(claims, "zone")
        if named and named != zone:
            raise RefusedError("zone from requester is different than in token")

    def _verified(self, token: str, keys: Mapping[str, RSAPublicKey], now: float) -> Mapping[str, Any]:
        parts = token.split(".")
        if len(parts) != _PARTS:
            raise RefusedError("token contains an invalid number of segments")
        header, claims = (_json(part) for part in parts[:2])
        if not isinstance(header.get("kid"), str):
            raise RefusedError("JWT token must have kid header")
        if header.get("alg") != "RS256":
            raise RefusedError("unsupported token alg")
        public = keys.get(header["kid"])
        if public is None:
            raise RefusedError(f"there is no signing key with KID {header['kid']}")
        try:
            public.verify(_decode(parts[2]), f"{parts[0]}.{parts[1]}".encode(), PKCS1v15(), SHA256())
        except InvalidSignature as error:
            raise RefusedError("crypto/rsa: verification error") from error
        folded = {name.lower(): value for name, value in claims.items()}
        _require_time(folded, now)
        if _text(folded, "jti") in self._revoked:
            raise RefusedError("token is revoked")
        return folded


def _keys(authentication: Mapping[str, Any]) -> Sequence[_Key]:
    found = []
    for entry in authentication.get("validator", {}).get("publicKeys", []):
        if not entry.get("kid") or not entry.get("key"):
            raise RefusedError(".PublicKeys is not valid: .KID and .Key are required")
        public = load_pem_public_key(entry["key"].encode())
        if not isinstance(public, RSAPublicKey):
            raise RefusedError("encoded key is not a RSA key")
        found.append(_Key(entry["kid"], entry.get("mesh", ""), public))
    return found


def _require_time(claims: Mapping[str, Any], now: float) -> None:
    try:
        moments = {name: float(claims[name]) for name in ("exp", "iat", "nbf") if claims.get(name) is not None}
    except (TypeError, ValueError) as error:
        raise RefusedError("json: cannot unmarshal into Go value of type NumericDate") from error
    if "exp" in moments and now >= moments["exp"]:
        raise RefusedError("token is expired")
    if "iat" in moments and now < moments["iat"]:
        raise RefusedError("token used before issued")
    if "nbf" in moments and now < moments["nbf"]:
        raise RefusedError("token is not valid yet")


def _tags(claims: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    tags = claims.get("tags") or {}
    if not isinstance(tags, dict):
        raise RefusedError("json: cannot unmarshal into Go struct field .Tags")
    # A tag with an empty list of values limits nothing (seen with Kuma 2.14.3).
    return {tag: values for tag, listed in tags.items() if (values := _texts(listed, "Tags"))}


def _texts(value: Any, claim: str) -> Sequence[str]:
    if value is not None and not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        raise RefusedError(f"json: cannot unmarshal into Go struct field .{claim}")
    return value or []


def _text(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if value is not None and not isinstance(value, str):
        raise RefusedError(f"json: cannot unmarshal into Go struct field .{claim.title()}")
    return value or ""


def _json(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except ValueError as error:
        raise RefusedError("token is malformed") from error
    if not isinstance(value, dict):
        raise RefusedError("token is malformed")
    return value


def _decode(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise RefusedError("token is malformed: could not base64 decode") from error
