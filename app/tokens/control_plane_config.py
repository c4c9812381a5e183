"""Write the configuration with which a stock control plane accepts tokens that are signed by given keys.

The names are those of Kuma 2.2 and later (kumahq/kuma, pkg/config/dp-server/config.go and pkg/config/types, pull request
6085). Kuma has no environment variables for them: the text goes into the file of ``kuma-cp run --config-file``, or into
``controlPlane.config`` of Kuma's Helm chart. It must be one document: of two, Kuma drops the first without an error.
"""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.role_grant import ANY_MESH
from app.core.token_kind import TokenKind

# For each kind of token: the section of dpServer.authn, and the type of authentication in that section.
_SECTIONS: Final = {TokenKind.DATAPLANE: ("dpProxy", "dpToken"), TokenKind.ZONE: ("zoneProxy", "zoneToken")}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A key with which the control plane verifies tokens.

    Attributes:
        kind: the kind of the tokens.
        kid: the id of the key. Id and mesh are quoted in the YAML, because some would be numbers or booleans otherwise.
        mesh: the mesh of the tokens, or ``*`` for every mesh; None for zone proxies.
        public: the public key.
    """

    kind: TokenKind
    kid: str
    mesh: str | None
    public: RSAPublicKey


def public_pem(key: RSAPublicKey) -> str:
    """Return a public key in PEM as PKCS#1, which every version accepts (pkg/util/rsa): PKIX support came later."""
    return key.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode("ascii")


def control_plane_yaml(keys: Iterable[VerificationKey]) -> str:
    """Return the YAML document with which a control plane accepts the tokens of these keys, one key of a kind."""
    lines = ["dpServer:", "  authn:", "    enableReloadableTokens: true"]
    for key in keys:
        lines += _section(key)
    return "\n".join(lines) + "\n"


def _section(key: VerificationKey) -> Iterator[str]:
    section, authentication = _SECTIONS[key.kind]
    yield f"    {section}:"
    yield f"      type: {authentication}"
    yield f"      {authentication}:"
    yield "        validator:"
    yield "          # false as soon as no proxy has a token of kumactl any more"
    yield "          useSecrets: true"
    yield "          publicKeys:"
    yield f'          - kid: "{key.kid}"'
    if key.mesh is not None and key.mesh != ANY_MESH:
        yield f'            mesh: "{key.mesh}"'
    yield "            key: |"
    yield textwrap.indent(public_pem(key.public).rstrip("\n"), " " * 14)
