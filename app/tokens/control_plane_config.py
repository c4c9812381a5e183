"""Write the configuration with which a stock control plane accepts tokens that are signed by a given key.

The names are those of Kuma 2.2 and later (kumahq/kuma, pkg/config/dp-server/config.go and pkg/config/types, pull request
6085). Kuma has no environment variables for them: the text goes into the file of ``kuma-cp run --config-file``, or into
``controlPlane.config`` of Kuma's Helm chart.
"""

import textwrap
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.role_grant import ANY_MESH
from app.core.token_kind import TokenKind

# For each kind of token: the section of dpServer.authn, and the type of authentication in that section.
_SECTIONS: Final = {TokenKind.DATAPLANE: ("dpProxy", "dpToken"), TokenKind.ZONE: ("zoneProxy", "zoneToken")}


def public_pem(key: RSAPublicKey) -> str:
    """Return a public key in PEM as PKCS#1, which every version accepts (pkg/util/rsa): PKIX support came later."""
    return key.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode("ascii")


def control_plane_yaml(kind: TokenKind, kid: str, mesh: str | None, key: RSAPublicKey) -> str:
    """Return the YAML with which a control plane accepts the tokens of one key.

    Args:
        kind: the kind of the tokens.
        kid: the id of the key. Id and mesh are quoted in the YAML, because some would be numbers or booleans otherwise.
        mesh: the mesh of the tokens, or ``*`` for every mesh; None for zone proxies.
        key: the public key.
    """
    section, authentication = _SECTIONS[kind]
    entry = [f'- kid: "{kid}"']
    if mesh is not None and mesh != ANY_MESH:
        entry.append(f'  mesh: "{mesh}"')
    entry += ["  key: |", textwrap.indent(public_pem(key).rstrip("\n"), "    ")]
    lines = [
        "dpServer:",
        "  authn:",
        "    enableReloadableTokens: true",
        f"    {section}:",
        f"      type: {authentication}",
        f"      {authentication}:",
        "        validator:",
        "          # false as soon as no proxy has a token of kumactl any more",
        "          useSecrets: true",
        "          publicKeys:",
        *(textwrap.indent(line, "          ") for line in entry),
    ]
    return "\n".join(lines) + "\n"
