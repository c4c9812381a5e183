"""Tokens over HTTP, from the service on the emulated AWS: issued, accepted by a control plane, presented again."""

import asyncio
import functools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import structlog

from app.api import authenticate
from app.api.authenticate import MAX_BODY_BYTES
from app.core.reasons import EXPLANATIONS, Reason
from app.emulator.fault_kinds import FaultKind
from app.local.caller_tokens import OWN_HEADER
from app.telemetry import audit
from app.tokens.codec import looks_like_token
from demos.kuma.validator import DataplaneResource, KumaValidator, RefusedError
from tests.conftest import LoadSettings, StartService
from tests.support.exposition import value
from tests.support.keys import DATAPLANE_KID, ZONE_KID, KeyFiles, public_pem, rsa_key
from tests.support.patience import PATIENCE
from tests.support.service import RunningService, listening, running_service, until
from tests.support.signing import AUDIENCE, NOW
from tests.support.streams import unread_pipe
from tests.support.tokens import (
    DATAPLANE_CLAIMS,
    HOSTILE,
    MALFORMED,
    ZONE_CLAIMS,
    ZONE_HEADER,
    Hostile,
    base64url,
    claims_of,
    make_token,
)
from tests.support.world import ACCOUNT, DATAPLANE, INGRESS, OTHER_ACCOUNT, PROXY, Aws, recipe_of

TOKEN: Final = "/v1/token"
EXT_AUTHZ: Final = "/v1/ext-authz/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
RESOURCE: Final = DataplaneResource(mesh="default", name="demo-app-1", tags={"kuma.io/service": {"demo-app"}})
CALLER_TOKEN: Final = "caller-token-of-32-characters-or-more"


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


def control_plane(*keys: Mapping[str, str]) -> KumaValidator:
    """A stock control plane that knows the public halves of `KeyFiles.make`, or those that are given for data planes."""
    dataplane = keys or ({"kid": DATAPLANE_KID, "key": public_pem(rsa_key(0))},)
    zone = {"kid": ZONE_KID, "key": public_pem(rsa_key(1))}
    return KumaValidator(
        {
            "dpServer": {
                "authn": {
                    "dpProxy": {"dpToken": {"validator": {"publicKeys": list(dataplane)}}},
                    "zoneProxy": {"zoneToken": {"validator": {"publicKeys": [zone]}}},
                }
            }
        }
    )


async def exchange(
    service: RunningService, credential: str, proxy: Mapping[str, Any] | None = PROXY, **headers: str
) -> httpx.Response:
    return await service.client.post(TOKEN, json={"credential": credential, "proxy": proxy}, headers=headers)


async def ask(service: RunningService, credential: str, **headers: str) -> httpx.Response:
    """Call as Envoy does."""
    return await service.client.post(EXT_AUTHZ, headers={"authorization": credential, **headers})


def reason_of(answer: httpx.Response) -> Reason:
    reason = Reason(answer.json()["reason"])
    assert answer.status_code == EXPLANATIONS[reason].status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "authorization" not in answer.headers
    return reason


def now() -> float:
    return datetime.now(UTC).timestamp()


# Tokens are off unless a key is configured.


async def test_without_a_key_there_are_no_tokens(aws: Aws, service: RunningService) -> None:
    credential = aws.credential()
    assert reason_of(await exchange(service, credential)) is Reason.NOT_FOUND
    assert reason_of(await ask(service, credential)) is Reason.NOT_FOUND
    assert reason_of(await service.present(make_token(), PROXY)) is Reason.CREDENTIAL_MALFORMED
    paths = (await service.client.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if "token" in path or "ext-authz" in path]


async def test_with_a_key_both_paths_are_described(start_service: StartService, files: KeyFiles) -> None:
    async with start_service(**files.settings()) as service:
        paths = (await service.client.get("/openapi.json")).json()["paths"]
    assert {"/v1/token", "/v1/ext-authz/{path}"} <= paths.keys()


# Issued.


