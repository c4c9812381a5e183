"""The other end is an Envoy of a stock kuma-dp, with the bootstrap of a stock control plane for its token."""

import contextlib
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.support.envoy import Front, find_envoy, open_front
from tests.support.keys import KeyFiles
from tests.support.process import free_address, served
from tests.support.service import until
from tests.support.stand_in import standing_in
from tests.support.world import STRANGERS_ACCOUNT, Aws

TOKEN = f"eyJhbGciOiJSUzI1NiJ9.eyJNZXNoIjoiZGVmYXVsdCJ9.{'s' * 342}"


def bootstrap(port: int, ca: Path, token: Path) -> dict[str, Any]:
    """The relevant parts of the answer of a control plane with reloadable tokens (pkg/xds/bootstrap/template_v3.go)."""
    plugin = "envoy.grpc_credentials.file_based_metadata"
    config = "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig"
    secret = {"name": plugin, "typed_config": {"@type": config, "secret_data": {"filename": str(token)}}}
    service = {
        "target_uri": f"127.0.0.1:{port}",
        "stat_prefix": "ads",
        "credentials_factory_name": plugin,
        "call_credentials": [{"from_plugin": secret}],
        "channel_credentials": {"ssl_credentials": {"root_certs": {"filename": str(ca)}}},
    }
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    ads = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"google_grpc": service}]}
    return {
        "node": {"id": "default.demo-app-1", "cluster": "demo-app"},
        "dynamic_resources": {"lds_config": source, "cds_config": source, "ads_config": ads},
    }


@contextlib.contextmanager
def running_proxy(front: Front, folder: Path, token: Path) -> Iterator[Path]:
    """Run the proxy, and return its log."""
    ca, config, log = folder / "ca.pem", folder / "proxy.json", folder / "proxy.log"
    ca.write_bytes(front.envoy.authority.cert)
    config.write_text(json.dumps(bootstrap(front.envoy.port, ca, token)))
    program = find_envoy()
    assert program is not None
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the Envoy that was found
            [program, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.kill()
        process.wait()


async def test_a_stock_proxy_reads_its_credential_anew_at_each_stream_and_comes_back_after_a_denial(
    aws: Aws, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(aws.credential(account=STRANGERS_ACCOUNT))
    keys = KeyFiles.make(tmp_path)
    with served(free_address(), **aws.service_environment(), **keys.settings()) as service:
        async with open_front(service.address) as front:
            front.control_plane.is_silent = True
            with running_proxy(front, tmp_path, token) as log:
                await until(lambda: "account_not_authorized" in log.read_text("utf-8"))
                assert front.control_plane.streams == []
                token.write_text(aws.credential())
                await until(lambda: front.control_plane.open_streams == 1)
    (seen,) = front.control_plane.streams
    (value,) = seen.values("authorization")
    assert value.count(".") == 2
    assert token.read_text() not in str(seen.headers)


async def test_a_renewed_certificate_is_served_without_a_restart_and_ends_no_stream() -> None:
    with standing_in(200, ("authorization", TOKEN)) as stand_in:
        async with open_front(stand_in.address) as front, front.connected() as proxy:
            stream = await proxy.open("a")
            before, renewed = served_serial(front), front.envoy.authority.issue("front, renewed")
            front.envoy.renew(renewed)
            serial = x509.load_pem_x509_certificate(renewed.cert).serial_number
            assert before != serial
            await until(lambda: served_serial(front) == serial)
            assert await stream.ask()


def served_serial(front: Front) -> int:
    pem = ssl.get_server_certificate(("127.0.0.1", front.envoy.port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number
