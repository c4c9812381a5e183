from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import AuthorizationError
from app.core.principal import AdmittedPrincipal, Principal
from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.reasons import Reason
from app.core.role_grant import RoleGrant
from app.core.role_tags import RoleRecord, is_kuma_tag, read_grant, require_valid_value
from tests.support.policies import POLICY

ACCOUNT = "111122223333"
PRINCIPAL = Principal(
    partition="aws",
    account=ACCOUNT,
    role="demo-app",
    role_id="AROAEXAMPLEEXAMPLE01",
    session="4f1c",
    request_id="r-1",
)
ADMITTED = AdmittedPrincipal(PRINCIPAL)
DATAPLANE = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default"}
ROLE = RoleRecord(
    arn=f"arn:aws:iam::{ACCOUNT}:role/demo-app",
    role_id="AROAEXAMPLEEXAMPLE01",
    name="demo-app",
    tags=tuple(DATAPLANE.items()),
    request_id="i-1",
)


def tagged(*tags: tuple[str, str], **changes: str) -> RoleRecord:
    """The baseline role with one tag changed (named without ``kuma.io/``), and with further tags at the end."""
    named = DATAPLANE | {f"kuma.io/{name}": value for name, value in changes.items()}
    return replace(ROLE, tags=(*named.items(), *tags))


def without(key: str) -> RoleRecord:
    return replace(ROLE, tags=tuple(tag for tag in ROLE.tags if tag[0] != key))


def refusal(role: RoleRecord, proxy: ProxyAssertion | None = None, **settings: Any) -> Reason:
    with pytest.raises(AuthorizationError) as raised:
        read_grant(ADMITTED, role, replace(POLICY, **settings), proxy)
    return raised.value.reason


@pytest.mark.parametrize(
    ("role", "grant"),
    [
        pytest.param(ROLE, RoleGrant(type=ProxyType.DATAPLANE, mesh="default"), id="dataplane"),
        pytest.param(
            tagged(service="demo-app_demo_svc_80:x.y", workload="Demo_1.x-y"),
            RoleGrant(
                type=ProxyType.DATAPLANE, mesh="default", service="demo-app_demo_svc_80:x.y", workload="Demo_1.x-y"
            ),
            id="dataplane-with-everything",
        ),
        pytest.param(
            tagged(zone="Not A Zone"),
            RoleGrant(type=ProxyType.DATAPLANE, mesh="default"),
            id="dataplane-zone-ignored",
        ),
        pytest.param(tagged(type="ingress"), RoleGrant(type=ProxyType.INGRESS), id="ingress-mesh-ignored"),
        pytest.param(tagged(type="egress", zone="east-1"), RoleGrant(type=ProxyType.EGRESS, zone="east-1"), id="zone"),
        pytest.param(
            tagged(type="egress", mesh="NO MESH", service="no service!", workload="-"),
            RoleGrant(type=ProxyType.EGRESS),
            id="tags-of-a-dataplane-are-ignored-whatever-their-values",
        ),
        pytest.param(
            tagged(("Name", "demo"), ("kuma.io/other", "*"), ("kuma.io/Type2", "x"), ("kuma.io", "x")),
            RoleGrant(type=ProxyType.DATAPLANE, mesh="default"),
            id="foreign-tags-are-passed-over",
        ),
    ],
)
def test_read_grant_reads_what_the_tags_let_a_proxy_be(role: RoleRecord, grant: RoleGrant) -> None:
    assert read_grant(ADMITTED, role, POLICY) == grant


def test_read_grant_reads_the_tags_in_any_order() -> None:
    role = tagged(service="demo-app", workload="demo")
    assert read_grant(ADMITTED, replace(role, tags=role.tags[::-1]), POLICY) == read_grant(ADMITTED, role, POLICY)


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{ACCOUNT}:role/demo-app",
        f"arn:aws:iam::{ACCOUNT}:role/team/mesh/demo-app",
        f"arn:aws:iam::{ACCOUNT}:role/a:b/demo-app",
    ],
)
def test_read_grant_knows_the_role_with_or_without_a_path(arn: str) -> None:
    assert read_grant(ADMITTED, replace(ROLE, arn=arn), POLICY).mesh == "default"


