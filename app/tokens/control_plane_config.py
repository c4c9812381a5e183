"""A public key → the configuration by which a stock control plane takes tokens that its private key has signed.

The names are Kuma's (kumahq/kuma, pkg/config/dp-server/config.go and pkg/config/types), since 2.2 (pull request
6085). They have no environment variables: the text goes into the file of ``kuma-cp run --config-file``, or into
``controlPlane.config`` of Kuma's Helm chart.
"""

import textwrap
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.role_grant import ANY_MESH
from app.core.token_kind import TokenKind

# By kind: the section of dpServer.authn, and the type of authentication in it.
_SECTIONS: Final = {TokenKind.DATAPLANE: ("dpProxy", "dpToken"), TokenKind.ZONE: ("zoneProxy", "zoneToken")}


def public_pem(key: RSAPublicKey) -> str:
    """Write a public key in PEM as PKCS#1, which every version takes (pkg/util/rsa): PKIX came later."""
    return key.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode("ascii")


def control_plane_yaml(kind: TokenKind, kid: str, mesh: str | None, key: RSAPublicKey) -> str:
    """Write the YAML of a control plane that takes the tokens of one key.

    Args:
        kind: of the tokens.
        kid: the key's id; it and the mesh are quoted, since YAML would take some for numbers or truth values.
        mesh: whose tokens they are, ``*`` for every mesh; None for zone proxies.
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
