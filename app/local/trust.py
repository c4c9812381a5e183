"""Whom the service trusts towards AWS: certifi's certificates, or those of ``AWS_CA_BUNDLE``, and nobody else (I9)."""

import ssl

import certifi


def ca_file(named: str | None) -> str:
    """Return the file of certificates that is trusted."""
    return named or certifi.where()


def client_context(named: str | None) -> ssl.SSLContext:
    """Return a verifying TLS context.

    Not ``ssl.create_default_context``: it takes SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE of the environment.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file(named))
    return context