@pytest.mark.parametrize(
    "role",
    [
        pytest.param(replace(ROLE, role_id="AROAEXAMPLEEXAMPLE02"), id="role-made-anew-under-its-name"),
        pytest.param(replace(ROLE, role_id="aroaexampleexample01"), id="role-id-in-lower-case"),
        pytest.param(replace(ROLE, role_id=""), id="no-role-id"),
        pytest.param(replace(ROLE, arn="arn:aws:iam::444455556666:role/demo-app"), id="same-name-in-another-account"),
        pytest.param(
            replace(ROLE, arn=f"arn:aws-cn:iam::{ACCOUNT}:role/demo-app"), id="same-name-in-another-partition"
        ),
        pytest.param(replace(ROLE, arn=f"arn:aws:sts::{ACCOUNT}:role/demo-app"), id="arn-of-another-service"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam:eu-west-1:{ACCOUNT}:role/demo-app"), id="arn-with-a-region"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:role/other"), id="other-name-in-the-arn"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:role/demo-app/other"), id="name-as-a-path"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:role/Demo-App"), id="name-in-another-case-in-the-arn"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:user/demo-app"), id="user-of-the-same-name"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:role"), id="no-name-in-the-arn"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:demo-app"), id="no-kind-in-the-arn"),
        pytest.param(replace(ROLE, name="other"), id="other-name"),
        pytest.param(replace(ROLE, name="demo-app "), id="blank-behind-the-name"),
        pytest.param(replace(ROLE, arn="demo-app"), id="no-arn"),
        pytest.param(replace(ROLE, arn=""), id="empty-arn"),
    ],
)
def test_read_grant_denies_a_role_that_is_not_the_callers(role: RoleRecord) -> None:
    """CVE-2025-11621, CVE-2025-59048 and Vault PR 2814: GetRole answers by name, in the account of its caller."""
    assert refusal(role) is Reason.ROLE_ID_MISMATCH


@pytest.mark.parametrize(
    ("role", "differs"),
    [
        pytest.param(replace(ROLE, role_id="AROAEXAMPLEEXAMPLE02"), "RoleId", id="role-id"),
        pytest.param(replace(ROLE, arn="arn:aws:iam::444455556666:role/demo-app"), "account", id="account"),
        pytest.param(replace(ROLE, arn=f"arn:aws-cn:iam::{ACCOUNT}:role/demo-app"), "account", id="partition"),
        pytest.param(replace(ROLE, arn=f"arn:aws:iam::{ACCOUNT}:role/other", name="other"), "name", id="name"),
    ],
)
def test_the_audit_line_says_in_what_the_role_differs(role: RoleRecord, differs: str) -> None:
    with pytest.raises(AuthorizationError) as raised:
        read_grant(ADMITTED, role, POLICY, None)
    assert [word for word in ("RoleId", "account", "name") if word in raised.value.detail] == [differs]


def test_read_grant_looks_at_the_role_before_its_tags() -> None:
    """The answer must not reveal the tags of another role."""
    assert refusal(replace(ROLE, role_id="AROAEXAMPLEEXAMPLE02", tags=())) is Reason.ROLE_ID_MISMATCH


def test_a_record_has_the_identifiers_of_the_role_that_sts_vouched_for_and_of_no_other() -> None:
    assert ROLE.identifiers == PRINCIPAL.role_identifiers
    assert replace(ROLE, role_id="AROAEXAMPLEEXAMPLE02").identifiers != PRINCIPAL.role_identifiers


def test_read_grant_denies_a_role_without_a_type() -> None:
    assert refusal(without("kuma.io/type")) is Reason.ROLE_TYPE_MISSING
    assert refusal(replace(ROLE, tags=())) is Reason.ROLE_TYPE_MISSING


