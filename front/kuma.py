"""The part of a stock control plane that matters here: does a token let a proxy in? Kuma's rules, without code of ours.

Dataplane tokens: kumahq/kuma, pkg/core/tokens/validator.go (RS256, the key by its kid, the times) and
pkg/xds/auth/universal/authenticator.go (name, mesh, tags: a claim that is not there is no limit). Zone tokens: the same,
with scope and zone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SERVICE_TAG: Final = "kuma.io/service"
NO_TOKEN: Final = "no token"  # noqa: S105 - words for a table


@dataclass(slots=True)
class PublicKeys:
    """What an operator configures: public keys by key id, for each kind of token."""

    dataplane: dict[str, RSAPublicKey] = field(default_factory=dict)
    zone: dict[str, RSAPublicKey] = field(default_factory=dict)


def refusal(token: str, proxy: Mapping[str, Any], keys: PublicKeys, zone: str) -> str | None:
    """Tell why a token does not let this proxy in, in about Kuma's words, or None where it does.

    Args:
        token: that came in ``authorization``.
        proxy: the resource: ``type``, and of a dataplane ``name``, ``mesh`` and ``tags``.
        keys: of this control plane.
        zone: of this control plane.
    """
    is_dataplane = proxy["type"] == "dataplane"
    try:
        kid = jwt.get_unverified_header(token)["kid"]
        key = (keys.dataplane if is_dataplane else keys.zone)[kid]
        # The audience is the service's own business; Kuma compares none.
        claims = jwt.decode(token, key, algorithms=["RS256"], options={"verify_aud": False})
    except (jwt.InvalidTokenError, KeyError) as error:
        return "could not parse token" if isinstance(error, jwt.InvalidTokenError) else "there is no key of its kid"
    return _dataplane_refusal(claims, proxy) if is_dataplane else _zone_refusal(claims, proxy, zone)


def _dataplane_refusal(claims: Mapping[str, Any], proxy: Mapping[str, Any]) -> str | None:
    for claim, said in (("Name", proxy.get("name")), ("Mesh", proxy["mesh"])):
        if claims.get(claim) not in ("", None, said):
            return f"proxy {claim.lower()} from requestor is different than in token"
    for tag, allowed in (claims.get("Tags") or {}).items():
        values = proxy["tags"].get(tag)
        if values is None:
            return f"dataplane has no tag {tag} required by the token"
        if not set(values) <= set(allowed):
            return f"dataplane contains tag {tag} with a value which is not allowed with this token"
    return None


def _zone_refusal(claims: Mapping[str, Any], proxy: Mapping[str, Any], zone: str) -> str | None:
    if proxy["type"] not in claims.get("Scope", []):
        return "token cannot be used to authenticate zone entity: out of its scope"
    if claims.get("Zone") not in ("", None, zone):
        return "zone from requestor is different than in token"
    return None


def shape_of(presented: str) -> str:
    """Say what a token is for, with none of its text; of anything else that it is none."""
    try:
        header = jwt.get_unverified_header(presented)
        claims = jwt.decode(presented, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return NO_TOKEN
    if header.get("alg") != "RS256":
        return NO_TOKEN
    named = {
        key: value for key, value in claims.items() if key in ("Name", "Mesh", "Tags", "Zone", "Scope", "Workload")
    }
    return f"token of key {header.get('kid')}: " + ", ".join(f"{key} {_plain(value)}" for key, value in named.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={'|'.join(values)}" for key, values in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
