"""The README's four commands, with the release's own ``kuma-cp`` and ``kuma-dp``: the proxy comes online.

Before 3.0 the Dataplane has the inbound tag that this Kuma needs, and the role names it, as "Before Kuma 3.0" says.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.support.kuma.release import KUMA

# isort: split
# After the import that skips this module if there is no Kuma.
from demos.envoy.certificates import Authority
from tests.support.kuma.control_plane import api_client, is_online, is_ready, local_variables
from tests.support.kuma.dataplane import local_dataplane_variables
from tests.support.kuma.program import wait_until
from tests.support.readme import DATAPLANE, ROLE, Host
from tests.support.world import Aws

FORM: dict[str, Any] = (
    {}
    if KUMA.has_only_labels
    else {
        "dataplane": DATAPLANE.replace("protocol: http", "tags: {kuma.io/service: demo-app}"),
        "extra_tags": {"kuma.io/service": "demo-app"},
    }
)


def test_the_steps_bring_a_proxy_online(aws: Aws, tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.cert)
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    authority.issue("control plane").write(certificate, key)
    files = {"KUMA_GENERAL_TLS_CERT_FILE": str(certificate), "KUMA_GENERAL_TLS_KEY_FILE": str(key)}
    variables = {**local_variables(tmp_path), **files}
    programs, address = KUMA.control_plane.parent, f"127.0.0.1:{variables['KUMA_DP_SERVER_PORT']}"
    host = Host(tmp_path, aws, programs, address, **FORM)
    host.ended("keys")
    with (
        tempfile.TemporaryDirectory(prefix="kuma-dp-") as sockets,
        api_client(variables) as api,
        host.step("service") as service,
    ):
        service.wait_for('"listening"')
        with host.step("control plane", **variables) as control_plane:
            wait_until(lambda: is_ready(api), lambda: f"kuma-cp does not answer: {control_plane.log.read_text()}")
            proxy_variables = local_dataplane_variables(tmp_path, Path(sockets))
            with host.step("proxy", role=ROLE, **proxy_variables) as proxy:
                proxy.wait_for('"renewed"')
                wait_until(lambda: is_online(api, "demo-app-1"), lambda: f"not online: {proxy.log.read_text()}")
