"""Roles, proxies and policies that fit each other or do not, and real decisions about them."""

from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from app.core.errors import AuthError
from app.core.known_credential import KnownCredential
from app.core.principal import AdmittedPrincipal, admit
from app.core.proxy import ProxyAssertion, ProxyType, ZoneListener
from app.core.request_policy import MAX_LIFETIME
from app.core.role_grant import GrantPolicy, match
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from app.decision.authenticator import Authenticator, DecisionPolicy
from app.decision.record import PRESENTED, TOKEN_FORM, DecisionRecord, TokenNote, UpstreamCall
from app.policy.verdict import AccessPolicy
from app.settings.accounts import FixedAccounts
from app.tokens.claims import TokenSubject, subject_of
from app.tokens.subject import limit, require_name
from tests.support.principals import PRINCIPAL
from tests.support.signing import NOW, default_policy

OTHER = "444455556666"
LONG = "x" * 300
REQUEST = default_policy()
ENDPOINT = next(iter(REQUEST.endpoints.values()))
Scene = tuple[RoleRecord, ProxyAssertion | None]
BOTH = frozenset({PRINCIPAL.account, OTHER})
ZONE_TYPES = (ProxyType.INGRESS, ProxyType.EGRESS)

# Each scene is a role, its proxy and a policy that fit each other. An example changes a few things in one of them: with
# independent values, hardly an example would get through to the last rules.
ROLE: Mapping[str, Any] = {
    "path": "/mesh/",
    "name": PRINCIPAL.role,
    "role_id": PRINCIPAL.role_id,
    "account": PRINCIPAL.account,
    "KUMA.IO/mesh": None,
    "repeated": False,
}
DATAPLANE: Mapping[str, Any] = {"kuma.io/type": "dataplane", "kuma.io/mesh": "default", "kuma.io/service": "default"}
PROXY: Mapping[str, Any] = {
    "type": ProxyType.DATAPLANE,
    "mesh": "default",
    "name": "demo",
    "zone": None,
    "services": frozenset({"default"}),
    "service_label": None,
    "workload": None,
    "listeners": frozenset(),
}
SCENES: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
    ({**ROLE, **DATAPLANE}, PROXY),
    ({**ROLE, **DATAPLANE, "kuma.io/workload": "default"}, {**PROXY, "workload": "default"}),
    *(
        ({**ROLE, "kuma.io/type": kind, "kuma.io/zone": "default"}, {**PROXY, "type": kind, "mesh": None})
        for kind in ZONE_TYPES
    ),
    (
        {**ROLE, **DATAPLANE, "kuma.io/type": "egress", "kuma.io/workload": "default"},
        {**PROXY, "services": None, "workload": "default", "listeners": frozenset({ZoneListener.EGRESS})},
    ),
]
NAMES = (None, "default", "demo", LONG)
ROLE_CHANGES: Mapping[str, tuple[Any, ...]] = {
    "path": ("/", "/mesh/a/", "/a/"),
    "name": ("another",),
    "role_id": ("AROAANOTHERANOTHER001",),
    "account": (OTHER,),
    "kuma.io/type": (*ProxyType, None, "none"),
    "kuma.io/mesh": (*NAMES, "Not Valid"),
    "kuma.io/service": (*NAMES, "Not Valid"),
    "kuma.io/workload": (*NAMES, "Not Valid"),
    "kuma.io/zone": (*NAMES, "Not Valid"),
    "KUMA.IO/mesh": ("default",),
    "repeated": (True,),
}
PROXY_CHANGES: Mapping[str, tuple[Any, ...]] = {
    "type": tuple(ProxyType),
    "mesh": NAMES,
    "name": (*NAMES, "a b"),
    "zone": NAMES,
    "services": (
        None,
        *(frozenset(names) for names in (["demo"], [LONG], [LONG, f"{LONG}y"], map(str, range(20)))),
    ),
    "service_label": NAMES,
    "workload": NAMES,
    "listeners": (frozenset(), *(frozenset({kind}) for kind in ZoneListener), frozenset(ZoneListener)),
}
POLICY: Mapping[str, Any] = {"accounts": BOTH, "enabled_types": frozenset(ProxyType)}
POLICY_CHANGES: Mapping[str, tuple[Any, ...]] = {
    "accounts": (frozenset({PRINCIPAL.account}), frozenset({OTHER})),
    "enabled_types": tuple(frozenset({kind}) for kind in ProxyType),
    "require_service": (True,),
    "require_workload": (True,),
    "allow_unbound_workloads": (True,),
    "role_path_prefix": ("/mesh/",),
    "account_meshes": (*({PRINCIPAL.account: frozenset({name})} for name in ("*", "default", "demo")), {}),
    "zone": ("default", "demo"),
}


