"""A stock control plane's part: its public keys, and what it makes of a token and a resource (`demos.kuma.validator`)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.tokens.control_plane_config import public_pem
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError

NO_TOKEN: Final = "no token"  # noqa: S105 - words for a table
_NAMING: Final = ("Name", "Mesh", "Tags", "Workload", "Zone", "Scope")


@dataclass(slots=True)
class PublicKeys:
    """What an operator configures: public keys by key id, for each kind of token."""

    dataplane: dict[str, RSAPublicKey] = field(default_factory=dict)
    zone: dict[str, RSAPublicKey] = field(default_factory=dict)

    def configuration(self) -> dict[str, Any]:
        """Return the control plane's configuration."""
        return {
            "dpServer": {
                "authn": {
                    "dpProxy": {"dpToken": {"validator": {"publicKeys": _listed(self.dataplane)}}},
                    "zoneProxy": {"zoneToken": {"validator": {"publicKeys": _listed(self.zone)}}},
                }
            }
        }


def refusal(token: str, proxy: Mapping[str, Any], keys: PublicKeys, zone: str) -> str | None:
    """Tell why a token does not let this proxy in, in about Kuma's words, or None where it does.

    A Dataplane with labels is one of Kuma 3.0, a Dataplane with tags and a zone proxy are of 2.x.

    Args:
        token: that came in ``authorization``.
        proxy: the resource, in the words of ``POST /v1/authenticate``.
        keys: of this control plane.
        zone: of this control plane.
    """
    validator = KumaValidator(keys.configuration(), has_only_labels="labels" in proxy)
    try:
        if proxy["type"] == "dataplane":
            tags = {tag: frozenset(values) for tag, values in proxy.get("tags", {}).items()}
            labels = proxy.get("labels", {})
            resource = DataplaneResource(mesh=proxy["mesh"], name=proxy["name"], tags=tags, labels=labels)
            validator.check_dataplane(token, resource, time.time())
        else:
            validator.check_zone_proxy(token, proxy["type"], zone, time.time())
    except RefusedError as error:
        return str(error)
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
    words = (f"{name} {_plain(claims[name])}" for name in _NAMING if name in claims)
    return f"token of key {header.get('kid')}: {', '.join(words)}"


def _listed(keys: Mapping[str, RSAPublicKey]) -> list[dict[str, str]]:
    return [{"kid": kid, "key": public_pem(key)} for kid, key in keys.items()]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={'|'.join(values)}" for key, values in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