async def test_a_credential_becomes_a_token_that_a_stock_control_plane_takes(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    async with start_service(**files.settings()) as service:
        answer = await exchange(service, aws.credential())
        [line] = service.decisions()
        samples = await service.metrics()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.keys() == {"token", "kid", "expiresAt", "identity", "principal"}
    assert body["kid"] == DATAPLANE_KID
    claims = claims_of(body["token"])
    assert claims["Tags"] == {"kuma.io/service": ["demo-app"]}
    assert (claims["Mesh"], claims["Type"]) == ("default", "dataplane")
    assert not {"Name", "Workload"} & claims.keys()
    assert datetime.fromisoformat(body["expiresAt"]).timestamp() == claims["exp"]
    assert 3590 < claims["exp"] - now() <= 3600
    kuma = control_plane()
    kuma.check_dataplane(body["token"], RESOURCE, now())
    for other in (replace(RESOURCE, mesh="other"), replace(RESOURCE, tags={"kuma.io/service": {"other"}})):
        with pytest.raises(RefusedError):
            kuma.check_dataplane(body["token"], other, now())
    assert line["token"] == {
        "jti": claims["jti"],
        "kid": DATAPLANE_KID,
        "expires_at": datetime.fromisoformat(body["expiresAt"]),
        "origin": "fresh",
        "identity": None,
        "name": None,
    }
    assert body["token"] not in str(service.log)
    assert value(samples, "kuma_aws_iam_tokens_issued_total", kind="dataplane", origin="fresh") == 1
    assert value(samples, "kuma_aws_iam_token_signing_seconds_count", kind="dataplane") == 1


async def test_no_token_goes_out_that_is_not_on_record(
    aws: Aws, start_service: StartService, files: KeyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of the log has gone. Decisions that need no record for a revocation go on, and are counted."""
    credential = aws.credential()
    async with start_service(**files.settings()) as service:
        token = (await exchange(service, credential)).json()["token"]
        with unread_pipe() as broken, monkeypatch.context() as patched:
            output = audit._PatientOutput(broken.buffer)
            short_way = audit._DecisionLines(structlog.get_config()["processors"], output)
            patched.setattr(audit._Bound, "decisions", short_way)
            assert reason_of(await exchange(service, credential)) is Reason.INTERNAL_ERROR
            assert reason_of(await ask(service, credential)) is Reason.INTERNAL_ERROR
            assert reason_of(await exchange(service, token)) is Reason.INTERNAL_ERROR
            assert reason_of(await ask(service, token)) is Reason.INTERNAL_ERROR
            assert (await service.present(credential, PROXY)).status_code == 200
            assert (await service.present(token, PROXY)).status_code == 200
            assert reason_of(await exchange(service, credential, {**PROXY, "mesh": "x"})) is Reason.PROXY_MESH_MISMATCH
            assert value(await service.metrics(), "kuma_aws_iam_audit_lines_lost_total") == 7
        assert (await exchange(service, credential)).json()["token"] == token
        assert (await exchange(service, token)).json()["token"] == token


async def test_a_call_is_refused_as_by_authenticate(aws: Aws, start_service: StartService, files: KeyFiles) -> None:
    async with start_service(**files.settings()) as service:
        stranger = await exchange(service, aws.credential(account="999988887777"))
        other = await exchange(service, aws.credential(), {**PROXY, "mesh": "other"})
        malformed = await service.client.post(TOKEN, json={"credential": "x", "Proxy": None})
        text = await service.client.post(TOKEN, content=b"{}", headers={"content-type": "text/plain"})
        get = await service.client.get(TOKEN)
        assert reason_of(stranger) is Reason.ACCOUNT_NOT_AUTHORIZED
        assert reason_of(other) is Reason.PROXY_MESH_MISMATCH
        assert reason_of(malformed) is Reason.MALFORMED_REQUEST
        assert reason_of(text) is Reason.UNSUPPORTED_MEDIA_TYPE
        assert reason_of(get) is Reason.METHOD_NOT_ALLOWED
        assert [line["token"] for line in service.decisions()] == [None] * 4


async def test_workload_and_name_narrow_a_token(aws: Aws, start_service: StartService, files: KeyFiles) -> None:
    role = aws.add_role({**DATAPLANE, "kuma.io/workload": "demo"})
    proxy = {**PROXY, "labels": {"kuma.io/workload": "demo"}}
    async with start_service(**files.settings(), KMESH_AWSIAM_TOKEN_NAMES="true") as service:
        credential = recipe_of(aws.session_of(role)).credential()
        token = (await exchange(service, credential, proxy)).json()["token"]
        odd = await exchange(service, credential, {**proxy, "name": "Demo App"})
    assert (claims_of(token)["Workload"], claims_of(token)["Name"]) == ("demo", "demo-app-1")
    kuma, resource = control_plane(), replace(RESOURCE, labels={"kuma.io/workload": "demo"})
    kuma.check_dataplane(token, resource, now())
    with pytest.raises(RefusedError, match="name"):
        kuma.check_dataplane(token, replace(resource, name="demo-app-2"), now())
    assert reason_of(odd) is Reason.MALFORMED_REQUEST
    assert "proxy.name" in odd.json()["detail"]


@pytest.mark.parametrize(
    ("tags", "said", "setting", "zone"),
    [
        (INGRESS, None, None, None),
        (INGRESS, None, "west", "west"),
        (INGRESS, "north", None, "north"),
        (INGRESS, "west", "west", "west"),
        ({**INGRESS, "kuma.io/zone": "east"}, None, "east", "east"),
        ({**INGRESS, "kuma.io/zone": "east"}, "east", None, "east"),
    ],
)
async def test_a_zone_proxy_needs_a_zone(
    aws: Aws,
    start_service: StartService,
    files: KeyFiles,
    tags: Mapping[str, str],
    said: str | None,
    setting: str | None,
    zone: str | None,
) -> None:
    credential = recipe_of(aws.session_of(aws.add_role(tags))).credential()
    async with start_service(**files.settings(), KMESH_AWSIAM_ZONE=setting) as service:
        answer = await exchange(service, credential, {"type": "ingress", "zone": said})
        [line] = service.decisions()
        # The tags decide what is granted. The token contains the zone that the proxy or the setting named.
        identity = (await service.present(credential)).json()["identity"]
    assert identity["zone"] == tags.get("kuma.io/zone")
    if zone is None:
        assert reason_of(answer) is Reason.ROLE_ZONE_MISSING
        assert (line["outcome"], line["granted"], line["token"]) == ("denied", None, None)
        return
    token = answer.json()["token"]
    assert (claims_of(token)["Zone"], claims_of(token)["Scope"]) == (zone, ["ingress"])
    kuma = control_plane()
    kuma.check_zone_proxy(token, "ingress", zone, now())
    for scope, other in (("egress", zone), ("ingress", "other")):
        with pytest.raises(RefusedError):
            kuma.check_zone_proxy(token, scope, other, now())
    with pytest.raises(RefusedError, match="no signing key"):
        kuma.check_dataplane(token, RESOURCE, now())


async def test_a_kind_or_mesh_without_a_key_is_undecided(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    files.dataplane.write_text("a-1 a dp-1.pem\n")
    ingress = recipe_of(aws.session_of(aws.add_role({**INGRESS, "kuma.io/zone": "east"}))).credential()
    async with start_service(KMESH_AWSIAM_DATAPLANE_KEYS_FILE=str(files.dataplane)) as service:
        for credential in (aws.credential(), ingress):
            answer = await exchange(service, credential, None)
            assert reason_of(answer) is Reason.SIGNING_KEY_MISSING
            assert answer.headers["retry-after"] == "30"
            assert (await service.present(credential)).status_code == 200


# Reused.


async def test_the_same_proxy_is_given_the_same_token_and_another_task_is_not(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    session = aws.task()
    async with start_service(**files.settings()) as service:
        moment = datetime.now(UTC)
        renewed = [recipe_of(session, now=moment - timedelta(seconds=age)).credential() for age in (2, 1)]
        first, second = [(await exchange(service, credential)).json()["token"] for credential in renewed]
        other = (await exchange(service, aws.credential())).json()["token"]
        lines = service.decisions()
        samples = await service.metrics()
    assert first == second != other
    assert [line["token"]["origin"] for line in lines] == ["fresh", "reused", "fresh"]
    assert [line["token"]["jti"] for line in lines[:2]] == [claims_of(first)["jti"]] * 2
    assert value(samples, "kuma_aws_iam_tokens_issued_total", kind="dataplane", origin="reused") == 1


async def test_many_at_once_are_signed_for_once(aws: Aws, start_service: StartService, files: KeyFiles) -> None:
    credential = aws.credential()
    async with start_service(**files.settings()) as service:
        answers = await asyncio.gather(*(exchange(service, credential) for _ in range(20)))
        samples = await service.metrics()
    assert len({answer.json()["token"] for answer in answers}) == 1
    assert value(samples, "kuma_aws_iam_token_signing_seconds_count", kind="dataplane") == 1


# Rotated.


async def test_keys_are_exchanged_while_streams_are_accepted(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    """Add the new key below, tell the control plane, move the key to the top, remove the old one. No step refuses any."""
    old = {"kid": DATAPLANE_KID, "key": public_pem(rsa_key(0))}
    new = {"kid": "dp-2", "key": public_pem(rsa_key(2))}
    files.write_key("dp-2.pem", rsa_key(2))
    old_line, new_line = f"{DATAPLANE_KID} * dp-1.pem\n", "dp-2 * dp-2.pem\n"
    steps = [
        (old_line, control_plane(old), DATAPLANE_KID),
        (old_line + new_line, control_plane(old), DATAPLANE_KID),
        (old_line + new_line, control_plane(old, new), DATAPLANE_KID),
        (new_line + old_line, control_plane(old, new), "dp-2"),
    ]
    credential = aws.credential()
    async with start_service(**files.settings()) as service:
        [watch] = [watch for watch in service.service.watches if watch.what == "signing_keys"]
        held: list[str] = []  # by proxies that have not renewed since
        for lines, kuma, kid in steps:
            files.dataplane.write_text(lines)
            await asyncio.to_thread(watch.check)
            answer = (await exchange(service, credential)).json()
            assert answer["kid"] == kid
            by_envoy = (await ask(service, credential)).headers["authorization"]
            held += [answer["token"], by_envoy]
            for token in held:
                kuma.check_dataplane(token, RESOURCE, now())
                assert (await service.present(token, PROXY)).status_code == 200
        # After the validity of the old tokens.
        files.dataplane.write_text(new_line)
        await asyncio.to_thread(watch.check)
        control_plane(new).check_dataplane(held[-1], RESOURCE, now())
        assert (await service.present(held[-1], PROXY)).status_code == 200
        assert reason_of(await service.present(held[0], PROXY)) is Reason.TOKEN_REJECTED
        assert not service.events("not reloaded")


async def test_sighup_ends_the_reuse_though_a_file_of_keys_is_bad(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    """A token was revoked in Kuma. Its proxy must get a new one, and the fault of the file must be logged again."""
    credential = aws.credential()
    async with start_service(**files.settings()) as service:

        def is_told_again(before: int) -> bool:
            return len(service.events("not reloaded")) > before

        revoked = (await exchange(service, credential)).json()["token"]
        files.dataplane.write_text("bad\n")
        for _ in range(2):
            told = len(service.events("not reloaded"))
            service.service.reload()
            another = (await exchange(service, credential)).json()["token"]
            assert another != revoked
            assert (await exchange(service, credential)).json()["token"] == another
            await until(functools.partial(is_told_again, told))
            revoked = another


# A token as the credential.


async def test_a_token_is_answered_with_the_same_identity_and_costs_no_call(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    async with start_service(**files.settings()) as service:
        issued = (await exchange(service, aws.credential())).json()
        aws.emulator.calls.clear()
        answer = await service.present(issued["token"], PROXY)
        line = service.decisions()[-1]
        exposed = await service.metrics()
    assert answer.status_code == 200
    body = answer.json()
    assert {name: body[name] for name in ("identity", "principal", "expiresAt")} == {
        name: issued[name] for name in ("identity", "principal", "expiresAt")
    }
    assert not aws.emulator.calls
    assert (line["form"], line["sts"]["cache"], line["iam"]["cache"]) == ("token", "none", "none")
    assert line["token"]["origin"] == "presented"
    assert (line["token"]["identity"], line["token"]["name"]) == (body["identity"], None)
    assert (line["access_key"], line["role"]) == (None, None)
    assert 0 <= line["age_seconds"] < PATIENCE
    assert (
        value(
            exposed,
            "kuma_aws_iam_decisions_total",
            outcome="allowed",
            reason="none",
            proxy_type="dataplane",
            form="token",
        )
        == 1
    )


async def test_a_storm_of_tokens_survives_an_outage_of_aws(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    async with start_service(**files.settings()) as service:
        aws.emulator.faults.sts.inject(FaultKind.SERVICE_UNAVAILABLE)
        aws.emulator.faults.iam.inject(FaultKind.SERVICE_UNAVAILABLE)
        # Issued by another replica, which has the same keys.
        moment = datetime.now(UTC)
        shift = int((moment - NOW).total_seconds())
        claims = {**DATAPLANE_CLAIMS, **{name: DATAPLANE_CLAIMS[name] + shift for name in ("iat", "nbf", "exp")}}
        answers = [await service.present(make_token({**claims, "jti": str(uuid.uuid4())}), PROXY) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert reason_of(await service.present(aws.credential(), PROXY)) is Reason.STS_UNAVAILABLE


async def test_a_token_has_its_place_beside_credentials_that_wait_for_aws(
    aws: Aws, start_service: StartService, files: KeyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token needs no call to AWS, so decisions that wait for STS must not exclude it (I20)."""
    monkeypatch.setattr(authenticate, "MAX_DECISIONS", 1)
    async with start_service(**files.settings()) as service:
        aws.emulator.faults.sts.inject(FaultKind.HANG)
        under_way = asyncio.create_task(service.present(aws.credential()))
        await asyncio.to_thread(aws.emulator.calls.wait_for, 1)
        assert reason_of(await service.present(aws.credential())) is Reason.OVERLOADED
        for answer in (
            await service.present(current(), PROXY),
            await exchange(service, current()),
            await ask(service, current()),
        ):
            assert answer.status_code == 200
        aws.emulator.faults.clear()
        assert (await under_way).status_code == 200


async def test_a_token_is_exchanged_for_itself_so_that_it_ends(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    """Otherwise one credential would be enough for ever, even if its role is deleted."""
    async with start_service(**files.settings()) as service:
        token = (await exchange(service, aws.credential())).json()["token"]
        again = await exchange(service, token)
        envoy = await ask(service, token)
        lines = service.decisions()
    assert again.json()["token"] == token
    assert envoy.headers["authorization"] == token
    assert [line["token"]["origin"] for line in lines] == ["fresh", "presented", "presented"]


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        ({**PROXY, "mesh": "other"}, Reason.PROXY_MESH_MISMATCH),
        ({**PROXY, "tags": {"kuma.io/service": ["other"]}}, Reason.PROXY_SERVICE_MISMATCH),
        ({**PROXY, "tags": {}}, Reason.PROXY_SERVICE_MISMATCH),
        ({"type": "ingress", "zone": "east"}, Reason.PROXY_TYPE_MISMATCH),
    ],
)
async def test_a_token_is_held_to_the_claim(
    start_service: StartService, files: KeyFiles, claimed: dict[str, Any], reason: Reason
) -> None:
    async with start_service(**files.settings()) as service:
        assert reason_of(await service.present(current(), claimed)) is reason


def current(**changes: object) -> str:
    """Return a token of this moment, with the data planes' key."""
    shift = int((datetime.now(UTC) - NOW).total_seconds())
    times = {name: DATAPLANE_CLAIMS[name] + shift for name in ("iat", "nbf", "exp")}
    return make_token({**DATAPLANE_CLAIMS, **times, **changes})


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        pytest.param({"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": OTHER_ACCOUNT}, Reason.ACCOUNT_NOT_AUTHORIZED, id="account"),
        pytest.param({"KMESH_AWSIAM_AUDIENCE": "another"}, Reason.AUDIENCE_MISMATCH, id="audience"),
        pytest.param(
            {"KMESH_AWSIAM_ACCOUNT_MESHES": f"{ACCOUNT}=payments,{OTHER_ACCOUNT}=*"},
            Reason.ACCOUNT_MESH_NOT_ALLOWED,
            id="mesh-of-the-account",
        ),
        pytest.param({"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "dpToken"}, Reason.PROXY_TYPE_DISABLED, id="type-off"),
    ],
)
@pytest.mark.parametrize("way", ["authenticate", "token", "ext-authz"])
async def test_a_token_is_held_to_the_settings_as_they_are_now(
    start_service: StartService, files: KeyFiles, variables: dict[str, str], reason: Reason, way: str
) -> None:
    ways: dict[str, Callable[[RunningService], Any]] = {
        "authenticate": lambda service: service.present(current(), PROXY),
        "token": lambda service: exchange(service, current()),
        "ext-authz": lambda service: ask(service, current()),
    }
    async with start_service(**files.settings(), **variables) as service:
        assert reason_of(await ways[way](service)) is reason
        [line] = service.decisions()
    assert line["granted"] is None


async def test_a_role_without_service_is_refused_once_one_is_required(
    start_service: StartService, files: KeyFiles
) -> None:
    claims = {name: value for name, value in DATAPLANE_CLAIMS.items() if name != "Tags"}
    shift = int((datetime.now(UTC) - NOW).total_seconds())
    token = make_token({**claims, **{name: claims[name] + shift for name in ("iat", "nbf", "exp")}})
    async with start_service(**files.settings()) as service:
        assert (await service.present(token, PROXY)).status_code == 200
    async with start_service(**files.settings(), KMESH_AWSIAM_REQUIRE_SERVICE_TAG="true") as service:
        assert reason_of(await service.present(token, PROXY)) is Reason.ROLE_SERVICE_MISSING


async def test_a_token_with_a_name_is_for_that_proxy_alone(start_service: StartService, files: KeyFiles) -> None:
    async with start_service(**files.settings()) as service:
        named = current(Name="demo-app-1")
        assert (await service.present(named, PROXY)).status_code == 200
        assert reason_of(await service.present(named, {**PROXY, "name": "demo-app-2"})) is Reason.PROXY_NAME_MISMATCH
        assert reason_of(await service.present(named, {**PROXY, "name": None})) is Reason.PROXY_NAME_MISMATCH


# Hostile tokens over HTTP, at the time at which they were made.


@pytest.fixture
async def at_now(aws: Aws, settings_of: LoadSettings, files: KeyFiles) -> Any:
    settings = settings_of(**{**aws.service_environment(), **files.settings(), "KMESH_AWSIAM_AUDIENCE": AUDIENCE})
    async with running_service(aws, settings, lambda: NOW) as service:
        yield service


async def test_every_hostile_token_is_refused_for_its_one_reason(aws: Aws, at_now: RunningService) -> None:
    assert (await at_now.present(make_token(), PROXY)).status_code == 200
    zone_proxy = {"type": "ingress", "zone": "east"}
    assert (await at_now.present(make_token(ZONE_CLAIMS, ZONE_HEADER, rsa_key(1)), zone_proxy)).status_code == 200
    for hostile in HOSTILE:
        for answer in (await at_now.present(hostile.make()), await ask(at_now, hostile.make())):
            assert reason_of(answer) is hostile.reason, hostile.name
    assert not aws.emulator.calls


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(text, id=name) for name, text in MALFORMED if looks_like_token(text)),
        pytest.param(make_token(key=rsa_key(2)), id="signed-by-a-stranger"),
        pytest.param(make_token(key=rsa_key(1)), id="signed-by-the-zone-key-under-the-data-planes-id"),
        pytest.param(make_token(ZONE_CLAIMS, ZONE_HEADER, rsa_key(0)), id="signed-by-the-data-planes-key-as-zone"),
        pytest.param(make_token(header={"alg": "RS256", "kid": "dp-9", "typ": "JWT"}), id="unknown-kid"),
        pytest.param(make_token()[:-4] + "AAAA", id="signature-changed"),
        pytest.param(".".join([*make_token().split(".")[:2], base64url(b"x")]), id="signature-of-one-byte"),
        pytest.param(
            ".".join([make_token().split(".")[0], make_token(ZONE_CLAIMS).split(".")[1], make_token().split(".")[2]]),
            id="claims-changed",
        ),
    ],
)
async def test_a_token_that_no_key_of_ours_has_signed_is_rejected(aws: Aws, at_now: RunningService, text: str) -> None:
    assert reason_of(await at_now.present(text, PROXY)) is Reason.TOKEN_REJECTED
    assert not aws.emulator.calls
    [line] = at_now.decisions()
    assert (line["form"], line["principal"], line["granted"]) == ("token", None, None)
    assert text not in str(at_now.log)


