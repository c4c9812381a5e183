"""The validity of the certificates in a PEM file, for metrics."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in seconds since 1970."""

    not_before: float
    not_after: float


def read_validity(path: Path) -> Validity | None:
    """Return the validity of the certificate in a file that expires first; None if the file cannot be parsed.

    OpenSSL decides whether a file can be used. So a file that this function cannot parse is no error.
    """
    # `cryptography` takes 7 MB, and a service without TLS does not need it.
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    try:
        certificates = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    first = min(certificates, key=lambda certificate: certificate.not_valid_after_utc)
    return Validity(first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp())
