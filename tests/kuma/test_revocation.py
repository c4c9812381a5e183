"""Which list of revoked tokens a release reads: the Secret of the mesh, or the GlobalSecret."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kuma.release import since, until

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, dataplane, zone_proxy
from tests.support.kuma.stage import Stage, claims_of, open_stage

REVOKED = "token is revoked"


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder) as stage:
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