async def test_a_key_of_one_mesh_speaks_for_no_other(aws: Aws, settings_of: LoadSettings, files: KeyFiles) -> None:
    files.dataplane.write_text(f"{DATAPLANE_KID} payments dp-1.pem\n")
    settings = settings_of(**{**aws.service_environment(), **files.settings()})
    async with running_service(aws, settings, lambda: NOW) as service:
        assert reason_of(await service.present(make_token())) is Reason.TOKEN_REJECTED
        assert (await service.present(make_token({**DATAPLANE_CLAIMS, "Mesh": "payments"}))).status_code == 200


def test_hostile_tokens_have_names_of_their_own() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
    assert all(isinstance(hostile, Hostile) for hostile in HOSTILE)


# Envoy asks.


async def test_envoy_is_told_the_token_and_nothing_else(aws: Aws, start_service: StartService, files: KeyFiles) -> None:
    async with start_service(**files.settings()) as service:
        answer = await ask(service, aws.credential())
        [line] = service.decisions()
        other = replace(recipe_of(aws.task()), audience="other").credential()
        hinted = {"authorization": other, "x-kuma-aws-iam-audience-hint": "other"}
        refused = await service.client.post(EXT_AUTHZ, headers=hinted)
    assert reason_of(refused) is Reason.AUDIENCE_MISMATCH
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    control_plane().check_dataplane(answer.headers["authorization"], RESOURCE, now())
    assert line["claimed"] is None
    assert line["token"]["origin"] == "fresh"