def changes_of(changes: Mapping[str, tuple[Any, ...]]) -> list[tuple[str, Any]]:
    """Every single change."""
    return [(name, value) for name, values in changes.items() for value in values]


def every_single_change(base: Mapping[str, Any], changes: Mapping[str, tuple[Any, ...]]) -> Iterator[Mapping[str, Any]]:
    """The base, and the base with each change."""
    yield base
    for name, value in changes_of(changes):
        yield {**base, name: value}


def make_role(given: Mapping[str, Any]) -> RoleRecord:
    tags = [(name, value) for name, value in given.items() if name.lower().startswith("kuma.io/") and value is not None]
    arn = f"arn:aws:iam::{given['account']}:role{given['path']}{given['name']}"
    # A faulty answer can have a key twice, which the JSON of a line cannot.
    repeated = tags[:1] if given["repeated"] else []
    return RoleRecord(
        arn=arn, role_id=given["role_id"], name=given["name"], tags=(*tags, *repeated), request_id="iam-1"
    )


def make_proxy(given: Mapping[str, Any]) -> ProxyAssertion:
    labels = {"kuma.io/service": given["service_label"], "kuma.io/workload": given["workload"]}
    return ProxyAssertion(
        **{name: given[name] for name in ("type", "mesh", "name", "zone", "listeners")},
        tags={} if given["services"] is None else {"kuma.io/service": given["services"]},
        labels={name: value for name, value in labels.items() if value is not None},
    )


@dataclass(frozen=True)
class OneRole:
    """IAM and the cache of STS's answers, with one role."""

    role: RoleRecord

    async def fetch_role(self, admitted: AdmittedPrincipal, seen: UpstreamCall, deadline: float) -> RoleRecord:  # noqa: ARG002 - the port's
        return self.role

    def approve(self, known: KnownCredential) -> None:
        """Nothing is remembered."""


def run(decision: Coroutine[Any, Any, Any]) -> None:
    """Run a decision that waits for nothing."""
    try:
        decision.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def decide(
    role: RoleRecord, record: DecisionRecord, asserted: ProxyAssertion | None, policy: AccessPolicy
) -> AuthError | None:
    """Take a known credential through the decision, and through what the issue of a token requires."""
    common = {each.name: getattr(policy, each.name) for each in fields(GrantPolicy)}
    whole = DecisionPolicy(request=REQUEST, accounts=FixedAccounts(policy.accounts), **common)
    port: Any = OneRole(role)
    authenticator = Authenticator(whole, port, port, port, lambda: NOW)
    known = KnownCredential(
        form=CredentialForm.NATIVE, signed_at=NOW, lifetime=MAX_LIFETIME, principal=PRINCIPAL, key=b"",
        access_key_id="ASIAEXAMPLE", key_account=None, endpoint=ENDPOINT,
    )  # fmt: skip
    try:
        run(authenticator.authenticate(known, asserted, record, 0.0))
        if record.call != "authenticate":
            assert record.granted is not None
            subject_of(record.granted, PRINCIPAL, asserted, default_zone=policy.zone)
    except AuthError as error:
        record.granted = None
        return error
    return None


def decide_token(
    subject: TokenSubject, record: DecisionRecord, asserted: ProxyAssertion | None, policy: AccessPolicy
) -> AuthError | None:
    """Take a presented token through the steps after its signature, as `TokenAuthenticator` does."""
    record.asserted, record.form, record.principal = asserted, TOKEN_FORM, subject.principal
    record.token = TokenNote(
        jti="jti", kid="kid", expires_at=NOW, origin=PRESENTED, identity=subject.identity, name=subject.name
    )
    try:
        admit(subject.principal, policy.accounts)
        grant = limit(subject, policy)
        require_name(subject, asserted)
        record.granted = match(grant, asserted, policy)
    except AuthError as error:
        return error
    return None