@pytest.mark.parametrize("value", ["", "Dataplane", "dataplane ", "dataplane,ingress", "zone-ingress", "*", "null"])
def test_read_grant_denies_an_unknown_type(value: str) -> None:
    assert refusal(tagged(type=value)) is Reason.ROLE_TAG_INVALID


def test_read_grant_denies_a_dataplane_role_without_a_mesh() -> None:
    assert refusal(without("kuma.io/mesh")) is Reason.ROLE_MESH_MISSING


@pytest.mark.parametrize("kind", ["ingress", "egress"])
def test_read_grant_wants_neither_mesh_nor_service_of_a_zone_proxy(kind: str) -> None:
    role = replace(ROLE, tags=(("kuma.io/type", kind),))
    assert read_grant(ADMITTED, role, replace(POLICY, require_service=True)) == RoleGrant(type=ProxyType(kind))


def test_read_grant_denies_a_dataplane_role_without_a_service_where_one_is_required() -> None:
    assert refusal(ROLE, require_service=True) is Reason.ROLE_SERVICE_MISSING
    assert read_grant(ADMITTED, tagged(service="demo-app"), replace(POLICY, require_service=True)).service == "demo-app"


BAD_NAMES = [
    pytest.param("", id="empty"),
    pytest.param("Default", id="upper-case"),
    pytest.param("a b", id="blank"),
    pytest.param("default\n", id="newline-at-the-end"),
    pytest.param("a/b", id="slash"),
    pytest.param("*", id="wildcard"),
    pytest.param("a,b", id="list"),
    pytest.param("a:b", id="colon"),
    pytest.param("\u0441anada", id="cyrillic-twin"),
    pytest.param("mesh\u0661", id="arabic-digit"),
    pytest.param("a" * 254, id="254-characters"),
]


@pytest.mark.parametrize("value", BAD_NAMES)
def test_read_grant_denies_a_mesh_that_kuma_could_not_have(value: str) -> None:
    assert refusal(tagged(mesh=value)) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize("value", BAD_NAMES)
def test_read_grant_denies_a_zone_that_kuma_could_not_have(value: str) -> None:
    assert refusal(tagged(type="ingress", zone=value)) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("a b", id="blank"),
        pytest.param("demo-app\n", id="newline-at-the-end"),
        pytest.param("a/b", id="slash"),
        pytest.param("*", id="wildcard"),
        pytest.param("demo-*", id="wildcard-at-the-end"),
        pytest.param("a,b", id="list"),
        pytest.param("a@b", id="at-sign"),
        pytest.param("dem\u043e", id="cyrillic-twin"),
        pytest.param("a" * 254, id="254-characters"),
    ],
)
def test_read_grant_denies_a_service_that_kuma_could_not_have(value: str) -> None:
    assert refusal(tagged(service=value)) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("-a", id="dash-first"),
        pytest.param("a.", id="dot-last"),
        pytest.param("a b", id="blank"),
        pytest.param("a\n", id="newline-at-the-end"),
        pytest.param("a/b", id="slash"),
        pytest.param("a:b", id="colon"),
        pytest.param("*", id="wildcard"),
        pytest.param("dem\u043e", id="cyrillic-twin"),
        pytest.param("a" * 64, id="64-characters"),
    ],
)
def test_read_grant_denies_a_workload_that_is_no_label_value(value: str) -> None:
    assert refusal(tagged(workload=value)) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize(
    "role",
    [
        tagged(mesh="a" * 253),
        tagged(mesh="0._-z"),
        tagged(service="A" * 253),
        tagged(service="Az0._:-"),
        tagged(workload="a" * 63),
        tagged(workload="a"),
        tagged(workload="A._-9"),
        tagged(type="ingress", zone="a" * 253),
    ],
)
def test_read_grant_reads_values_up_to_the_limits_of_their_grammar(role: RoleRecord) -> None:
    read_grant(ADMITTED, role, POLICY)


