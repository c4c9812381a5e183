"""The certificates that the service trusts for AWS: certifi's, or only those of ``AWS_CA_BUNDLE`` (I9)."""

import ssl

import certifi


def ca_file(named: str | None) -> str:
    """Return the path of the file of trusted certificates."""
    return named or certifi.where()


def client_context(named: str | None) -> ssl.SSLContext:
    """Return a verifying TLS context.

    ``ssl.create_default_context`` is not used, because it reads SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE from the
    environment.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # this context verifies the certificate and the host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file(named))
    return context
