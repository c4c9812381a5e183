"""Tokens from signing keys: their claims, when they are replaced, and that the service never accepts them."""

from pathlib import Path
from typing import Any

import jwt
import pytest

from app.controller.reasons import Leave, PutReason
from app.core.reasons import Reason
from app.tokens.key_files import read_dataplane_key_file
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError
from tests.conftest import StartService
from tests.controller.conftest import Stage
from tests.support.keys import DATAPLANE_KID, KeyFiles, public_pem, rsa_key
from tests.support.world import PROXY, Aws

HOUR = 3600.0


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


def keys_of(files: KeyFiles) -> dict[str, Any]:
    """The options of a controller with these keys."""
    return {"api": None, "keys": read_dataplane_key_file(str(files.dataplane))}


def control_plane() -> KumaValidator:
    keys = [{"kid": DATAPLANE_KID, "key": public_pem(rsa_key(0))}]
    authentication = {
        "dpProxy": {"type": "dpToken", "dpToken": {"enableIssuer": False, "validator": {"publicKeys": keys}}}
    }
    return KumaValidator({"dpServer": {"authn": authentication}})


async def token_of(stage: Stage, files: KeyFiles, **tags: Any) -> str:
    stage.ecs.add_task(service="demo-app", **tags)
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**keys_of(files)) as controller:
        assert await controller.done() == {"demo-app": PutReason.TOKEN_MISSING}
    token: str = stage.ecs.value("demo-app")["token"]
    return token


async def test_a_token_of_the_keys_is_kumas_and_nothing_else(stage: Stage, files: KeyFiles) -> None:
    token = await token_of(stage, files, workload="job")
    claims = jwt.decode(token, rsa_key(0).public_key(), ["RS256"])
    assert claims.keys() == {"jti", "iat", "nbf", "exp", "Mesh", "Type", "Tags", "Workload"}
    assert claims["Tags"] == {"kuma.io/service": ["demo-app"]}
    assert (claims["Mesh"], claims["Type"], claims["Workload"]) == ("default", "dataplane", "job")
    assert claims["exp"] - stage.time.clock().timestamp() == pytest.approx(720 * HOUR, abs=60)
    assert stage.api.asked == []
    assert token not in str(stage.lines)


async def test_a_stock_control_plane_accepts_it_for_its_own_service_alone(stage: Stage, files: KeyFiles) -> None:
    token, now = await token_of(stage, files), stage.time.clock().timestamp()
    control_plane().check_dataplane(token, resource("default", "demo-app"), now)
    for mesh, service in (("payments", "demo-app"), ("default", "backend")):
        with pytest.raises(RefusedError):
            control_plane().check_dataplane(token, resource(mesh, service), now)


def resource(mesh: str, service: str) -> DataplaneResource:
    return DataplaneResource(mesh=mesh, name="any-1", tags={"kuma.io/service": {service}})


async def test_the_service_never_accepts_it_as_a_credential(
    stage: Stage, files: KeyFiles, aws: Aws, start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service has the same keys.

    A token of the controller proves no role, so it must not be accepted instead of a credential.
    """
    token = await token_of(stage, files)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with start_service(**aws.service_environment(), **files.settings()) as service:
        for proxy in (PROXY, None):
            answer = await service.present(token, proxy)
            assert (answer.status_code, answer.json()["reason"]) == (401, Reason.TOKEN_REJECTED.value)
        # The control: the service refuses this token, and not every credential.
        assert (await service.present(aws.credential(), PROXY)).status_code == 200


async def test_a_token_of_a_removed_key_is_replaced_and_one_of_the_second_key_is_not(
    stage: Stage, files: KeyFiles
) -> None:
    await token_of(stage, files)
    files.write_key("dp-2.pem", rsa_key(3))
    files.dataplane.write_text(f"dp-2 * dp-2.pem\n{DATAPLANE_KID} * dp-1.pem\n")
    async with stage.controller(**keys_of(files)) as controller:
        assert await controller.done(after=700) == {"demo-app": Leave.USABLE}
        # The old key is removed while the controller runs.
        files.dataplane.write_text("dp-2 * dp-2.pem\n")
        assert await controller.done(after=400) == {"demo-app": PutReason.KEY_UNKNOWN}
    assert jwt.get_unverified_header(stage.ecs.value("demo-app")["token"])["kid"] == "dp-2"


async def test_a_token_of_a_key_that_does_not_sign_for_its_mesh_any_more_is_replaced(
    stage: Stage, files: KeyFiles
) -> None:
    await token_of(stage, files)
    files.write_key("dp-2.pem", rsa_key(3))
    files.dataplane.write_text(f"dp-2 * dp-2.pem\n{DATAPLANE_KID} payments dp-1.pem\n")
    async with stage.controller(**keys_of(files)) as controller:
        assert await controller.done(after=700) == {"demo-app": PutReason.KEY_UNKNOWN}
    assert jwt.get_unverified_header(stage.ecs.value("demo-app")["token"])["kid"] == "dp-2"


async def test_a_token_that_a_key_has_not_signed_is_replaced(stage: Stage, files: KeyFiles) -> None:
    token = await token_of(stage, files)
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = jwt.encode(claims, rsa_key(3), algorithm="RS256", headers={"kid": DATAPLANE_KID})
    stage.ecs.add_secret("demo-app", f'{{"token": "{forged}"}}')
    async with stage.controller(**keys_of(files)) as controller:
        assert await controller.done() == {"demo-app": PutReason.TOKEN_UNREADABLE}


async def test_a_key_signs_only_for_its_mesh(stage: Stage, files: KeyFiles) -> None:
    files.dataplane.write_text(f"{DATAPLANE_KID} payments dp-1.pem\n")
    stage.ecs.add_task(service="demo-app")
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**keys_of(files)) as controller:
        assert await controller.done() == {"demo-app": None}
    assert stage.ecs.value("demo-app") == {}
    [line] = stage.events("call failed")
    assert "default" in line["detail"]


async def test_invalid_keys_leave_the_old_ones_in_force(stage: Stage, files: KeyFiles) -> None:
    stage.ecs.add_task(service="demo-app")
    stage.ecs.add_secret("demo-app")
    async with stage.controller(**keys_of(files)) as controller:
        files.dataplane.write_text("nothing that can be read\n")
        assert await controller.done() == {"demo-app": PutReason.TOKEN_MISSING}
    assert len(stage.events("not reloaded")) == 1