@pytest.mark.parametrize("name", ["type", "mesh", "service", "workload", "zone"])
@pytest.mark.parametrize("spell", [str.upper, str.title, lambda key: key.replace("k", "\u212a", 1)])
@pytest.mark.parametrize("kind", ["dataplane", "ingress"])
def test_read_grant_denies_a_key_that_is_ours_but_for_its_case(name: str, spell: type, kind: str) -> None:
    """I14: IAM keeps the spelling of a key, and a policy that guards ``kuma.io/*`` may not match ``KUMA.IO/mesh``."""
    assert refusal(tagged((spell(f"kuma.io/{name}"), "x"), type=kind)) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize("name", ["type", "mesh", "service", "workload", "zone"])
def test_read_grant_denies_a_key_that_stands_twice(name: str) -> None:
    role = tagged(service="a", workload="a", zone="a")
    again = next(tag for tag in role.tags if tag[0] == f"kuma.io/{name}")
    assert refusal(replace(role, tags=(*role.tags, again))) is Reason.ROLE_TAG_INVALID


@pytest.mark.parametrize("key", ["kuma.io/mesh ", " kuma.io/mesh", "kuma.io/me\u017fh", "kuma-io/mesh", "kuma.io:mesh"])
def test_read_grant_takes_no_other_key_for_ours(key: str) -> None:
    role = replace(ROLE, tags=(("kuma.io/type", "dataplane"), (key, "default")))
    assert refusal(role) is Reason.ROLE_MESH_MISSING


OTHER_ACCOUNT = "444455556666"


@pytest.mark.parametrize(
    ("role", "meshes"),
    [
        pytest.param(ROLE, None, id="not-limited"),
        pytest.param(ROLE, {ACCOUNT: {"default"}}, id="its-mesh"),
        pytest.param(ROLE, {ACCOUNT: {"payments", "default"}}, id="one-of-its-meshes"),
        pytest.param(ROLE, {ACCOUNT: {"*"}}, id="every-mesh"),
        pytest.param(ROLE, {ACCOUNT: {"*", "payments"}}, id="every-mesh-beside-another"),
        pytest.param(tagged(type="ingress"), {ACCOUNT: {"*"}}, id="zone-proxy-of-an-account-with-every-mesh"),
    ],
)
def test_read_grant_lets_an_account_claim_its_meshes(role: RoleRecord, meshes: dict[str, set[str]] | None) -> None:
    assert read_grant(ADMITTED, role, replace(POLICY, account_meshes=meshes)) == read_grant(ADMITTED, role, POLICY)


@pytest.mark.parametrize(
    ("role", "meshes", "named"),
    [
        pytest.param(ROLE, {ACCOUNT: {"payments"}}, "default", id="mesh-of-another-account"),
        pytest.param(ROLE, {ACCOUNT: {"default.x", "defaults"}}, "default", id="names-that-are-near"),
        pytest.param(ROLE, {ACCOUNT: set(), OTHER_ACCOUNT: {"*"}}, "default", id="no-mesh-at-all"),
        pytest.param(ROLE, {OTHER_ACCOUNT: {"default"}}, "default", id="account-without-an-entry"),
        pytest.param(tagged(type="ingress"), {ACCOUNT: {"default"}}, "ingress", id="ingress-of-a-limited-account"),
        pytest.param(tagged(type="egress"), {ACCOUNT: {"default"}}, "egress", id="egress-of-a-limited-account"),
    ],
)
def test_read_grant_denies_an_account_what_is_not_its_mesh(
    role: RoleRecord, meshes: dict[str, set[str]], named: str
) -> None:
    """A zone proxy carries the traffic of every mesh, so such a role would evade the limit of the account."""
    with pytest.raises(AuthorizationError) as raised:
        read_grant(ADMITTED, role, replace(POLICY, account_meshes=meshes))
    assert raised.value.reason is Reason.ACCOUNT_MESH_NOT_ALLOWED
    assert raised.value.detail == f"the account may not claim {named}"


# A zone proxy in a Dataplane has a mesh and a workload from its role. A zone proxy with its own resource has neither.