async def test_a_stream_has_one_credential(aws: Aws, start_service: StartService, files: KeyFiles) -> None:
    credential = aws.credential()
    async with start_service(**files.settings()) as service:
        two = await service.client.post(
            EXT_AUTHZ, headers=[("authorization", credential), ("authorization", credential)]
        )
        merged = await ask(service, f"{credential},{credential}")
        none = await service.client.post(EXT_AUTHZ)
        bearer = await ask(service, f"Bearer {credential}")
        for answer in (two, merged, none, bearer):
            assert reason_of(answer) is Reason.CREDENTIAL_MALFORMED
        assert (await ask(service, credential)).status_code == 200
        assert len(service.decisions()) == 5


async def test_what_stands_behind_the_prefix_and_in_the_body_decides_nothing(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    credential = aws.credential()
    async with start_service(**files.settings()) as service:
        for path in (
            "/v1/ext-authz/",
            "/v1/ext-authz/v3/bootstrap",
            "/v1/ext-authz/%2e",
        ):
            answer = await service.client.post(
                httpx.URL("http://service", raw_path=path.encode()),
                headers={"authorization": credential},
                content=b"\x00" * (MAX_BODY_BYTES + 1),
            )
            assert answer.status_code == 200, path
        assert reason_of(await service.client.post("/v1/ext-authz", content=b"")) is Reason.NOT_FOUND
        assert reason_of(await service.client.get(EXT_AUTHZ)) is Reason.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("size", [0, 100, MAX_BODY_BYTES, 1024 * 1024])
async def test_a_body_over_tcp_is_left_and_the_next_call_is_answered(
    aws: Aws, start_service: StartService, files: KeyFiles, size: int
) -> None:
    """Envoy can send the stream's first message along."""
    credential = aws.credential()
    async with start_service(**files.settings()) as service, listening(service.service.api) as (host, port):
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=f"http://{host}:{port}", trust_env=False, limits=limits, timeout=PATIENCE
        ) as client:
            for _ in range(3):
                answer = await client.post(EXT_AUTHZ, headers={"authorization": credential}, content=b"x" * size)
                assert (answer.status_code, answer.content) == (200, b"")


