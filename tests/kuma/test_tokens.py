"""A real control plane accepts a token of the service for the proxy that the role's tags describe, and for no other."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app.core.signed_request import CredentialForm
from tests.support.kuma.release import since

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, Resource, dataplane
from tests.support.kuma.stage import Stage, claims_of, open_stage

WORKLOAD = "kuma.io/workload"


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with open_stage(folder, KMESH_AWSIAM_TOKEN_NAMES="true") as stage:
        stage.control_plane.add_mesh("payments")
        stage.add_role("web", type="dataplane", mesh="default", service="web")
        stage.add_role("worker", type="dataplane", mesh="default", service="web", workload="worker")
        yield stage


def test_the_proxy_of_a_tagged_role_comes_online(stage: Stage) -> None:
    resource = dataplane("web-1", "web")
    token = stage.token_for("web", resource)
    with stage.proxy(resource, token) as proxy:
        stage.control_plane.wait_until_online("web-1", proxy)
    claims = claims_of(token)
    assert (claims["Mesh"], claims["Name"], claims["Tags"]) == ("default", "web-1", {"kuma.io/service": ["web"]})


def test_agent_and_proxy_read_the_same_file(stage: Stage) -> None:
    """So mesh, name, service and labels are written once, and variables are replaced as `kuma-dp` replaces them."""
    resource = dataplane("{{ name }}", "web")
    template = stage.folder / "template.yaml"
    template.write_text(json.dumps(resource), "utf-8")
    variable = ("--dataplane-var", "name=web-4")
    token = stage.get_token("web", "--dataplane-file", str(template), *variable, name="from-file")
    with stage.proxy({**resource, "name": "{{ name }}"}, token, options=variable) as proxy:
        stage.control_plane.wait_until_online("web-4", proxy)
    assert claims_of(token)["Name"] == "web-4"


@since(2, 13)
def test_the_proxy_of_a_role_with_a_workload_comes_online(stage: Stage) -> None:
    resource = dataplane("worker-1", "web", labels={WORKLOAD: "worker"})
    with stage.proxy(resource, stage.token_for("worker", resource)) as proxy:
        stage.control_plane.wait_until_online("worker-1", proxy)


def labelled(name: str, labels: Mapping[str, str]) -> Resource:
    return dataplane(name, "web", labels=labels)


@pytest.mark.parametrize(
    ("role", "asserted", "presented_for", "words"),
    [
        pytest.param(
            "web",
            dataplane("a", "web"),
            dataplane("a", "admin"),
            'tag "kuma.io/service" with value "admin" which is not allowed with this token',
            id="service",
        ),
        pytest.param(
            "web",
            dataplane("b", "web"),
            dataplane("c", "web"),
            "c is different than in token: b",
            id="name",
        ),
        pytest.param(
            "web",
            dataplane("d", "web"),
            dataplane("d", "web", mesh="payments"),
            "payments is different than in token: default",
            id="mesh",
        ),
        pytest.param(
            "worker",
            labelled("e", {WORKLOAD: "worker"}),
            labelled("e", {WORKLOAD: "other"}),
            'workload "other" is not allowed with this token',
            marks=since(2, 13),
            id="workload",
        ),
        pytest.param(
            "worker",
            labelled("f", {WORKLOAD: "worker"}),
            labelled("f", {}),
            "dataplane has no workload label required by the token",
            marks=since(2, 13),
            id="no-workload",
        ),
    ],
)
def test_another_proxy_is_refused(
    stage: Stage, role: str, asserted: Resource, presented_for: Resource, words: str
) -> None:
    """The refusal is in the log of the proxy; `kuma-cp` prints none at its default level."""
    token = stage.token_for(role, asserted)
    with stage.proxy(presented_for, token) as proxy:
        assert words in proxy.wait_for(REFUSED).replace("\\", "")
    mesh, name = presented_for["mesh"], presented_for["name"]
    assert not stage.control_plane.is_online(name, f"/meshes/{mesh}/dataplanes")
    assert "authentication failed" not in stage.control_plane.program.log()


def test_a_token_of_an_unknown_key_is_refused(stage: Stage, tmp_path: Path) -> None:
    """As after an exchange of keys that forgot the control plane."""
    resource = dataplane("web-2", "web")
    claims = claims_of(stage.token_for("web", resource))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = tmp_path / "token"
    token.write_text(jwt.encode(claims, key, algorithm="RS256", headers={"kid": "other"}), "ascii")
    with stage.proxy(resource, token) as proxy:
        assert "there is no signing key with KID other" in proxy.wait_for(REFUSED)


def test_a_bare_control_plane_refuses_the_credential_itself(stage: Stage, tmp_path: Path) -> None:
    """`kuma-dp` starts with it, since it is a JWT in form; only a control plane behind Envoy gets a token instead."""
    credential = tmp_path / "credential"
    credential.write_text(stage.aws.credential("web", form=CredentialForm.JWT), "ascii")
    with stage.proxy(dataplane("web-3", "web"), credential) as proxy:
        proxy.wait_for(REFUSED)
