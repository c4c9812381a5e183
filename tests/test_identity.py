"""A proxy gets only its role's identity (I27), on every path: both JSON paths, Envoy's, and with a presented token."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.core.proxy import ProxyType
from app.core.reasons import EXPLANATIONS, Reason
from demos.kuma.validator import DataplaneResource, RefusedError
from tests.conftest import StartService
from tests.support.keys import KeyFiles, rsa_key
from tests.support.service import RunningService
from tests.support.signing import NOW
from tests.support.tokens import (
    DATAPLANE_CLAIMS,
    LISTENER_CLAIMS,
    ZONE_CLAIMS,
    ZONE_HEADER,
    claims_of,
    make_token,
)
from tests.support.world import ACCOUNT, DATAPLANE, OTHER_ACCOUNT, PROXY, Aws, recipe_of
from tests.tokens.test_tokens import ask, control_plane, exchange, now

LABEL: Final = "kuma.io/workload"
EGRESS: Final = {"kuma.io/type": "egress", "kuma.io/mesh": "default"}
BOUND_EGRESS: Final = {**EGRESS, LABEL: "egress"}
LISTENER: Final = {"type": "dataplane", "mesh": "default", "name": "egress-1", "listeners": ["ZoneEgress"]}
BOUND_LISTENER: Final = {**LISTENER, "labels": {LABEL: "egress"}}
PAYMENTS: Final = {**PROXY, "labels": {LABEL: "payments"}}


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles.make(tmp_path)


def credential_of(aws: Aws, tags: Mapping[str, str]) -> str:
    return recipe_of(aws.session_of(aws.add_role(tags))).credential()


def current(claims: Mapping[str, Any], **changes: object) -> str:
    """Return a token of this moment with the key of its kind, without the claims that are None."""
    shift = int((datetime.now(UTC) - NOW).total_seconds())
    times = {name: claims[name] + shift for name in ("iat", "nbf", "exp")}
    changed = {name: value for name, value in {**claims, **times, **changes}.items() if value is not None}
    return make_token(changed, ZONE_HEADER, rsa_key(1)) if "Scope" in changed else make_token(changed)


async def present(service: RunningService, credential: str, proxy: Mapping[str, Any] | None) -> httpx.Response:
    return await service.present(credential, None if proxy is None else dict(proxy))


def reason_of(answer: httpx.Response) -> Reason:
    reason = Reason(answer.json()["reason"])
    assert answer.status_code == EXPLANATIONS[reason].status
    assert "authorization" not in answer.headers
    return reason


Way = Callable[[RunningService, str, Mapping[str, Any] | None], Awaitable[httpx.Response]]
JSON_WAYS: Final = pytest.mark.parametrize("way", [present, exchange], ids=["authenticate", "token"])


async def by_envoy(service: RunningService, credential: str, _proxy: Mapping[str, Any] | None) -> httpx.Response:
    return await ask(service, credential)


EVERY_WAY: Final = pytest.mark.parametrize(
    "way", [present, exchange, by_envoy], ids=["authenticate", "token", "ext-authz"]
)


# Another workload.


@JSON_WAYS
@pytest.mark.parametrize("is_token", [False, True], ids=["credential", "token-as-credential"])
async def test_a_label_of_another_workload_is_denied_unless_the_setting_lets_it_in(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way, *, is_token: bool
) -> None:
    """From Kuma 2.13 on the label can be the SPIFFE id, from 2.14.2 the mTLS service of a proxy without tags."""
    presented = current(DATAPLANE_CLAIMS) if is_token else aws.credential()
    async with start_service(**files.settings()) as service:
        assert (await way(service, presented, PROXY)).status_code == 200
        for workload in ("payments", "demo-app", ""):
            proxy = {**PROXY, "labels": {LABEL: workload}}
            assert reason_of(await way(service, presented, proxy)) is Reason.PROXY_WORKLOAD_MISMATCH
    async with start_service(**files.settings(), KMESH_AWSIAM_ALLOW_UNBOUND_WORKLOADS="true") as service:
        answer = await way(service, presented, PAYMENTS)
    assert answer.status_code == 200
    assert answer.json()["identity"]["workload"] is None


@JSON_WAYS
async def test_a_label_names_the_service_as_a_tag_does(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way
) -> None:
    """Kuma 3.0 knows no inbound tags, and compares the label; before, a Dataplane can have both."""
    labelled = {**PROXY, "tags": {}, "labels": {"kuma.io/service": "demo-app"}}
    other = {**PROXY, "labels": {"kuma.io/service": "payments"}}
    async with start_service(**files.settings()) as service:
        for presented in (aws.credential(), current(DATAPLANE_CLAIMS)):
            assert reason_of(await way(service, presented, other)) is Reason.PROXY_SERVICE_MISMATCH
            assert (await way(service, presented, labelled)).status_code == 200
            assert (await way(service, presented, {**labelled, "tags": PROXY["tags"]})).status_code == 200


@EVERY_WAY
@pytest.mark.parametrize("is_token", [False, True], ids=["credential", "token-as-credential"])
async def test_nobody_without_a_workload_gets_by_where_one_is_required(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way, *, is_token: bool
) -> None:
    """Kuma 2.13.0 to 2.13.9 and 2.14.0 to 2.14.1 need this setting: they accept a token without one for any workload."""
    bound = {**PROXY, "labels": {LABEL: "demo"}}
    good = current(DATAPLANE_CLAIMS, Workload="demo") if is_token else credential_of(aws, {**DATAPLANE, LABEL: "demo"})
    bad = current(DATAPLANE_CLAIMS) if is_token else aws.credential()
    async with start_service(**files.settings(), KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG="true") as service:
        assert reason_of(await way(service, bad, PROXY)) is Reason.ROLE_WORKLOAD_MISSING
        answer = await way(service, good, bound)
    assert answer.status_code == 200
    if way is by_envoy:
        assert claims_of(answer.headers["authorization"])["Workload"] == "demo"


# A zone proxy in a Dataplane.


async def test_a_zone_proxy_in_a_dataplane_gets_a_token_for_its_name_and_workload_in_its_mesh(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    credential = credential_of(aws, {**BOUND_EGRESS, "kuma.io/zone": "east", "kuma.io/service": "payments"})
    async with start_service(
        **files.settings(),
        KMESH_AWSIAM_REQUIRE_SERVICE_TAG="true",
        KMESH_AWSIAM_ZONE="west",
        KMESH_AWSIAM_ACCOUNT_MESHES=f"{ACCOUNT}=default,{OTHER_ACCOUNT}=*",
        KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE="none",
    ) as service:
        allowed = await service.present(credential, BOUND_LISTENER)
        issued = await exchange(service, credential, BOUND_LISTENER)
        token = issued.json()["token"]
        again = await service.present(token, BOUND_LISTENER)
        refused = await exchange(service, credential, {**BOUND_LISTENER, "zone": "west"})
        refused_again = await service.present(token, {**BOUND_LISTENER, "zone": "west"})
        lines = service.decisions()
    identity: dict[str, Any] = {
        "type": "egress",
        "mesh": "default",
        "service": None,
        "workload": "egress",
        "zone": "east",
        "labels": {},
    }
    assert [answer.json()["identity"] for answer in (allowed, issued, again)] == [identity] * 3
    own = {name: value for name, value in claims_of(token).items() if name[0].isupper()}
    assert own == {"Mesh": "default", "Type": "egress", "Workload": "egress", "Name": "egress-1", "Zone": "east"}
    assert reason_of(refused) is reason_of(refused_again) is Reason.PROXY_ZONE_MISMATCH
    assert [line["claimed"]["listeners"] for line in lines] == [["ZoneEgress"]] * 5
    resource = DataplaneResource(mesh="default", name="egress-1", labels={LABEL: "egress"})
    kuma = control_plane()
    kuma.check_dataplane(token, resource, now())
    for other in (
        DataplaneResource(mesh="default", name="egress-2", labels={LABEL: "egress"}),
        DataplaneResource(mesh="default", name="egress-1", labels={LABEL: "payments"}),
        DataplaneResource(mesh="payments", name="egress-1", labels={LABEL: "egress"}),
    ):
        with pytest.raises(RefusedError):
            kuma.check_dataplane(token, other, now())
    with pytest.raises(RefusedError, match="no signing key"):
        kuma.check_zone_proxy(token, "egress", "east", now())


async def test_no_token_is_issued_to_a_zone_proxy_in_a_dataplane_that_would_hold_for_more(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    unbound, bound = credential_of(aws, EGRESS), credential_of(aws, BOUND_EGRESS)
    async with start_service(**files.settings()) as service:
        assert (await service.present(unbound, LISTENER)).status_code == 200
        assert reason_of(await exchange(service, unbound, LISTENER)) is Reason.ROLE_WORKLOAD_MISSING
        nameless = {**BOUND_LISTENER, "name": None}
        assert (await service.present(bound, nameless)).status_code == 200
        answer = await exchange(service, bound, nameless)
    assert reason_of(answer) is Reason.MALFORMED_REQUEST
    assert "proxy.name" in answer.json()["detail"]


@JSON_WAYS
@pytest.mark.parametrize("kind", ["ZoneEgress", "ZoneIngress"])
async def test_a_data_planes_role_has_no_zone_listener(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way, kind: str
) -> None:
    """An egress of its mesh carries the traffic of other services."""
    async with start_service(**files.settings()) as service:
        for presented in (aws.credential(), current(DATAPLANE_CLAIMS)):
            answer = await way(service, presented, {**PROXY, "listeners": [kind]})
            assert reason_of(answer) is Reason.PROXY_TYPE_MISMATCH
            assert (await way(service, presented, {**PROXY, "listeners": []})).status_code == 200
            assert (await way(service, presented, {**PROXY, "listeners": None})).status_code == 200


@JSON_WAYS
@pytest.mark.parametrize(
    ("claims", "proxy"),
    [
        pytest.param(LISTENER_CLAIMS, {**BOUND_LISTENER, "listeners": []}, id="a-listeners-token-for-a-data-plane"),
        pytest.param(LISTENER_CLAIMS, {**BOUND_LISTENER, "listeners": ["ZoneIngress"]}, id="for-the-other-kind"),
        pytest.param(LISTENER_CLAIMS, {**BOUND_LISTENER, "listeners": ["ZoneIngress", "ZoneEgress"]}, id="for-both"),
        pytest.param(LISTENER_CLAIMS, {"type": "egress", "name": "egress-1"}, id="for-a-resource-of-every-mesh"),
        pytest.param({**ZONE_CLAIMS, "Scope": ["egress"]}, LISTENER, id="a-zone-token-for-a-listener"),
        pytest.param(DATAPLANE_CLAIMS, LISTENER, id="a-data-planes-token-for-a-listener"),
    ],
)
async def test_a_token_is_for_the_kind_of_resource_alone_that_it_was_issued_to(
    start_service: StartService, files: KeyFiles, way: Way, claims: Mapping[str, Any], proxy: Mapping[str, Any]
) -> None:
    async with start_service(**files.settings()) as service:
        assert reason_of(await way(service, current(claims), proxy)) is Reason.PROXY_TYPE_MISMATCH


@JSON_WAYS
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mesh": "payments"}, Reason.PROXY_MESH_MISMATCH),
        ({"name": "egress-2"}, Reason.PROXY_NAME_MISMATCH),
        ({"name": None}, Reason.PROXY_NAME_MISMATCH),
        ({"labels": {LABEL: "payments"}}, Reason.PROXY_WORKLOAD_MISMATCH),
        ({"labels": {}}, Reason.PROXY_WORKLOAD_MISMATCH),
        ({"tags": {"kuma.io/service": ["payments"]}}, Reason.PROXY_SERVICE_MISMATCH),
    ],
)
async def test_a_listeners_token_holds_its_bearer_to_all_that_it_names(
    start_service: StartService, files: KeyFiles, way: Way, changes: Mapping[str, Any], reason: Reason
) -> None:
    token = current(LISTENER_CLAIMS)
    async with start_service(**files.settings()) as service:
        assert (await way(service, token, BOUND_LISTENER)).status_code == 200
        assert reason_of(await way(service, token, {**BOUND_LISTENER, **changes})) is reason


@JSON_WAYS
@pytest.mark.parametrize("kind", [ProxyType.INGRESS, ProxyType.EGRESS])
async def test_listeners_are_those_of_a_dataplane(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way, kind: ProxyType
) -> None:
    async with start_service(**files.settings()) as service:
        credential = credential_of(aws, {"kuma.io/type": kind, "kuma.io/zone": "east"})
        answer = await way(service, credential, {"type": kind, "listeners": ["ZoneEgress"]})
        assert reason_of(answer) is Reason.MALFORMED_REQUEST
        assert "proxy.listeners" in answer.json()["detail"]
        assert (await way(service, credential, {"type": kind, "listeners": []})).status_code == 200


async def test_by_envoy_a_zone_proxys_role_is_one_of_a_resource_of_its_own(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    """Nothing is known of the proxy there.

    The token is a zone token, which no control plane accepts for a Dataplane.
    """
    credential = credential_of(aws, {**BOUND_EGRESS, "kuma.io/zone": "east"})
    async with start_service(**files.settings()) as service:
        token = (await ask(service, credential)).headers["authorization"]
        listeners = current(LISTENER_CLAIMS)
        assert (await ask(service, listeners)).headers["authorization"] == listeners
    assert claims_of(token)["Scope"] == ["egress"]
    with pytest.raises(RefusedError, match="no signing key"):
        control_plane().check_dataplane(token, DataplaneResource(mesh="default", name="egress-1"), now())


# Every name.


async def test_a_token_for_every_name_is_never_issued_where_names_are_asked_for(
    aws: Aws, start_service: StartService, files: KeyFiles
) -> None:
    """For Kuma, a token without ``Name`` is valid for every name; Envoy's call never gives one."""
    async with start_service(**files.settings(), KMESH_AWSIAM_TOKEN_NAMES="true") as service:
        for proxy in ({**PROXY, "name": None}, None):
            answer = await exchange(service, aws.credential(), proxy)
            assert reason_of(answer) is Reason.MALFORMED_REQUEST
            assert answer.json()["detail"].startswith("At fault: proxy.name. ")
        assert reason_of(await ask(service, aws.credential())) is Reason.PROXY_NAME_MISSING
        assert {line["granted"] for line in service.decisions()} == {None}
        named = await exchange(service, aws.credential(), PROXY)
        assert claims_of(named.json()["token"])["Name"] == PROXY["name"]
        assert (await ask(service, named.json()["token"])).status_code == 200
        zone_proxy = credential_of(aws, {"kuma.io/type": "egress", "kuma.io/zone": "east"})
        assert (await ask(service, zone_proxy)).status_code == 200


