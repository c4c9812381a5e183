"""Failures that an operator meets, provoked one by one: answer, audit line, ``/ready`` and logs name cause and remedy.

Each row does what somebody really does wrong, against the emulated AWS or a broken way to it. The asserted words are of the
cause and of the remedy, and no whole sentences. The page docs/how-to/diagnose-a-denial.md has the same table.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.agent.service_client import ServiceAccess
from app.core.signed_request import CredentialForm
from app.emulator import Emulator, FaultKind, SessionCredentials
from app.settings import accounts
from tests.conftest import LoadSettings
from tests.support.passing_time import let_pass
from tests.support.patience import PATIENCE
from tests.support.provoked import CLASS_NAME, Failure, Provoke, Scene, Variables, aged, run_agent
from tests.support.service import until
from tests.support.signing import Recipe, base64url, jwt
from tests.support.tls import Authority, make_certificate
from tests.support.wire import answering, closed_port, recording_server
from tests.support.world import ACCOUNT, DATAPLANE, INGRESS, OTHER_ACCOUNT, PROXY, STRANGERS_ACCOUNT, Aws

PAGE: Final = Path(__file__).parents[1] / "docs" / "how-to" / "diagnose-a-denial.md"
CHINA: Final = "sts.cn-north-1.amazonaws.com.cn"


def given(**variables: str | None) -> Any:
    async def of(_scene: Scene) -> Variables:
        return variables

    return of


def with_keys(**variables: str | None) -> Any:
    """Add signing keys, so that the agent gets as far as the decision."""

    async def of(scene: Scene) -> Variables:
        return {**scene.keys.settings(), **variables}

    return of


def signed(change: Any = lambda recipe: recipe, **options: Any) -> Provoke:
    async def provoke(scene: Scene) -> httpx.Response:
        return await scene.present(change(scene.recipe(**options)))

    return provoke


def tagged(tags: Mapping[str, str] | tuple[tuple[str, str], ...], proxy: Mapping[str, Any] = PROXY) -> Provoke:
    async def provoke(scene: Scene) -> httpx.Response:
        return await scene.present(scene.tagged(tags), proxy)

    return provoke


def claiming(**claims: Any) -> Provoke:
    async def provoke(scene: Scene) -> httpx.Response:
        return await scene.present(scene.recipe(), {**PROXY, **claims})

    return provoke


def broken(service: str, kind: FaultKind, action: str | None = None, **options: Any) -> Provoke:
    async def provoke(scene: Scene) -> httpx.Response:
        getattr(scene.aws.emulator.faults, service).inject(kind, action=action)
        return await scene.present(scene.recipe(**options))

    return provoke


async def hanging_sts(scene: Scene) -> httpx.Response:
    scene.aws.emulator.faults.sts.inject(FaultKind.HANG, action="GetCallerIdentity")
    scene.aws.emulator.calls.clear()
    deciding = asyncio.create_task(scene.present(scene.recipe()))
    await until(lambda: len(scene.aws.sts_calls()) > 0)
    let_pass(60.0)
    response = await deciding
    async with asyncio.timeout(PATIENCE):  # the call goes on after the decision's deadline
        while "sts_unavailable" not in await scene.ready():  # noqa: ASYNC110 - a probe has no event
            await asyncio.sleep(0.01)
    return response


async def other_audience(scene: Scene) -> httpx.Response:
    """Call as the agent and the commands do, with their hint."""
    recipe = replace(scene.recipe(), audience="staging")
    return await scene.present(recipe, x_kuma_aws_iam_audience_hint="staging")


async def newline(scene: Scene) -> httpx.Response:
    return await scene.present(scene.recipe().credential() + "\n")


def by(recipe: Recipe, session: SessionCredentials) -> Recipe:
    """Return the recipe with another signer."""
    return replace(
        recipe,
        access_key_id=session.access_key_id,
        secret_key=session.secret_access_key,
        token=session.session_token,
    )


async def session_over(scene: Scene) -> httpx.Response:
    ended = scene.aws.emulator.world.issue_session(ACCOUNT, "demo-app", "old", timedelta(seconds=-60))
    return await scene.present(by(scene.recipe(), ended))


async def role_deleted(scene: Scene) -> httpx.Response:
    recipe = scene.tagged(DATAPLANE)
    scene.aws.remove_roles()
    return await scene.present(recipe)


async def role_gone_meanwhile(scene: Scene) -> httpx.Response:
    recipe = scene.tagged(DATAPLANE)
    assert (await scene.present(recipe)).status_code == 200
    scene.aws.remove_roles()
    return await scene.present(recipe)


async def role_recreated(scene: Scene) -> httpx.Response:
    recipe = scene.tagged(DATAPLANE)
    assert (await scene.present(recipe)).status_code == 200
    [role] = scene.aws.roles
    scene.aws.emulator.world.delete_role(ACCOUNT, role.name)
    scene.aws.emulator.world.add_role(ACCOUNT, role.name, tags=DATAPLANE)
    return await scene.present(recipe)


async def user_instead_of_role(scene: Scene) -> httpx.Response:
    user = scene.aws.emulator.world.issue_federated_user(ACCOUNT, "somebody")
    return await scene.present(by(scene.recipe(), user))


async def foreign_token(scene: Scene) -> httpx.Response:
    header = {"alg": "RS256", "kid": "removed-key", "typ": "JWT"}
    token = jwt(header, {"Mesh": "default", "Name": "demo-app-1", "exp": 4102444800}, base64url("signature"))
    return await scene.present(token)


async def no_key_for_the_mesh(scene: Scene) -> httpx.Response:
    return await scene.present(scene.recipe(), path="/v1/token")


async def keys_of_another_mesh(scene: Scene) -> Variables:
    keys = scene.keys
    keys.dataplane.write_text("dp-1 payments dp-1.pem\n")
    return keys.settings()


# The service's own credentials.


def own_keys(access_key_id: str, secret: str | None = None, token: str | None = None) -> Variables:
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret or "of another key",
        "AWS_SESSION_TOKEN": token,
    }


async def dead_own_key(_scene: Scene) -> Variables:
    return own_keys("AKIAIOSFODNN7EXAMPLE")


async def wrong_own_secret(scene: Scene) -> Variables:
    return own_keys(scene.aws.emulator.world.add_user(ACCOUNT, "service").access_key_id)


async def ended_own_session(scene: Scene) -> Variables:
    session = scene.aws.emulator.world.issue_session(ACCOUNT, "demo-app", "service", timedelta(seconds=-60))
    return own_keys(session.access_key_id, session.secret_access_key, session.session_token)


# The way to AWS.


async def no_such_name(_scene: Scene) -> Variables:
    return {"AWS_ENDPOINT_URL_STS": "https://sts.no-such-region.invalid"}


async def intercepted(scene: Scene) -> Variables:
    certificate = make_certificate(scene.folder)
    files = {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
    tls = scene.closing.enter_context(Emulator(scene.aws.emulator.world, **files))  # type: ignore[arg-type]
    return {"AWS_ENDPOINT_URL_STS": tls.url}


async def refusing_proxy(scene: Scene) -> Variables:
    proxy = await scene.closing.enter_async_context(recording_server(answering("403 Forbidden", {}, b"")))
    url = proxy.url.replace("http://", "http://someone:hunter2@")
    return {"KMESH_AWSIAM_HTTPS_PROXY": url, "AWS_ENDPOINT_URL_STS": None, "AWS_ENDPOINT_URL_IAM": None}


async def nobody_listens(scene: Scene) -> Variables:
    port = scene.closing.enter_context(closed_port())
    return {"AWS_ENDPOINT_URL_IAM": f"http://127.0.0.1:{port}"}


async def blind_service(scene: Scene) -> Variables:
    """A service whose own role may not read any role."""
    role = scene.aws.add_named_role(ACCOUNT, "blind-service", may_get_roles=())
    return scene.aws.emulator.environment(ACCOUNT, role.name)


async def distrusting_reader(scene: Scene) -> Variables:
    role = scene.aws.add_named_role(OTHER_ACCOUNT, "distrustful", trusted=("arn:aws:iam::999988887777:role/*",))
    return {"KMESH_AWSIAM_READER_ROLE_NAME": role.name}


async def accounts_file(scene: Scene) -> Variables:
    file = scene.folder / "accounts"
    file.write_text(f"{ACCOUNT}\n")
    return {"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": None, "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE": str(file)}


async def bad_accounts_file(scene: Scene) -> httpx.Response:
    (scene.folder / "accounts").write_text("not an account\n")
    scene.service.reload()
    await until(lambda: any(event["event"] == "not reloaded" for event in scene.log))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "MAX_STALE_SECONDS", -1.0)  # an hour later
        return await scene.present(scene.recipe())


async def caller_token(scene: Scene) -> Variables:
    file = scene.folder / "tokens"
    file.write_text("right-" * 8)
    file.chmod(0o600)
    return {**scene.keys.settings(), "KMESH_AWSIAM_CALLER_TOKEN_FILE": str(file)}


async def wrong_caller_token(scene: Scene) -> httpx.Response:
    return await scene.present(scene.recipe(), authorization="Bearer wrong")


async def absent_store(scene: Scene) -> Variables:
    key = scene.folder / "store.key"
    key.write_text(os.urandom(32).hex() + "\n")
    key.chmod(0o600)
    port = scene.closing.enter_context(closed_port())
    return {"KMESH_AWSIAM_STORE": f"redis://127.0.0.1:{port}", "KMESH_AWSIAM_STORE_KEY_FILE": str(key)}


async def decided_without_the_store(scene: Scene) -> None:
    await until(lambda: any(event["event"] == "store does not answer" for event in scene.log))
    assert (await scene.present(scene.recipe())).status_code == 200


FAILURES: Final = [
    # 401: the credential.
    Failure(
        id="malformed",
        provoked="The credential file ends with a newline",
        reason="credential_malformed",
        fix="write exactly the credential; `authenticate --explain` says whether there is one",
        provoke=newline,
        answer=("--explain",),
        audit=("credential",),
    ),
    Failure(
        id="expired",
        provoked="The credential is 20 minutes old",
        reason="credential_expired",
        fix="renew it every few minutes; if it was new, set the clock",
        provoke=signed(lambda recipe: aged(recipe, -20)),
        answer=("make a new one", "check the clock"),
        audit=("clock_skew_seconds", "-1200"),
    ),
    Failure(
        id="clock-ahead",
        provoked="The proxy's clock is 10 minutes ahead",
        reason="credential_not_yet_valid",
        fix="set both clocks by NTP",
        provoke=signed(lambda recipe: aged(recipe, 10)),
        answer=("clock", "NTP"),
        audit=("clock_skew_seconds",),
    ),
    Failure(
        id="other-region",
        provoked="It is signed for a region that is not accepted",
        reason="host_not_allowed",
        fix="set `AWS_REGION` of the proxy, or accept the region in `KMESH_AWSIAM_REGIONS`",
        provoke=signed(),
        answer=("KMESH_AWSIAM_REGIONS", "KMESH_AWSIAM_PARTITION"),
        audit=("sts.us-east-1.amazonaws.com",),
        variables=given(KMESH_AWSIAM_REGIONS="eu-west-1"),
    ),
    Failure(
        id="other-partition",
        provoked="It is signed for STS in another partition",
        reason="host_not_allowed",
        fix="correct `KMESH_AWSIAM_PARTITION`, or the region of the proxy",
        provoke=signed(lambda recipe: replace(recipe, host=CHINA, region="cn-north-1")),
        answer=("KMESH_AWSIAM_PARTITION",),
        audit=(CHINA,),
    ),
    Failure(
        id="scope",
        provoked="Its scope names another region than its host",
        reason="scope_mismatch",
        fix="set the signer's `AWS_REGION` to the region of the host",
        provoke=signed(lambda recipe: replace(recipe, region="eu-west-1")),
        answer=("AWS_REGION",),
        audit=("eu-west-1",),
    ),
    Failure(
        id="audience-missing",
        provoked="It is presigned without an audience",
        reason="audience_missing",
        fix="sign with `--audience`",
        provoke=signed(lambda recipe: replace(recipe, audience=None)),
        answer=("--audience", "KMESH_AWSIAM_AUDIENCE"),
        audit=("audience",),
    ),
    Failure(
        id="audience-envelope",
        provoked="An envelope is signed for another audience",
        reason="audience_mismatch",
        fix="set one `KMESH_AWSIAM_AUDIENCE` on both sides",
        provoke=signed(lambda recipe: replace(recipe, audience="staging"), form=CredentialForm.ENVELOPE),
        answer=("KMESH_AWSIAM_AUDIENCE",),
        audit=("audience",),
    ),
    Failure(
        id="audience-hint",
        provoked="A presigned credential is signed for another audience",
        reason="audience_mismatch",
        fix="set one `KMESH_AWSIAM_AUDIENCE` on both sides; the audit line has both values",
        provoke=other_audience,
        answer=("--audience", "KMESH_AWSIAM_AUDIENCE", "one value"),
        audit=("SignatureDoesNotMatch", "KMESH_AWSIAM_AUDIENCE", '"staging"', '"kuma-control-plane"'),
    ),
    Failure(
        id="audience-presigned",
        provoked="A presigned credential is signed for another audience, and the caller sends no hint",
        reason="sts_rejected",
        fix="compare `KMESH_AWSIAM_AUDIENCE` on both sides",
        provoke=signed(lambda recipe: replace(recipe, audience="staging")),
        answer=("another audience than KMESH_AWSIAM_AUDIENCE",),
        audit=("SignatureDoesNotMatch",),
    ),
    Failure(
        id="session-expired",
        provoked="The task's AWS session has expired",
        reason="session_expired",
        fix="let the proxy fetch its credentials again",
        provoke=session_over,
        answer=("fetch new credentials of its task role",),
        audit=("ExpiredToken",),
    ),
    Failure(
        id="role-deleted",
        provoked="The role was deleted while the task runs",
        reason="sts_rejected",
        fix="run the task with a role that exists",
        provoke=role_deleted,
        answer=("role that was deleted",),
        audit=("InvalidClientTokenId",),
    ),
    Failure(
        id="foreign-token",
        provoked="A token of another issuer, or of a removed key, is presented",
        reason="token_rejected",
        fix="present an AWS credential, and get a new token",
        provoke=foreign_token,
        answer=("get a new token", "KMESH_AWSIAM_DATAPLANE_KEYS_FILE"),
        audit=("key id is not known",),
        variables=with_keys(),
    ),
    Failure(
        id="caller-token",
        provoked="The caller sends a wrong token",
        reason="caller_not_authenticated",
        fix="give the agent or control plane a token of `KMESH_AWSIAM_CALLER_TOKEN_FILE`",
        provoke=wrong_caller_token,
        answer=("KMESH_AWSIAM_CALLER_TOKEN_FILE", "Bearer"),
        log=("unknown caller", "token"),
        agent=("caller_not_authenticated", "KMESH_AWSIAM_CALLER_TOKEN_FILE"),
        variables=caller_token,
    ),
    # 403: the principal.
    Failure(
        id="user",
        provoked="An IAM user signs, and no role",
        reason="principal_not_a_role",
        fix="give the task a task role",
        provoke=user_instead_of_role,
        answer=("task role",),
        audit=("another kind of principal than a role",),
    ),
    Failure(
        id="account",
        provoked="The account is not in the list",
        reason="account_not_authorized",
        fix="add it to `KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS`",
        provoke=signed(account=STRANGERS_ACCOUNT),
        answer=("KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS",),
        audit=(STRANGERS_ACCOUNT, "demo-app"),
        agent=("denied", "account_not_authorized", "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS", "request id"),
        variables=with_keys(),
    ),
    Failure(
        id="role-gone",
        provoked="The role was deleted after STS vouched for it",
        reason="role_not_found",
        fix="run the task with a role that exists",
        provoke=role_gone_meanwhile,
        answer=("deleted",),
        audit=("NoSuchEntity", "provoked-0"),
        variables=given(KMESH_AWSIAM_ROLE_TTL="0.000001"),
    ),
    Failure(
        id="role-recreated",
        provoked="The role was deleted and created again",
        reason="role_id_mismatch",
        fix="restart the task",
        provoke=role_recreated,
        answer=("recreated", "restart the task"),
        audit=("provoked-0", "role_id"),
        variables=given(KMESH_AWSIAM_ROLE_TTL="0.000001"),
    ),
    Failure(
        id="no-type",
        provoked="The role has no tags",
        reason="role_type_missing",
        fix="tag it with `kuma.io/type`",
        provoke=tagged({}),
        answer=("kuma.io/type", "dataplane, ingress or egress"),
        audit=("provoked-0",),
        agent=("role_type_missing", "Tag the role with kuma.io/type"),
        variables=with_keys(),
    ),
    Failure(
        id="no-mesh",
        provoked="The role has no `kuma.io/mesh`",
        reason="role_mesh_missing",
        fix="tag it with `kuma.io/mesh`",
        provoke=tagged({"kuma.io/type": "dataplane"}),
        answer=("kuma.io/mesh",),
        audit=("provoked-0",),
    ),
    Failure(
        id="typo",
        provoked="`kuma.io/type` is misspelt: `dataplan`",
        reason="role_tag_invalid",
        fix="correct the tag that the audit line names",
        provoke=tagged({**DATAPLANE, "kuma.io/type": "dataplan"}),
        answer=("the audit line names the key",),
        audit=("kuma.io/type", "dataplan"),
    ),
    Failure(
        id="case-twin",
        provoked="A tag key is spelt in another case: `Kuma.io/mesh`",
        reason="role_tag_invalid",
        fix="remove that tag, and find out who set it",
        provoke=tagged((*DATAPLANE.items(), ("Kuma.io/Mesh", "admin"))),
        answer=("another case",),
        audit=("Kuma.io/Mesh",),
    ),
    Failure(
        id="path",
        provoked="The role is not under the required path",
        reason="role_path_not_allowed",
        fix="create the role under `KMESH_AWSIAM_ROLE_PATH_PREFIX`",
        provoke=signed(),
        answer=("KMESH_AWSIAM_ROLE_PATH_PREFIX",),
        audit=("/workloads/",),
        variables=given(KMESH_AWSIAM_ROLE_PATH_PREFIX="/mesh/"),
    ),
    Failure(
        id="account-mesh",
        provoked="The account may not claim the mesh",
        reason="account_mesh_not_allowed",
        fix="correct `KMESH_AWSIAM_ACCOUNT_MESHES`, or the role's tag",
        provoke=signed(),
        answer=("KMESH_AWSIAM_ACCOUNT_MESHES",),
        audit=("default", ACCOUNT),
        variables=given(KMESH_AWSIAM_ACCOUNT_MESHES=f"{ACCOUNT}=payments,{OTHER_ACCOUNT}=*"),
    ),
    Failure(
        id="mesh",
        provoked="The proxy joins another mesh than its role's",
        reason="proxy_mesh_mismatch",
        fix="correct the `Dataplane` or the role's tag",
        provoke=claiming(mesh="payments"),
        answer=("mesh of the Dataplane or of the role's tag",),
        audit=("payments", "default"),
    ),
    Failure(
        id="service",
        provoked="The `Dataplane` has another service than its role",
        reason="proxy_service_mismatch",
        fix="correct `kuma.io/service` of the `Dataplane` or of the role",
        provoke=claiming(tags={"kuma.io/service": ["backend"]}),
        answer=("kuma.io/service", "must equal the role's tag"),
        audit=("backend", "demo-app"),
    ),
    Failure(
        id="workload",
        provoked="The proxy has a workload label, and its role no such tag",
        reason="proxy_workload_mismatch",
        fix="tag the role with `kuma.io/workload`, or remove the label",
        provoke=claiming(labels={"kuma.io/workload": "admin"}),
        answer=("tag the role with kuma.io/workload",),
        audit=("admin",),
    ),
    Failure(
        id="type",
        provoked="An ingress runs with the role of a data plane",
        reason="proxy_type_mismatch",
        fix="run it with a role whose `kuma.io/type` is `ingress`",
        provoke=claiming(type="ingress", mesh=None, tags={}),
        answer=("kuma.io/type",),
        audit=("ingress", "dataplane"),
    ),
    Failure(
        id="disabled",
        provoked="The type is not turned on here",
        reason="proxy_type_disabled",
        fix="set the `*_TYPE` variable of that type to `aws-iam`",
        provoke=tagged(INGRESS, {"type": "ingress", "name": "ingress-1"}),
        answer=("KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", "aws-iam"),
        audit=("ingress",),
        variables=given(KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE="zoneToken"),
    ),
    # 503: the service's own credentials.
    Failure(
        id="own-dead",
        provoked="The service's own key was deleted",
        reason="own_credentials_unavailable",
        fix="give the service credentials that work; it looks again every 5 s",
        provoke=signed(),
        answer=("/ready", "task role of the service"),
        audit=("InvalidClientTokenId", "restart the task"),
        ready=("own_credentials_unavailable", "InvalidClientTokenId", "restart the task"),
        log=("own credentials unavailable", "InvalidClientTokenId", "the role or user was deleted"),
        agent=("undecided", "own_credentials_unavailable", "task role of the service"),
        variables=lambda scene: merged(scene, dead_own_key),
    ),
    Failure(
        id="own-secret",
        provoked="The service's own secret key is wrong",
        reason="own_credentials_unavailable",
        fix="correct `AWS_SECRET_ACCESS_KEY` or the profile",
        provoke=signed(),
        answer=("AWS_* variables",),
        audit=("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ready=("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        log=("SignatureDoesNotMatch",),
        variables=wrong_own_secret,
    ),
    Failure(
        id="own-expired",
        provoked="The service's own session, copied into variables, has expired",
        reason="own_credentials_unavailable",
        fix="use the task role, or replace the `AWS_*` variables and restart",
        provoke=signed(),
        answer=("AWS_* variables",),
        audit=("ExpiredToken", "replace the AWS_* variables"),
        ready=("ExpiredToken", "restart the task"),
        log=("ExpiredToken",),
        variables=ended_own_session,
    ),
    Failure(
        id="own-missing",
        provoked="The service has no AWS credentials",
        reason="own_credentials_unavailable",
        fix="give its task a task role",
        provoke=signed(),
        answer=("task role",),
        audit=("finds no credentials", "task role"),
        ready=("task role", "finds no credentials"),
        log=("no AWS credentials yet", "task role"),
        variables=given(AWS_CONTAINER_CREDENTIALS_FULL_URI=None),
    ),
    # 503: the way to AWS.
    Failure(
        id="dns",
        provoked="The name of the STS endpoint does not resolve",
        reason="sts_unavailable",
        fix="correct DNS, or the private DNS name of the VPC endpoint",
        provoke=signed(),
        answer=("STS", "/ready"),
        audit=("sts.no-such-region.invalid", "resolve", "DNS"),
        ready=("sts.no-such-region.invalid", "resolve", "DNS"),
        log=("sts.no-such-region.invalid",),
        variables=no_such_name,
    ),
    Failure(
        id="interception",
        provoked="A firewall intercepts TLS",
        reason="sts_unavailable",
        fix="set `AWS_CA_BUNDLE` to its authority",
        provoke=signed(),
        answer=("STS", "/ready"),
        audit=("certificate of 127.0.0.1", "is not trusted", "AWS_CA_BUNDLE"),
        ready=("is not trusted", "AWS_CA_BUNDLE"),
        log=("AWS_CA_BUNDLE",),
        agent=("undecided", "sts_unavailable"),
        variables=lambda scene: merged(scene, intercepted),
    ),
    Failure(
        id="proxy",
        provoked="The HTTPS proxy refuses the host",
        reason="sts_unavailable",
        fix="allow the host at the proxy of `KMESH_AWSIAM_HTTPS_PROXY`",
        provoke=signed(),
        answer=("STS", "/ready"),
        audit=("KMESH_AWSIAM_HTTPS_PROXY", "refuses CONNECT", "403", "allow sts.us-east-1.amazonaws.com"),
        ready=("KMESH_AWSIAM_HTTPS_PROXY", "refuses CONNECT"),
        log=("refuses CONNECT",),
        variables=refusing_proxy,
    ),
    Failure(
        id="iam-refused",
        provoked="Nothing listens at the IAM endpoint",
        reason="iam_unavailable",
        fix="correct the endpoint, or the way to it",
        provoke=signed(),
        answer=("IAM", "/ready"),
        audit=("127.0.0.1", "refuses the connection", "check address and port"),
        ready=("refuses the connection",),
        variables=nobody_listens,
    ),
    Failure(
        id="sts-throttled",
        provoked="STS throttles",
        reason="sts_throttled",
        fix="wait; find out who else uses the account's quota",
        provoke=broken("sts", FaultKind.THROTTLE, "GetCallerIdentity"),
        answer=("600 requests/s", "try again"),
        audit=("Throttling",),
        ready=("sts_throttled", "Throttling"),
    ),
    Failure(
        id="iam-throttled",
        provoked="IAM throttles",
        reason="iam_throttled",
        fix="wait; a longer `KMESH_AWSIAM_ROLE_TTL` saves calls",
        provoke=broken("iam", FaultKind.THROTTLE),
        answer=("limits iam:GetRole", "try again"),
        audit=("Throttling",),
        ready=("iam_throttled",),
    ),
    Failure(
        id="sts-hangs",
        provoked="STS takes requests and does not answer",
        reason="sts_unavailable",
        fix="look at STS's health, and at a VPC endpoint on the path",
        provoke=hanging_sts,
        answer=("STS", "/ready"),
        audit=("did not answer in time", "VPC endpoint"),
        ready=("did not answer in time",),
        variables=given(KMESH_AWSIAM_DECISION_TIMEOUT="60"),
    ),
    Failure(
        id="sts-down",
        provoked="STS answers 503",
        reason="sts_unavailable",
        fix="wait; AWS or a proxy on the path has a fault",
        provoke=broken("sts", FaultKind.SERVICE_UNAVAILABLE, "GetCallerIdentity"),
        answer=("STS",),
        audit=("STS answered 503", "try again"),
        ready=("STS answered 503",),
    ),
    Failure(
        id="sts-endpoint-policy",
        provoked="The policy of the VPC endpoint for STS denies",
        reason="sts_access_denied",
        fix="correct that policy",
        provoke=broken("sts", FaultKind.ACCESS_DENIED, "GetCallerIdentity"),
        answer=("policy of the VPC endpoint",),
        audit=("AccessDenied", "VPC endpoint policy", "allow sts:GetCallerIdentity"),
        ready=("VPC endpoint",),
    ),
    Failure(
        id="iam-policy",
        provoked="The service's own role lacks `iam:GetRole`",
        reason="iam_access_denied",
        fix="attach the policy in the log line `iam access denied`",
        provoke=signed(),
        answer=("iam:GetRole", "log"),
        audit=("GetRole answered AccessDenied", "identity-based policy", "attach a policy that allows iam:GetRole"),
        ready=("iam_access_denied", "attach a policy"),
        log=("iam access denied", "mending_policy", "attach_to"),
        variables=blind_service,
    ),
    Failure(
        id="iam-endpoint-policy",
        provoked="The policy of the VPC endpoint for IAM denies",
        reason="iam_access_denied",
        fix="correct that policy; the role's policies are not at fault",
        provoke=broken("iam", FaultKind.ACCESS_DENIED),
        answer=("which policy denies it",),
        audit=("VPC endpoint policy", "in the policy of the VPC endpoint"),
        ready=("VPC endpoint",),
        log=("iam access denied", "VPC endpoint policy"),
    ),
    Failure(
        id="no-reader",
        provoked="The role is in another account, and there is no reader role",
        reason="iam_access_denied",
        fix="make a reader role, and set `KMESH_AWSIAM_READER_ROLE_NAME`",
        provoke=signed(role="backend", account=OTHER_ACCOUNT),
        answer=("reader role",),
        audit=(OTHER_ACCOUNT, "KMESH_AWSIAM_READER_ROLE_NAME", "iam:GetRole"),
        log=("listed accounts cannot be read", "KMESH_AWSIAM_READER_ROLE_NAME"),
        variables=given(KMESH_AWSIAM_READER_ROLE_NAME=None, KMESH_AWSIAM_READER_EXTERNAL_ID=None),
    ),
    Failure(
        id="reader-trust",
        provoked="The reader role does not trust the service",
        reason="iam_access_denied",
        fix="let it trust the service's role, with the external id",
        provoke=signed(role="backend", account=OTHER_ACCOUNT),
        answer=("reader role",),
        audit=("AssumeRole answered AccessDenied", "trust the service's role", "external id"),
        ready=("trust the service's role",),
        log=("iam access denied", "sts:AssumeRole"),
        variables=distrusting_reader,
    ),
    # 503: the service's own files.
    Failure(
        id="accounts-file",
        provoked="The file of accounts has been invalid for an hour",
        reason="accounts_unavailable",
        fix="correct the file; the log line `not reloaded` says what is wrong",
        provoke=bad_accounts_file,
        answer=("KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE", "log"),
        audit=("file of accounts",),
        log=("not reloaded", "correct the file"),
        variables=accounts_file,
    ),
    Failure(
        id="signing-key",
        provoked="There is no signing key for the mesh",
        reason="signing_key_missing",
        fix="add a line to `KMESH_AWSIAM_DATAPLANE_KEYS_FILE`",
        provoke=no_key_for_the_mesh,
        answer=("add a line to", "KMESH_AWSIAM_DATAPLANE_KEYS_FILE"),
        audit=("default",),
        agent=("signing_key_missing", "KMESH_AWSIAM_DATAPLANE_KEYS_FILE"),
        variables=keys_of_another_mesh,
    ),
    Failure(
        id="store",
        provoked="The shared store cannot be reached",
        reason=None,
        fix="nothing is denied; correct `KMESH_AWSIAM_STORE` or the way to it",
        provoke=decided_without_the_store,
        log=("store does not answer", "refuses the connection", "KMESH_AWSIAM_STORE", "nothing is shared"),
        variables=absent_store,
    ),
]


async def merged(scene: Scene, own: Any) -> Variables:
    return {**scene.keys.settings(), **await own(scene)}


def require(words: tuple[str, ...], text: str, where: str) -> None:
    missing = [each for each in words if each not in text]
    assert not missing, f"{where} does not say {missing}: {text}"
    assert CLASS_NAME.search(text) is None, f"{where} names a class of Python: {text}"
    assert "hunter2" not in text, f"{where} holds a password"


@pytest.mark.parametrize("failure", [pytest.param(each, id=each.id) for each in FAILURES])
async def test_a_provoked_failure_names_its_cause_and_its_remedy(
    failure: Failure, aws: Aws, settings_of: LoadSettings, tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as closing:
        scene = Scene(aws, tmp_path, closing)
        changed = {} if failure.variables is None else await failure.variables(scene)
        async with scene.running(settings_of(**{**aws.service_environment(), **changed})):
            response = await failure.provoke(scene)
            if response is not None:
                assert response.json().get("reason") == failure.reason, (response.text, scene.audit())
                require(failure.answer, response.json()["detail"], "the answer")
            require(failure.audit, scene.audit(), "the audit line")
            require(failure.ready, await scene.ready(), "/ready")
            if failure.agent is not None:
                require(failure.agent, await scene.agent(), "the agent's line")
            require(failure.log, scene.other_lines(), "the log")


# Failures that the agent meets before it reaches the service.


async def test_the_agent_says_that_the_service_refuses_connections(aws: Aws, tmp_path: Path) -> None:
    with closed_port() as port:
        line = await run_agent(f"http://127.0.0.1:{port}", tmp_path, aws.task())
    require(
        ("undecided", "service_unreachable", f"127.0.0.1:{port} refuses", "nothing listens there"), line, "the agent"
    )


async def test_the_agent_says_that_the_services_certificate_is_not_trusted(aws: Aws, tmp_path: Path) -> None:
    certificate, other = make_certificate(tmp_path), Authority(tmp_path / "other")
    files = {"ssl_certfile": str(certificate.cert), "ssl_keyfile": str(certificate.key)}
    with Emulator(**files) as tls:  # type: ignore[arg-type]
        access = ServiceAccess(ca_file=other.cert)
        line = await run_agent(tls.url, tmp_path, aws.task(), access)
    require(("certificate_not_trusted", "is not trusted", f"{other.cert} has no authority"), line, "the agent")


# Recovery.


async def test_the_service_recovers_when_its_credentials_are_good_again(
    aws: Aws, settings_of: LoadSettings, tmp_path: Path
) -> None:
    """Within 10 s, and without a restart: the role of the service is deleted, and created again."""
    role = aws.add_named_role(ACCOUNT, "mortal-service")
    variables = {**aws.service_environment(), **aws.emulator.environment(ACCOUNT, role.name)}
    async with contextlib.AsyncExitStack() as closing:
        scene = Scene(aws, tmp_path, closing)
        async with scene.running(settings_of(**variables)):
            assert (await scene.present(scene.recipe())).status_code == 200
            aws.emulator.world.delete_role(ACCOUNT, role.name)
            response = await scene.present(scene.tagged(DATAPLANE))
            assert response.json()["reason"] == "own_credentials_unavailable"
            aws.emulator.world.add_role(ACCOUNT, role.name)
            good_from = asyncio.get_running_loop().time()
            await until(lambda: "own credentials found again" in scene.other_lines())
            assert asyncio.get_running_loop().time() - good_from < 10.0
            assert (await scene.present(scene.tagged(DATAPLANE))).status_code == 200
            assert '"ownCredentials":"ok"' in await scene.ready()


# The page.


def test_the_page_has_the_same_table() -> None:
    """Every failure is on the page, with its reason and what to do; the page has no other."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("| What is wrong | Reason | What to do |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [failure.line() for failure in FAILURES]


def test_there_are_at_least_25_failures() -> None:
    assert len(FAILURES) >= 25
    assert len({failure.id for failure in FAILURES}) == len(FAILURES)
