"""What runs on 2.14 and on 3.0 alike, so that proxies and control planes need not change together."""

from pathlib import Path

import yaml

from tests.support.kuma.release import KUMA, since

# isort: split
# After the import that skips this module if there is no Kuma.
from tests.support.kuma.dataplane import REFUSED, dataplane
from tests.support.kuma.stage import claims_of, open_stage

pytestmark = since(2, 14)


def test_a_dataplane_with_tags_and_labels_is_online_before_and_after_the_upgrade(folder: Path) -> None:
    """Each release compares one of both places with the same token."""
    with open_stage(folder) as stage:
        stage.add_role("web", type="dataplane", mesh="default", service="web", workload="web")
        stage.add_role("workload", type="dataplane", mesh="default", workload="web")
        both = dataplane("web-1", "web", labels={"kuma.io/service": "web", "kuma.io/workload": "web"})
        both["networking"]["inbound"][0] |= {"protocol": "http", "tags": {"kuma.io/service": "web"}}
        token = stage.get_token("web", "--dataplane-file", str(write(folder, both)))
        assert (claims_of(token)["Tags"], claims_of(token)["Workload"]) == ({"kuma.io/service": ["web"]}, "web")
        with stage.proxy(both, token) as proxy:
            stage.control_plane.wait_until_online("web-1", proxy)
        # Without the label, 3.0 has nothing to compare the tag with. Without the tag, 2.14 has nothing.
        if KUMA.has_only_labels:
            without = {**both, "name": "web-2", "labels": {"kuma.io/workload": "web"}}
        else:
            inbound = {key: value for key, value in both["networking"]["inbound"][0].items() if key != "tags"}
            without = {**both, "name": "web-2", "networking": {**both["networking"], "inbound": [inbound]}}
        with stage.proxy(without, token) as proxy:
            assert "required by the token" in proxy.wait_for(REFUSED)
        # The last step: the role without the service. Its token is for 3.0's Dataplane.
        new = dataplane("web-3", labels={"kuma.io/workload": "web"})
        if KUMA.has_only_labels:
            new["labels"].pop("kuma.io/service")
            with stage.proxy(new, stage.token_for("workload", new)) as proxy:
                stage.control_plane.wait_until_online("web-3", proxy)


def write(folder: Path, resource: object) -> Path:
    path = folder / "dataplane.yaml"
    path.write_text(yaml.safe_dump(resource), "utf-8")
    return path