# Another zone, and another role path.


@EVERY_WAY
@pytest.mark.parametrize("is_token", [False, True], ids=["credential", "token-as-credential"])
async def test_no_zone_proxy_of_another_zone_gets_by(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way, *, is_token: bool
) -> None:
    async with start_service(**files.settings(), KMESH_AWSIAM_ZONE="east") as service:
        for zone, is_allowed in (("east", True), ("west", False)):
            tags = {"kuma.io/type": "ingress", "kuma.io/zone": zone}
            presented = current(ZONE_CLAIMS, Zone=zone) if is_token else credential_of(aws, tags)
            for proxy in (None, {"type": "ingress"}, {"type": "ingress", "zone": "east"}):
                answer = await way(service, presented, proxy)
                assert (answer.status_code == 200) is is_allowed
                assert is_allowed or reason_of(answer) is Reason.PROXY_ZONE_MISMATCH


async def test_the_one_zone_bounds_what_the_proxy_says_and_needs_no_keys(aws: Aws, start_service: StartService) -> None:
    credential = credential_of(aws, {"kuma.io/type": "ingress"})
    async with start_service(KMESH_AWSIAM_ZONE="east") as service:
        answers = [
            await service.present(credential, {"type": "ingress", "zone": zone}) for zone in (None, "east", "west")
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert answers[0].json()["identity"]["zone"] is None


@EVERY_WAY
async def test_only_roles_below_the_path_get_by_and_tokens_are_not_judged_by_it(
    aws: Aws, start_service: StartService, files: KeyFiles, way: Way
) -> None:
    role = aws.add_named_role(ACCOUNT, "in-the-mesh", path="/mesh/team/", tags=DATAPLANE)
    async with start_service(**files.settings(), KMESH_AWSIAM_ROLE_PATH_PREFIX="/mesh/") as service:
        good = recipe_of(aws.session_of(role)).credential()
        assert (await way(service, good, PROXY)).status_code == 200
        assert reason_of(await way(service, aws.credential(), PROXY)) is Reason.ROLE_PATH_NOT_ALLOWED
        assert (await way(service, current(DATAPLANE_CLAIMS), PROXY)).status_code == 200
