"""The certificate of an emulated AWS: a leaf, an intermediate and a root of RSA with 2048 bits, as AWS's endpoints show.

The root is made for one run, and trusted through ``AWS_CA_BUNDLE``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_BITS: Final = 2048
_LIFE: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Chain:
    """The files of a server's certificate.

    Attributes:
        certificate: the leaf and the intermediate, which the server shows.
        key: of the leaf.
        root: whom the client has to trust.
    """

    certificate: Path
    key: Path
    root: Path


def make_chain(folder: Path, address: str = "127.0.0.1") -> Chain:
    """Make the certificates of a server on an IP address, and write them into a folder."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=_BITS) for _ in range(3)]
    root = _sign("bench root", keys[0], "bench root", keys[0], depth=1)
    intermediate = _sign("bench intermediate", keys[1], "bench root", keys[0], depth=0)
    leaf = _sign("bench", keys[2], "bench intermediate", keys[1], address=address)
    chain = Chain(folder / "aws.pem", folder / "aws.key", folder / "root.pem")
    pem = serialization.Encoding.PEM
    chain.certificate.write_bytes(leaf.public_bytes(pem) + intermediate.public_bytes(pem))
    chain.root.write_bytes(root.public_bytes(pem))
    chain.key.touch(mode=0o600)
    chain.key.write_bytes(keys[2].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return chain


def _sign(
    subject: str,
    key: rsa.RSAPrivateKey,
    issuer: str,
    signer: rsa.RSAPrivateKey,
    *,
    depth: int | None = None,
    address: str | None = None,
) -> x509.Certificate:
    """Sign a certificate: of an authority, with so many below it, or of a server."""
    now = datetime.now(UTC)
    is_authority = address is None
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    # Python 3.13 verifies strictly (VERIFY_X509_STRICT): it wants the usage and both key identifiers.
    builder = (
        x509.CertificateBuilder(_name(issuer), _name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=depth), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if address is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])
