from dataclasses import replace

import pytest

from app.core.errors import AuthorizationError
from app.core.proxy import ProxyAssertion, ProxyIdentity, ProxyType
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant
from app.tokens.claims import TokenSubject
from app.tokens.subject import limit, require_name
from tests.support.policies import POLICY
from tests.support.principals import PRINCIPAL

IDENTITY = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload="demo", zone=None)
DATAPLANE = TokenSubject(identity=IDENTITY, principal=PRINCIPAL)
ANY_SERVICE = replace(DATAPLANE, identity=replace(IDENTITY, service=None))
EGRESS = TokenSubject(
    identity=ProxyIdentity(type=ProxyType.EGRESS, mesh=None, service=None, workload=None, zone="east"),
    principal=PRINCIPAL,
)
LISTENER = TokenSubject(
    identity=replace(IDENTITY, type=ProxyType.EGRESS, service=None), principal=PRINCIPAL, name="egress-1"
)
NAMED = replace(DATAPLANE, name="demo-app-1")


def test_a_token_lets_its_bearer_be_what_it_says() -> None:
    assert limit(DATAPLANE, replace(POLICY, require_service=True, require_workload=True)) == RoleGrant(
        type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload="demo"
    )
    assert limit(ANY_SERVICE, POLICY).service is None
    assert limit(EGRESS, replace(POLICY, require_service=True, require_workload=True)) == RoleGrant(
        type=ProxyType.EGRESS, zone="east"
    )


def test_a_token_without_service_is_denied_once_one_is_required() -> None:
    with pytest.raises(AuthorizationError) as raised:
        limit(ANY_SERVICE, replace(POLICY, require_service=True))
    assert raised.value.reason is Reason.ROLE_SERVICE_MISSING


def test_a_token_without_workload_is_denied_once_one_is_required() -> None:
    with pytest.raises(AuthorizationError) as raised:
        limit(replace(DATAPLANE, identity=replace(IDENTITY, workload=None)), replace(POLICY, require_workload=True))
    assert raised.value.reason is Reason.ROLE_WORKLOAD_MISSING


def test_a_token_holds_no_path_and_is_not_judged_by_one() -> None:
    limit(DATAPLANE, replace(POLICY, role_path_prefix="/nowhere/"))


@pytest.mark.parametrize("subject", [DATAPLANE, EGRESS, LISTENER], ids=["dataplane", "egress", "listener"])
@pytest.mark.parametrize("meshes", [{}, {PRINCIPAL.account: frozenset({"other"})}, {"444455556666": frozenset({"*"})}])
def test_a_token_is_held_to_the_meshes_of_its_account_as_they_are_now(
    subject: TokenSubject, meshes: dict[str, frozenset[str]]
) -> None:
    with pytest.raises(AuthorizationError) as raised:
        limit(subject, replace(POLICY, account_meshes=meshes))
    assert raised.value.reason is Reason.ACCOUNT_MESH_NOT_ALLOWED


def test_an_account_may_have_a_mesh_or_every_one() -> None:
    limit(DATAPLANE, replace(POLICY, account_meshes={PRINCIPAL.account: frozenset({"default"})}))
    limit(EGRESS, replace(POLICY, account_meshes={PRINCIPAL.account: frozenset({"*"})}))
    limit(LISTENER, replace(POLICY, account_meshes={PRINCIPAL.account: frozenset({"default"})}))


@pytest.mark.parametrize("name", [None, "", "demo-app-2", "Demo-App-1"])
def test_a_token_for_one_proxy_is_none_for_another_or_for_one_without_a_name(name: str | None) -> None:
    with pytest.raises(AuthorizationError) as raised:
        require_name(NAMED, ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name=name))
    assert raised.value.reason is Reason.PROXY_NAME_MISMATCH


@pytest.mark.parametrize("name", [None, "anything"])
def test_a_token_without_a_name_is_for_any(name: str | None) -> None:
    require_name(DATAPLANE, ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name=name))


def test_a_name_is_compared_where_there_is_a_proxy() -> None:
    require_name(NAMED, ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", name="demo-app-1"))
    require_name(NAMED, None)
