"""What a role's tags let a proxy be: nothing that the tags do not say, whatever the proxy says."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.arn import Arn
from app.core.caller_identity import CallerIdentity
from app.core.principal import AdmittedPrincipal, Principal, admit, read_principal
from app.core.proxy import ProxyClaims, ProxyRequest, ProxyType, match
from app.core.role_tags import RoleRecord, read_claims
from app.errors import AuthorizationError, UpstreamError
from app.reasons import Reason

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
# A data plane's claims name a mesh and a zone proxy's none: the type allows no others.
claims = st.builds(
    ProxyClaims, type=st.just(ProxyType.DATAPLANE), mesh=meshes, service=few, workload=few, zone=few
) | st.builds(
    ProxyClaims, type=st.sampled_from([ProxyType.INGRESS, ProxyType.EGRESS]), service=few, workload=few, zone=few
)
proxies = st.builds(
    ProxyRequest,
    type=st.sampled_from(ProxyType),
    mesh=few,
    name=few,
    zone=few,
    tags=st.dictionaries(st.sampled_from(["kuma.io/service", "x"]), st.frozensets(names, max_size=2), max_size=2),
    labels=st.dictionaries(st.sampled_from(["kuma.io/service", "kuma.io/workload", "x"]), names, max_size=3),
)


@bounded
@given(claims, proxies, st.frozensets(st.sampled_from(ProxyType)))
def test_match_never_widens(claimed: ProxyClaims, proxy: ProxyRequest, enabled: frozenset[ProxyType]) -> None:
    """I15: what comes out is what the tags say, and everything that the proxy said is covered by it."""
    with suppress(AuthorizationError):
        identity = match(claimed, proxy, enabled)
        assert identity.type in enabled
        assert (identity.type, identity.mesh, identity.service) == (claimed.type, claimed.mesh, claimed.service)
        assert (identity.workload, identity.zone) == (claimed.workload, claimed.zone)
        assert proxy.type is identity.type
        assert identity.mesh in {None, proxy.mesh}
        assert identity.service is None or proxy.services == {identity.service}
        assert identity.workload in {None, proxy.labels.get("kuma.io/workload")}
        assert identity.zone is None or proxy.zone in {None, identity.zone}


@bounded
@given(claims, proxies)
def test_match_gives_a_proxy_no_more_than_the_bare_identity(claimed: ProxyClaims, proxy: ProxyRequest) -> None:
    alone = match(claimed, None, frozenset(ProxyType))
    with suppress(AuthorizationError):
        assert match(claimed, proxy, frozenset(ProxyType)) == alone


@bounded
@given(claims, proxies, st.sampled_from(["service", "workload", "zone"]), few)
def test_one_tag_more_never_lets_a_refused_proxy_in(
    claimed: ProxyClaims, proxy: ProxyRequest, name: str, value: str | None
) -> None:
    """No tag widens another: with one added, whatever was refused stays refused."""
    if getattr(claimed, name) is not None:
        return
    narrowed = replace(claimed, **{name: value})  # type: ignore[arg-type]
    try:
        match(claimed, proxy, frozenset(ProxyType))
    except AuthorizationError:
        with pytest.raises(AuthorizationError):
            match(narrowed, proxy, frozenset(ProxyType))


@bounded
@given(st.lists(st.tuples(tag_keys, tag_values), max_size=8), st.booleans())
def test_read_claims_gives_claims_that_stand_in_the_tags_or_its_own_error(
    tags: list[tuple[str, str]],
    require_service: bool,  # noqa: FBT001 - hypothesis passes it
) -> None:
    with suppress(AuthorizationError):
        read = read_claims(
            AdmittedPrincipal(PRINCIPAL), replace(ROLE, tags=tuple(tags)), require_service=require_service
        )
        assert ("kuma.io/type", read.type) in tags
        assert (read.mesh is not None) == (read.type is ProxyType.DATAPLANE)
        for name in ("mesh", "service", "workload", "zone"):
            value = getattr(read, name)
            assert value is None or tags.count((f"kuma.io/{name}", value)) == 1
            assert value is None or (value and value.isascii() and len(value) <= 253)


@bounded
@given(
    st.builds(RoleRecord, arn=st.text(), role_id=st.text(), name=st.text(), tags=st.just(()), request_id=st.just(""))
)
def test_read_claims_knows_no_other_role_for_the_callers(role: RoleRecord) -> None:
    with pytest.raises(AuthorizationError) as raised:
        read_claims(AdmittedPrincipal(PRINCIPAL), role)
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
