"""Tokens over HTTP, from the real service on the emulated AWS: issued, presented again, and told apart."""

from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.support.keys import KeyFiles
from tests.support.world import INGRESS, PROXY, Aws, recipe_of

ZONE = "east"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


async def test_a_credential_is_exchanged_for_a_token(aws: Aws, start_service: StartService, keys: KeyFiles) -> None:
    async with start_service(**keys.settings()) as service:
        answer = await service.client.post("/v1/token", json={"credential": aws.credential(), "proxy": PROXY})
        assert answer.status_code == 200, answer.text
        print(answer.json())
        again = await service.present(answer.json()["token"], PROXY)
        assert again.status_code == 200, again.text
        ext = await service.client.post("/v1/ext-authz/x/y", headers={"authorization": aws.credential()})
        assert ext.status_code == 200, ext.text
        assert ext.headers["authorization"].startswith("eyJ")
        assert ext.content == b""
        ext = await service.client.post("/v1/ext-authz/x/y", headers={"authorization": answer.json()["token"]})
        assert ext.headers["authorization"] == answer.json()["token"]
        for d in service.decisions(): print(d)
        ing = await service.client.post("/v1/token", json={"credential": recipe_of(aws.session_of(aws.add_role(INGRESS))).credential()})
        assert ing.json()["reason"] == "role_zone_missing"