async def test_the_caller_token_stands_in_a_header_of_its_own_beside_envoys(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    path = files.folder / "caller-tokens"
    path.write_text(f"{CALLER_TOKEN}\n")
    credential, header = aws.credential(), OWN_HEADER.decode()
    async with start_service(**files.settings(), KMESH_AWSIAM_CALLER_TOKEN_FILE=str(path)) as service:
        known = await ask(service, credential, **{header: CALLER_TOKEN})
        assert known.status_code == 200
        assert header not in known.headers
        for refused in (
            await ask(service, credential),
            await ask(service, credential, **{header: "x" * 32}),
            await ask(service, credential, **{header: f"Bearer {CALLER_TOKEN}"}),
            await ask(service, f"Bearer {CALLER_TOKEN}"),
            await exchange(service, credential, None, **{header: CALLER_TOKEN}),
            await service.present(credential, None, **{header: CALLER_TOKEN}),
        ):
            assert reason_of(refused) is Reason.CALLER_NOT_AUTHENTICATED
        by_bearer = await exchange(service, credential, authorization=f"Bearer {CALLER_TOKEN}")
        assert by_bearer.status_code == 200
        two = [("authorization", credential), (header, CALLER_TOKEN), (header, CALLER_TOKEN)]
        assert reason_of(await service.client.post(EXT_AUTHZ, headers=two)) is Reason.CALLER_NOT_AUTHENTICATED
        assert CALLER_TOKEN not in str(service.log)
