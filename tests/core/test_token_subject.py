from dataclasses import replace

import pytest

from app.core.proxy import ProxyClaims, ProxyIdentity, ProxyRequest, ProxyType
from app.core.token_claims import TokenSubject
from app.core.token_subject import limit, require_name
from app.errors import AuthorizationError
from app.reasons import Reason
from tests.support.principals import PRINCIPAL

IDENTITY = ProxyIdentity(type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload="demo", zone=None)
DATAPLANE = TokenSubject(identity=IDENTITY, principal=PRINCIPAL)
ANY_SERVICE = replace(DATAPLANE, identity=replace(IDENTITY, service=None))
EGRESS = TokenSubject(
    identity=ProxyIdentity(type=ProxyType.EGRESS, mesh=None, service=None, workload=None, zone="east"),
    principal=PRINCIPAL,
)
NAMED = replace(DATAPLANE, name="demo-app-1")


def test_a_token_lets_its_bearer_be_what_it_says() -> None:
    assert limit(DATAPLANE, require_service=True) == ProxyClaims(
        type=ProxyType.DATAPLANE, mesh="default", service="demo-app", workload="demo"
    )
    assert limit(ANY_SERVICE).service is None
    assert limit(EGRESS, require_service=True) == ProxyClaims(type=ProxyType.EGRESS, zone="east")


def test_a_token_without_service_is_denied_once_one_is_required() -> None:
    with pytest.raises(AuthorizationError) as raised:
        limit(ANY_SERVICE, require_service=True)
    assert raised.value.reason is Reason.ROLE_SERVICE_MISSING


@pytest.mark.parametrize("subject", [DATAPLANE, EGRESS], ids=["dataplane", "egress"])
@pytest.mark.parametrize("meshes", [{}, {PRINCIPAL.account: frozenset({"other"})}, {"444455556666": frozenset({"*"})}])
def test_a_token_is_held_to_the_meshes_of_its_account_as_they_are_now(
    subject: TokenSubject, meshes: dict[str, frozenset[str]]
) -> None:
    with pytest.raises(AuthorizationError) as raised:
        limit(subject, account_meshes=meshes)
    assert raised.value.reason is Reason.ACCOUNT_MESH_NOT_ALLOWED


def test_an_account_may_have_a_mesh_or_every_one() -> None:
    limit(DATAPLANE, account_meshes={PRINCIPAL.account: frozenset({"default"})})
    limit(EGRESS, account_meshes={PRINCIPAL.account: frozenset({"*"})})


@pytest.mark.parametrize("name", [None, "", "demo-app-2", "Demo-App-1"])
def test_a_token_for_one_proxy_is_none_for_another_or_for_one_without_a_name(name: str | None) -> None:
    with pytest.raises(AuthorizationError) as raised:
        require_name(NAMED, ProxyRequest(type=ProxyType.DATAPLANE, mesh="default", name=name))
    assert raised.value.reason is Reason.PROXY_NAME_MISMATCH


@pytest.mark.parametrize("name", [None, "anything"])
def test_a_token_without_a_name_is_for_any(name: str | None) -> None:
    require_name(DATAPLANE, ProxyRequest(type=ProxyType.DATAPLANE, mesh="default", name=name))


def test_a_name_is_compared_where_there_is_a_proxy() -> None:
    require_name(NAMED, ProxyRequest(type=ProxyType.DATAPLANE, mesh="default", name="demo-app-1"))
    require_name(NAMED, None)
