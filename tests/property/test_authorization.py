"""What a role's tags grant to a proxy: nothing beyond the tags, whatever the proxy asserts."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.arn import Arn
from app.core.caller_identity import CallerIdentity
from app.core.errors import AuthorizationError, UpstreamError
from app.core.principal import AdmittedPrincipal, Principal, admit, read_principal
from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_grant import GrantPolicy, RoleGrant, match
from app.core.role_tags import RoleRecord, read_grant
from tests.support.policies import POLICY

bounded = settings(max_examples=200, deadline=None)

PRINCIPAL = Principal(
    partition="aws",
    account="111122223333",
    role="demo-app",
    role_id="AROAEXAMPLEEXAMPLE01",
    session="4f1c",
    request_id="r-1",
)
ROLE = RoleRecord(
    arn="arn:aws:iam::111122223333:role/demo-app",
    role_id="AROAEXAMPLEEXAMPLE01",
    name="demo-app",
    tags=(),
    request_id="i-1",
)
KEYS = ("type", "mesh", "service", "workload", "zone")

names = st.sampled_from(["default", "demo", "a.b", "A", "*", "", "a b"])
few = st.none() | st.sampled_from(["default", "demo", "a.b"])
tag_keys = st.sampled_from([f"kuma.io/{name}" for name in KEYS] + ["KUMA.IO/mesh", "Name"]) | st.text(max_size=10)
tag_values = st.sampled_from([*ProxyType, "default", "demo", "A:b", "*", ""]) | st.text(max_size=20)
meshes = st.sampled_from(["default", "demo", "a.b"])
# The three shapes of a grant: the type allows no others.
grants = (
    st.builds(RoleGrant, type=st.just(ProxyType.DATAPLANE), mesh=meshes, service=few, workload=few)
    | st.builds(RoleGrant, type=st.sampled_from([ProxyType.INGRESS, ProxyType.EGRESS]), zone=few)
    | st.builds(
        RoleGrant, type=st.sampled_from([ProxyType.INGRESS, ProxyType.EGRESS]), mesh=meshes, workload=few, zone=few
    )
)
policies = st.builds(
    GrantPolicy,
    enabled_types=st.frozensets(st.sampled_from(ProxyType)),
    allow_unbound_workloads=st.booleans(),
    zone=few,
)
proxies = st.builds(
    ProxyAssertion,
    type=st.sampled_from(ProxyType),
    mesh=few,
    name=few,
    zone=few,
    tags=st.dictionaries(st.sampled_from(["kuma.io/service", "x"]), st.frozensets(names, max_size=2), max_size=2),
    labels=st.dictionaries(st.sampled_from(["kuma.io/service", "kuma.io/workload", "x"]), names, max_size=3),
    listeners=st.just(frozenset()) | st.frozensets(st.sampled_from(ZoneListener)),
)


@bounded
@given(grants, proxies, policies)
def test_match_never_widens(grant: RoleGrant, proxy: ProxyAssertion, policy: GrantPolicy) -> None:
    """I15, I27: the result is what the role grants, and it covers every part of an identity."""
    with suppress(AuthorizationError):
        identity = match(grant, proxy, policy)
        assert (identity.type, identity.mesh, identity.service) == (grant.type, grant.mesh, grant.service)
        assert (identity.workload, identity.zone) == (grant.workload, grant.zone)
        is_dataplane = identity.mesh is not None
        assert proxy.type is (ProxyType.DATAPLANE if is_dataplane else identity.type)
        assert proxy.type in policy.enabled_types
        expected = {f"Zone{identity.type.title()}"} if is_dataplane and identity.type != "dataplane" else set()
        assert proxy.listeners == expected
        services = proxy.tags.get("kuma.io/service", frozenset())
        if is_dataplane:
            assert identity.mesh == proxy.mesh
            assert proxy.labels.get("kuma.io/workload") == identity.workload or (
                policy.allow_unbound_workloads and identity.workload is None
            )
            assert not (proxy.listeners and services)
        assert identity.service is None or services == {identity.service}
        assert identity.service in {None, proxy.labels.get("kuma.io/service", identity.service)}
        assert identity.zone is None or proxy.zone in {None, identity.zone}
        if not is_dataplane and policy.zone is not None:
            assert {identity.zone, proxy.zone} <= {None, policy.zone}


@bounded
@given(grants, proxies)
def test_match_gives_a_proxy_no_more_than_the_bare_identity(grant: RoleGrant, proxy: ProxyAssertion) -> None:
    alone = match(grant, None, POLICY)
    with suppress(AuthorizationError):
        assert match(grant, proxy, POLICY) == alone


NARROWING = {ProxyType.DATAPLANE: ("service", "workload"), ProxyType.INGRESS: ("zone",), ProxyType.EGRESS: ("zone",)}


@bounded
@given(grants, proxies, st.data())
def test_one_tag_more_never_lets_a_refused_proxy_in(
    grant: RoleGrant, proxy: ProxyAssertion, data: st.DataObject
) -> None:
    """No tag extends another one. The exception is a workload tag, which allows the label that it binds."""
    name = data.draw(st.sampled_from(NARROWING[grant.type]))
    value = data.draw(few)
    if getattr(grant, name) is not None:
        return
    narrowed = replace(grant, **{name: value})  # type: ignore[arg-type]
    try:
        match(grant, proxy, POLICY)
    except AuthorizationError:
        if name == "workload" and proxy.labels.get("kuma.io/workload") == value:
            return
        with pytest.raises(AuthorizationError):
            match(narrowed, proxy, POLICY)


@bounded
@given(st.lists(st.tuples(tag_keys, tag_values), max_size=8), st.booleans(), st.booleans(), proxies)
def test_read_grant_gives_what_stands_in_the_tags_or_its_own_error(
    tags: list[tuple[str, str]],
    require_service: bool,  # noqa: FBT001 - hypothesis passes it
    require_workload: bool,  # noqa: FBT001 - likewise
    proxy: ProxyAssertion,
) -> None:
    policy = replace(POLICY, require_service=require_service, require_workload=require_workload)
    with suppress(AuthorizationError):
        read = read_grant(AdmittedPrincipal(PRINCIPAL), replace(ROLE, tags=tuple(tags)), policy, proxy)
        assert ("kuma.io/type", read.type) in tags
        assert (read.mesh is not None) == (read.type is ProxyType.DATAPLANE or bool(proxy.listeners))
        assert not (require_service and read.type is ProxyType.DATAPLANE and read.service is None)
        assert not (require_workload and read.mesh is not None and read.workload is None)
        for name in ("mesh", "service", "workload", "zone"):
            value = getattr(read, name)
            assert value is None or tags.count((f"kuma.io/{name}", value)) == 1
            assert value is None or (value and value.isascii() and len(value) <= 253)


@bounded
@given(
    st.builds(RoleRecord, arn=st.text(), role_id=st.text(), name=st.text(), tags=st.just(()), request_id=st.just(""))
)
def test_read_grant_knows_no_other_role_for_the_callers(role: RoleRecord) -> None:
    with pytest.raises(AuthorizationError) as raised:
        read_grant(AdmittedPrincipal(PRINCIPAL), role, POLICY)
    assert raised.value.reason is Reason.ROLE_ID_MISMATCH


@bounded
@given(
    st.builds(Arn, partition=st.just("aws"), service=st.just("sts") | st.text(), region=st.just("") | st.text(),
              account=st.text(), resource=st.text() | st.from_regex(r"assumed-role/.*/.*", fullmatch=True)),
    st.text() | st.from_regex(r"AROA[A-Z0-9]{16}:.*", fullmatch=True),
)  # fmt: skip
def test_read_principal_gives_a_role_or_an_error_of_ours(arn: Arn, user_id: str) -> None:
    with suppress(AuthorizationError, UpstreamError):
        principal = read_principal(CallerIdentity(arn=arn, user_id=user_id, request_id=""))
        assert principal.arn == f"arn:aws:sts::{arn.account}:assumed-role/{principal.role}/{principal.session}"
        assert user_id == f"{principal.role_id}:{principal.session}"


@bounded
@given(st.frozensets(st.text(max_size=14)))
def test_admit_passes_an_account_that_is_in_the_list_as_it_stands(accounts: frozenset[str]) -> None:
    assert admit(PRINCIPAL, accounts | {PRINCIPAL.account}).principal is PRINCIPAL
    with pytest.raises(AuthorizationError):
        admit(PRINCIPAL, accounts - {PRINCIPAL.account})