LISTENING = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", listeners=frozenset({ZoneListener.EGRESS}))


def test_a_zone_proxy_of_its_own_resource_needs_no_mesh() -> None:
    """Only a Dataplane with zone listeners needs the mesh and the workload of the role."""
    role = replace(ROLE, tags=(("kuma.io/type", "egress"),))
    assert read_grant(ADMITTED, role, POLICY, ProxyAssertion(type=ProxyType.EGRESS)) == RoleGrant(type=ProxyType.EGRESS)


EGRESS = tagged(type="egress")


@pytest.mark.parametrize(
    ("role", "grant"),
    [
        pytest.param(EGRESS, RoleGrant(type=ProxyType.EGRESS, mesh="default"), id="mesh"),
        pytest.param(
            tagged(type="ingress", workload="demo", zone="east"),
            RoleGrant(type=ProxyType.INGRESS, mesh="default", workload="demo", zone="east"),
            id="everything",
        ),
        pytest.param(
            tagged(type="egress", service="no service!"),
            RoleGrant(type=ProxyType.EGRESS, mesh="default"),
            id="a-service-is-ignored-whatever-its-value",
        ),
        pytest.param(ROLE, RoleGrant(type=ProxyType.DATAPLANE, mesh="default"), id="a-data-planes-role-stays-one"),
    ],
)
def test_read_grant_reads_mesh_and_workload_for_a_zone_proxy_in_a_dataplane(role: RoleRecord, grant: RoleGrant) -> None:
    assert read_grant(ADMITTED, role, POLICY, LISTENING) == grant


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (replace(EGRESS, tags=(("kuma.io/type", "egress"),)), Reason.ROLE_MESH_MISSING),
        (tagged(type="egress", mesh="Default"), Reason.ROLE_TAG_INVALID),
        (tagged(type="egress", workload="-"), Reason.ROLE_TAG_INVALID),
        (tagged(type="egress", zone="EAST"), Reason.ROLE_TAG_INVALID),
    ],
)
def test_read_grant_denies_a_zone_proxy_in_a_dataplane_what_its_tags_do_not_say(
    role: RoleRecord, reason: Reason
) -> None:
    assert refusal(role, LISTENING) is reason


def test_read_grant_asks_no_service_and_its_own_mesh_of_a_zone_proxy_in_a_dataplane() -> None:
    """ADR 10: of one mesh, so an account may have it that may have the mesh; a resource of its own is of all meshes."""
    meshes = {ACCOUNT: frozenset({"default"})}
    settings = replace(POLICY, require_service=True, account_meshes=meshes)
    assert read_grant(ADMITTED, EGRESS, settings, LISTENING).mesh == "default"
    assert refusal(EGRESS, account_meshes=meshes) is Reason.ACCOUNT_MESH_NOT_ALLOWED
    assert refusal(EGRESS, LISTENING, account_meshes={ACCOUNT: frozenset({"other"})}) is Reason.ACCOUNT_MESH_NOT_ALLOWED


# The tags that the settings require of a role.


@pytest.mark.parametrize(("role", "proxy"), [(ROLE, None), (tagged(service="a"), None), (EGRESS, LISTENING)])
def test_read_grant_denies_a_dataplanes_role_without_a_workload_where_one_is_required(
    role: RoleRecord, proxy: ProxyAssertion | None
) -> None:
    assert refusal(role, proxy, require_workload=True) is Reason.ROLE_WORKLOAD_MISSING
    bound = replace(role, tags=(*role.tags, ("kuma.io/workload", "demo")))
    assert read_grant(ADMITTED, bound, replace(POLICY, require_workload=True), proxy).workload == "demo"


def test_read_grant_wants_no_workload_of_a_zone_proxy_of_its_own() -> None:
    assert read_grant(ADMITTED, EGRESS, replace(POLICY, require_workload=True)).workload is None


def at(path: str, role: RoleRecord = ROLE) -> RoleRecord:
    return replace(role, arn=f"arn:aws:iam::{ACCOUNT}:role{path}demo-app")


