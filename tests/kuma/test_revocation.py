"""Which list of revoked tokens a release reads: the Secret of the mesh, or the GlobalSecret."""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kuma.release import KUMA, since, until

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, dataplane, zone_proxy
from tests.support.kuma.stage import Stage, claims_of, open_stage
from tests.support.process import ROOT, clean_environment

REVOKED = "token is revoked"


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    # By default the control plane reads the lists through a cache of 1 s, so a stream that begins at once may still pass.
    with open_stage(folder, control_plane={"KUMA_STORE_CACHE_ENABLED": "false"}) as stage:
        stage.add_role("web", type="dataplane", mesh="default", service="web")
        stage.add_role("mesh-egress", type="egress")
        yield stage


@until(2, 7)
def test_a_secret_of_the_mesh_revokes_a_dataplane_token(stage: Stage) -> None:
    resource = dataplane("web-1", "web")
    token = stage.token_for("web", resource)
    stage.control_plane.revoke_by_secret(claims_of(token)["jti"])
    with stage.proxy(resource, token) as proxy:
        assert REVOKED in proxy.wait_for(REFUSED)


@since(2, 10)
def test_a_secret_of_the_mesh_has_no_effect(stage: Stage) -> None:
    resource = dataplane("web-2", "web")
    token = stage.token_for("web", resource)
    stage.control_plane.revoke_by_secret(claims_of(token)["jti"])
    with stage.proxy(resource, token) as proxy:
        stage.control_plane.wait_until_online("web-2", proxy)


@since(2, 10)
def test_a_global_secret_revokes_a_dataplane_token_for_its_next_stream(stage: Stage) -> None:
    """A stream that is open stays open: the control plane looks at the list only when a stream begins."""
    resource = dataplane("web-3", "web")
    token = stage.token_for("web", resource)
    with stage.proxy(resource, token) as proxy:
        stage.control_plane.wait_until_online("web-3", proxy)
        stage.control_plane.revoke_by_global_secret(claims_of(token)["jti"], "dataplane-token-revocations-default")
        # A second proxy with the same token is refused, so the list is in force while the first one stays online.
        with stage.proxy(dataplane("web-4", "web"), token) as second:
            assert REVOKED in second.wait_for(REFUSED)
        assert stage.control_plane.is_online("web-3")


@until(2, 14)
def test_a_global_secret_revokes_a_zone_token(stage: Stage) -> None:
    resource = zone_proxy("ZoneEgress", "egress-1")
    token = stage.token_for("mesh-egress", resource)
    stage.control_plane.revoke_by_global_secret(claims_of(token)["jti"], "zone-token-revocations")
    with stage.proxy(resource, token) as proxy:
        assert REVOKED in proxy.wait_for(REFUSED)


def documented_commands() -> str:
    """The shell commands of the section that says how to revoke a token."""
    page = (ROOT / "docs/how-to/issue-tokens.md").read_text("utf-8")
    section = page.partition("## Revoke a token\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    return "".join(textwrap.dedent(block) for _, block in blocks)


@pytest.mark.skipif(KUMA.kumactl is None, reason="KUMA_BIN has no kumactl")
@pytest.mark.skipif((2, 8) <= KUMA.version < (2, 10), reason="not tried with 2.8 and 2.9")
def test_the_documented_commands_revoke_tokens(stage: Stage, tmp_path: Path) -> None:
    """With `kumactl` on the control plane's own host, and no token of an administrator."""
    resource = dataplane("web-5", "web")
    token = stage.token_for("web", resource)
    assert KUMA.kumactl is not None
    url = str(stage.control_plane.api.base_url)
    script = f"kumactl config control-planes add --name test --address {url}\n{documented_commands()}"
    variables = {"HOME": str(tmp_path), "IDS": claims_of(token)["jti"], "PATH": f"{KUMA.kumactl.parent}:/usr/bin:/bin"}
    done = subprocess.run(  # noqa: S603 - the documented commands
        ["/bin/sh", "-ec", script],
        env=clean_environment(**variables),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with stage.proxy(resource, token) as proxy:
        assert REVOKED in proxy.wait_for(REFUSED)
