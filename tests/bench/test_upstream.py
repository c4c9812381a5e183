"""The emulated AWS of a benchmark, over TLS."""

import asyncio
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.emulator import EXAMPLE, World
from bench.credentials import HOST, presigned_urls
from bench.handshakes import measure
from bench.upstream import open_upstream


def ask(url: str, target: str, context: ssl.SSLContext | None = None) -> int:
    headers = {"Host": HOST, "x-kuma-audience": "kuma-control-plane"}
    request = urllib.request.Request(url + target, headers=headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, context=context) as response:  # noqa: S310
        status: int = response.status
        return status


def test_aws_over_tls_is_trusted_through_its_root_alone(tmp_path: Path) -> None:
    with open_upstream(World.from_text(EXAMPLE), tmp_path, tls=True) as upstream:
        target = next(presigned_urls(upstream.emulator, 1)).removeprefix(f"https://{HOST}")
        assert upstream.emulator.url.startswith("https://")
        context = ssl.create_default_context(cafile=upstream.variables["AWS_CA_BUNDLE"])
        assert ask(upstream.emulator.url, target, context) == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(upstream.emulator.url, target)
        # A client that does not trust the certificate opens no connection: the handshake fails.
        assert upstream.emulator.app.connections == 1
        assert (tmp_path / "aws.key").stat().st_mode & 0o077 == 0


def test_credentials_of_the_service_itself_come_in_plain_text(tmp_path: Path) -> None:
    """The SDK's provider of container credentials ignores AWS_CA_BUNDLE."""
    with open_upstream(World.from_text(EXAMPLE), tmp_path, tls=True) as upstream:
        uri = upstream.variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        assert uri.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(uri) as response:  # noqa: S310 - loopback
            assert response.status == 200


def test_without_tls_the_service_is_told_nothing_more(tmp_path: Path) -> None:
    with open_upstream(World.from_text(EXAMPLE), tmp_path, tls=False) as upstream:
        assert upstream.variables == {}
        assert upstream.root is None


def test_a_handshake_costs_more_than_a_connection_without_one(tmp_path: Path) -> None:
    with open_upstream(World.from_text(EXAMPLE), tmp_path, tls=True) as upstream:
        parts = urlsplit(upstream.emulator.url)
        cost = asyncio.run(measure(str(parts.hostname), parts.port or 0, str(upstream.root), 5))
        assert cost["tls"] > cost["tcp"] > 0
        # Each kind has one warm-up connection. The server counts only connections with TLS: 1 + 5.
        assert upstream.emulator.app.connections == 6