@pytest.mark.parametrize("path", ["/mesh/", "/mesh/team/", "/mesh//", "/mesh/a:b/"])
def test_read_grant_lets_a_role_in_whose_path_begins_as_it_must(path: str) -> None:
    assert read_grant(ADMITTED, at(path), replace(POLICY, role_path_prefix="/mesh/")).mesh == "default"


@pytest.mark.parametrize("path", ["/", "//", "/other/", "/Mesh/", "/meshes/", "/team/mesh/", "//mesh/", "/mesh-1/"])
def test_read_grant_denies_a_role_of_another_path(path: str) -> None:
    assert refusal(at(path), role_path_prefix="/mesh/") is Reason.ROLE_PATH_NOT_ALLOWED


def test_read_grant_looks_at_the_role_before_its_path_and_at_the_path_before_the_tags() -> None:
    assert (
        refusal(replace(at("/"), role_id="AROAEXAMPLEEXAMPLE02"), role_path_prefix="/mesh/") is Reason.ROLE_ID_MISMATCH
    )
    assert refusal(at("/", replace(ROLE, tags=())), role_path_prefix="/mesh/") is Reason.ROLE_PATH_NOT_ALLOWED


# Results that a record caches.


@pytest.mark.parametrize("proxy", [None, LISTENING])
def test_a_record_is_read_once(proxy: ProxyAssertion | None) -> None:
    """All proxies of a role read the same grant whenever one of their streams opens."""
    assert read_grant(ADMITTED, EGRESS, POLICY, proxy) is read_grant(ADMITTED, EGRESS, POLICY, proxy)
    again = replace(EGRESS, request_id="i-2")
    assert read_grant(ADMITTED, again, POLICY, proxy) == read_grant(ADMITTED, EGRESS, POLICY, proxy)


# A single tag, as ``explain-role`` shows it.


@pytest.mark.parametrize(("key", "is_one"), [("kuma.io/zone", True), ("kuma.io/zones", False), ("team", False)])
def test_is_kuma_tag_knows_the_five(key: str, is_one: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_kuma_tag(key) is is_one


def test_is_kuma_tag_denies_a_key_that_differs_only_in_case() -> None:
    with pytest.raises(AuthorizationError) as raised:
        is_kuma_tag("Kuma.io/mesh")
    assert raised.value.reason is Reason.ROLE_TAG_INVALID


VALUES = {"type": "egress", "mesh": "a.b", "service": "A:80", "workload": "A_b", "zone": "z-1", "label/app": "A.b"}


@pytest.mark.parametrize("name", VALUES)
def test_require_valid_value_has_the_grammar_of_each_tag(name: str) -> None:
    require_valid_value(f"kuma.io/{name}", VALUES[name])
    with pytest.raises(AuthorizationError) as raised:
        require_valid_value(f"kuma.io/{name}", "-!")
    assert raised.value.reason is Reason.ROLE_TAG_INVALID


def test_the_audit_line_has_the_tags_of_this_service_as_iam_has_them() -> None:
    role = tagged(("Kuma.io/Service", "x" * 600), ("team", "payments"), mesh="Default!")
    assert role.noted == {
        "role_id": role.role_id,
        "path": role.parts.path,
        "tags": {"kuma.io/type": "dataplane", "kuma.io/mesh": "Default!", "Kuma.io/Service": "x" * 512},
    }


def test_the_audit_line_has_a_role_whose_arn_cannot_be_read_without_a_path() -> None:
    assert replace(ROLE, arn="nothing").noted["path"] is None


def test_the_audit_line_has_at_most_fifty_tags() -> None:
    """A role has at most 50 tags, so only a faulty answer has more."""
    keys = [f"kuma.io/label/key-{number}" for number in range(50)]
    noted = replace(ROLE, tags=tuple((key, "x") for key in (*keys, "KUMA.IO/type"))).noted
    assert list(noted["tags"]) == keys
