"""The network options of every call to STS and IAM: TLS, the proxy and the trusted certificates (invariant I9)."""

from dataclasses import dataclass, field

from app.http.pool import HttpPool
from app.local.trust import client_context


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """How the service reaches AWS.

    Attributes:
        proxy_url: the proxy for all connections (``KMESH_AWSIAM_HTTPS_PROXY``); None for direct connections.
        ca_file: the file of certificates to trust instead of certifi's (``AWS_CA_BUNDLE``).
        connect_timeout: the seconds for DNS, TCP, the proxy's tunnel and TLS together.
        total_timeout: the seconds for one attempt, including the time to connect.
    """

    proxy_url: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    connect_timeout: float = 1.0
    total_timeout: float = 4.0


def open_pool(options: NetworkOptions) -> HttpPool:
    """Make the pool of connections. Call this inside the event loop, and close the pool at the end."""
    return HttpPool(
        client_context(options.ca_file), proxy_url=options.proxy_url, connect_timeout=options.connect_timeout
    )
