"""Every reason, through the whole service: real signatures, the real emulator, one change to one valid baseline each.

For each the answer, the calls that AWS got, the metric and the audit line; and nothing of the credential in any of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from app.core.reasons import EXPLANATIONS, Reason
from app.core.signed_request import CredentialForm
from app.emulator import FaultKind, Role, SessionCredentials
from app.telemetry.metrics import outcome_of
from tests.conftest import StartService
from tests.support import mutations as mutate
from tests.support.exposition import grown, read_samples
from tests.support.process import served, socket_address
from tests.support.service import RunningService
from tests.support.signing import FORMS, Recipe, SignedCall
from tests.support.world import (
    ACCOUNT,
    DATAPLANE,
    EGRESS,
    INGRESS,
    OTHER_ACCOUNT,
    PROXY,
    STRANGERS_ACCOUNT,
    Aws,
    recipe_of,
)

NATIVE, JWT, EKS, ENVELOPE, PLAIN = FORMS
UNPREPARED_ACCOUNT: Final = "222233334444"  # listed, without a reader role
DATAPLANES_ALONE: Final = {"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE": "zoneToken"}
ALL_ACCOUNTS: Final = f"{ACCOUNT},{OTHER_ACCOUNT},{UNPREPARED_ACCOUNT}"

ELSEWHERE: Final = {
    Reason.NOT_FOUND: "api/test_application.py::test_an_unknown_path_is_a_problem",
    Reason.METHOD_NOT_ALLOWED: "api/test_authenticate.py::test_another_method_is_not_allowed",
    Reason.INTERNAL_ERROR: "api/test_authenticate.py::test_a_bug_of_ours_is_a_bare_500",
    Reason.OVERLOADED: "sts/test_calls.py::test_a_full_queue_refuses_before_the_credential_is_judged",
    Reason.CALLER_NOT_AUTHENTICATED: (
        "local/test_caller_tokens.py::test_an_unknown_caller_costs_no_call_to_aws_and_is_no_decision"
    ),
    Reason.ACCOUNTS_UNAVAILABLE: "settings/test_accounts.py::test_after_an_hour_of_a_bad_file_nothing_is_decided",
    Reason.OWN_CREDENTIALS_UNAVAILABLE: (
        "test_provoked_failures.py::test_a_provoked_failure_names_its_cause_and_its_remedy"
    ),
    Reason.TOKEN_REJECTED: "tokens/test_tokens.py::test_a_token_that_no_key_of_ours_has_signed_is_rejected",
    Reason.PROXY_NAME_MISMATCH: "tokens/test_tokens.py::test_a_token_with_a_name_is_for_that_proxy_alone",
    Reason.PROXY_NAME_MISSING: "test_identity.py::test_a_token_for_every_name_is_never_issued_where_names_are_asked_for",
    Reason.ROLE_ZONE_MISSING: "tokens/test_tokens.py::test_a_zone_proxy_needs_a_zone",
    Reason.SIGNING_KEY_MISSING: "tokens/test_tokens.py::test_a_kind_or_mesh_without_a_key_is_undecided",
}

Sign = Callable[[Recipe], str]


def _as_it_is(recipe: Recipe) -> str:
    return recipe.credential()


def _with(**changes: Any) -> Sign:
    """Sign another request, validly."""
    return lambda recipe: replace(recipe, **changes).credential()


def _older(**ago: float) -> Sign:
    return lambda recipe: replace(recipe, now=recipe.now - timedelta(**ago)).credential()


def _altered(change: Callable[[SignedCall], SignedCall]) -> Sign:
    """Change a signed part afterwards."""
    return lambda recipe: change(recipe.sign()).credential()


def _nothing(_aws: Aws, _role: Role) -> None:
    pass


def _sts(fault: FaultKind) -> Callable[[Aws, Role], None]:
    return lambda aws, _role: aws.emulator.faults.sts.inject(fault, action="GetCallerIdentity")


def _iam(fault: FaultKind) -> Callable[[Aws, Role], None]:
    return lambda aws, _role: aws.emulator.faults.iam.inject(fault)


def _delete(aws: Aws, role: Role) -> None:
    aws.emulator.world.delete_role(role.account, role.name)


def _make_anew(aws: Aws, role: Role) -> None:
    """Vault PR 2814: a new role with an old name is another role."""
    _delete(aws, role)
    aws.emulator.world.add_role(role.account, role.name, tags=role.tags)


def _session(aws: Aws, role: Role) -> SessionCredentials:
    return aws.session_of(role)


def _ended_session(aws: Aws, role: Role) -> SessionCredentials:
    return aws.emulator.world.issue_session(role.account, role.name, "task", timedelta(seconds=-1))


def _federated_user(aws: Aws, role: Role) -> SessionCredentials:
    return aws.emulator.world.issue_federated_user(role.account, "bob")


def _user(name: str) -> Callable[[Aws, Role], SessionCredentials]:
    """A user's long-term keys, which have no session token."""

    def issue(aws: Aws, role: Role) -> SessionCredentials:
        keys = aws.emulator.world.add_user(role.account, name)
        spare = aws.session_of(role)
        return replace(
            spare, access_key_id=keys.access_key_id, secret_access_key=keys.secret_access_key, session_token=""
        )

    return issue


def _tags(**changes: str | None) -> dict[str, str]:
    tags = {**DATAPLANE, **{f"kuma.io/{name}": value for name, value in changes.items() if value is not None}}
    return {key: value for key, value in tags.items() if changes.get(key.removeprefix("kuma.io/"), "") is not None}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One change to the baseline: a new data plane role that signs in native form, and a proxy that matches it.

    Attributes:
        sts: the number of GetCallerIdentity calls that the case costs.
        iam: the number of GetRole calls that the case costs.
        who: returns the credentials that sign.
        sign: makes the credential.
        claim: what the proxy asserts.
        variables: changes to the service's environment.
        known: present the credential once before, so that STS's answer is cached, and the role's is not.
        before: changes AWS before the call.
        body: the body of the call, if it is not the usual one.
        headers: further headers of the call.
    """

    reason: Reason
    id: str
    sts: int
    iam: int
    form: CredentialForm = NATIVE
    tags: Mapping[str, str] | tuple[tuple[str, str], ...] = field(default_factory=lambda: DATAPLANE)
    account: str = ACCOUNT
    who: Callable[[Aws, Role], SessionCredentials] = _session
    sign: Sign = _as_it_is
    claim: Mapping[str, Any] | None = field(default_factory=lambda: PROXY)
    variables: Mapping[str, str] = field(default_factory=dict)
    known: bool = False
    before: Callable[[Aws, Role], None] = _nothing
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    label: CredentialForm | None = None
    """The form that the metric names; None when the credential cannot be decoded."""


def _local(reason: Reason, case_id: str, sign: Sign, *, form: CredentialForm = NATIVE, decoded: bool = True) -> Case:
    """A case that costs no call to AWS."""
    return Case(reason=reason, id=case_id, sts=0, iam=0, form=form, sign=sign, label=form if decoded else None)


def _denied(reason: Reason, case_id: str, **changes: Any) -> Case:
    """A case that AWS answers correctly, and that a rule denies."""
    return Case(reason=reason, id=case_id, sts=1, iam=1, label=NATIVE, **changes)


MALFORMED = (
    _local(Reason.CREDENTIAL_MALFORMED, "empty", lambda _recipe: "", decoded=False),
    _local(
        Reason.CREDENTIAL_MALFORMED,
        "a-jwt-of-kumas-own",
        lambda _recipe: "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        decoded=False,
    ),
    _local(Reason.CREDENTIAL_MALFORMED, "bearer", lambda recipe: f"Bearer {recipe.credential()}", decoded=False),
    _local(Reason.CREDENTIAL_MALFORMED, "newline-at-the-end", lambda recipe: recipe.credential() + "\n", decoded=False),
    _local(
        Reason.CREDENTIAL_MALFORMED,
        "parameter-twice",
        _altered(lambda call: mutate.append_parameter(call, "Action", "GetCallerIdentity")),
        decoded=False,
    ),
    _local(
        Reason.CREDENTIAL_MALFORMED,
        "parameter-in-another-case",
        _altered(lambda call: mutate.rename_parameter(call, "X-Amz-Date", "x-amz-date")),
        decoded=False,
    ),
    _local(Reason.CREDENTIAL_MALFORMED, "another-action", _with(action="AssumeRole")),
    _local(
        Reason.CREDENTIAL_MALFORMED, "plain-http", _altered(lambda call: mutate.replace_in_url(call, "https", "http"))
    ),
    _local(Reason.CREDENTIAL_MALFORMED, "another-path", _with(path="/admin")),
    _local(
        Reason.CREDENTIAL_MALFORMED, "a-post-with-a-query", _with(parameters=(("Action", "AssumeRole"),)), form=PLAIN
    ),
    _local(Reason.CREDENTIAL_MALFORMED, "another-body", _with(body="Action=AssumeRole&Version=2011-06-15"), form=PLAIN),
    _local(
        Reason.CREDENTIAL_MALFORMED,
        "an-unsigned-amz-header",
        _altered(lambda call: mutate.set_header(call, "X-Amz-Target", "x")),
        form=PLAIN,
    ),
    _local(Reason.CREDENTIAL_MALFORMED, "expires-after-a-day", _with(expires=86400)),
)

CREDENTIALS = (
    _local(
        Reason.HOST_NOT_ALLOWED, "a-host-that-looks-like-sts", _with(host="sts.us-east-1.amazonaws.com.evil.example")
    ),
    _local(Reason.HOST_NOT_ALLOWED, "a-port", _altered(lambda call: mutate.replace_in_url(call, ".com/", ".com:443/"))),
    _local(
        Reason.HOST_NOT_ALLOWED, "another-partition", _with(host="sts.cn-north-1.amazonaws.com.cn", region="cn-north-1")
    ),
    replace(
        _local(Reason.HOST_NOT_ALLOWED, "a-region-that-is-not-listed", _as_it_is),
        variables={"KMESH_AWSIAM_REGIONS": "eu-west-1"},
    ),
    replace(
        _local(Reason.HOST_NOT_ALLOWED, "the-global-endpoint-that-is-not-listed", _with(host="sts.amazonaws.com")),
        variables={"KMESH_AWSIAM_REGIONS": "us-east-1"},
    ),
    *(_local(Reason.AUDIENCE_MISSING, f"unbound-{form}", _with(audience=None), form=form) for form in FORMS),
    _local(
        Reason.AUDIENCE_MISSING,
        "an-audience-that-was-not-signed",
        _with(unsigned=frozenset({"x-vault-aws-iam-server-id"})),
        form=ENVELOPE,
    ),
    _local(Reason.AUDIENCE_MISMATCH, "another-audience-envelope", _with(audience="another"), form=ENVELOPE),
    _local(Reason.AUDIENCE_MISMATCH, "another-audience-plain-envelope", _with(audience="another"), form=PLAIN),
    *(
        _local(
            Reason.AUDIENCE_MISMATCH,
            f"bound-to-a-vault-{form}",
            _with(audience_header="x-consul-iam-serverid"),
            form=form,
        )
        for form in FORMS
    ),
    replace(
        _local(Reason.AUDIENCE_MISMATCH, "another-audience-is-no-unbound-one", _with(audience="another"), form=PLAIN),
        variables={"KMESH_AWSIAM_ALLOW_UNBOUND_CREDENTIALS": "true"},
    ),
    _local(Reason.SCOPE_MISMATCH, "another-region", _with(region="eu-west-1")),
    _local(Reason.SCOPE_MISMATCH, "another-service", _with(service="iam")),
    *(_local(Reason.CREDENTIAL_EXPIRED, f"16-minutes-{form}", _older(minutes=16), form=form) for form in FORMS),
    _local(Reason.CREDENTIAL_EXPIRED, "its-own-minute", lambda recipe: _older(seconds=62)(replace(recipe, expires=60))),
    *(_local(Reason.CREDENTIAL_NOT_YET_VALID, f"6-minutes-{form}", _older(minutes=-6), form=form) for form in FORMS),
)

REJECTED_BY_STS = (
    *(
        Case(
            reason=Reason.STS_REJECTED,
            id=f"another-audience-{form}",
            sts=1,
            iam=0,
            form=form,
            sign=_with(audience="another"),
        )
        for form in (NATIVE, JWT, EKS)
    ),
    *(
        Case(
            reason=Reason.STS_REJECTED,
            id=f"another-secret-{form}",
            sts=1,
            iam=0,
            form=form,
            sign=_with(secret_key="x" * 40),
        )
        for form in FORMS
    ),
    Case(reason=Reason.STS_REJECTED, id="another-token", sts=1, iam=0, sign=_with(token="x" * 100)),
    Case(reason=Reason.STS_REJECTED, id="an-unknown-key", sts=1, iam=0, sign=_with(access_key_id="ASIA" + "X" * 16)),
    Case(reason=Reason.STS_REJECTED, id="a-role-that-was-deleted", sts=1, iam=0, before=_delete),
    *(
        Case(reason=Reason.SESSION_EXPIRED, id=f"session-expired-{form}", sts=1, iam=0, form=form, who=_ended_session)
        for form in FORMS
    ),
)

NOT_PERMITTED = (
    Case(
        reason=Reason.PRINCIPAL_NOT_A_ROLE,
        id="user",
        sts=1,
        iam=0,
        form=PLAIN,
        who=_user("alice"),
        sign=_with(token=None),
    ),
    Case(
        reason=Reason.PRINCIPAL_NOT_A_ROLE,
        id="root",
        sts=1,
        iam=0,
        form=PLAIN,
        who=_user("root"),
        sign=_with(token=None),
    ),
    Case(reason=Reason.PRINCIPAL_NOT_A_ROLE, id="federated-user", sts=1, iam=0, who=_federated_user),
    Case(reason=Reason.ACCOUNT_NOT_AUTHORIZED, id="a-strangers-account", sts=1, iam=0, account=STRANGERS_ACCOUNT),
    Case(reason=Reason.ROLE_NOT_FOUND, id="deleted-since", sts=0, iam=1, known=True, before=_delete),
    Case(reason=Reason.ROLE_ID_MISMATCH, id="made-anew-since", sts=0, iam=1, known=True, before=_make_anew),
    _denied(Reason.ROLE_TYPE_MISSING, "untagged", tags={}),
    _denied(
        Reason.ACCOUNT_MESH_NOT_ALLOWED,
        "mesh-of-another-account",
        variables={"KMESH_AWSIAM_ACCOUNT_MESHES": f"{ACCOUNT}=payments,{OTHER_ACCOUNT}=*,{UNPREPARED_ACCOUNT}=*"},
    ),
    _denied(Reason.ROLE_TYPE_MISSING, "no-type", tags=_tags(type=None)),
    _denied(Reason.ROLE_MESH_MISSING, "no-mesh", tags=_tags(mesh=None)),
    _denied(
        Reason.ROLE_SERVICE_MISSING,
        "no-service",
        tags=_tags(service=None),
        variables={"KMESH_AWSIAM_REQUIRE_SERVICE_TAG": "true"},
    ),
    _denied(Reason.ROLE_WORKLOAD_MISSING, "no-workload-tag", variables={"KMESH_AWSIAM_REQUIRE_WORKLOAD_TAG": "true"}),
    _denied(Reason.ROLE_PATH_NOT_ALLOWED, "another-path", variables={"KMESH_AWSIAM_ROLE_PATH_PREFIX": "/workloads/"}),
    _denied(Reason.ROLE_TAG_INVALID, "type-in-capitals", tags=_tags(type="Dataplane")),
    _denied(Reason.ROLE_TAG_INVALID, "mesh-is-a-pattern", tags=_tags(mesh="*")),
    _denied(Reason.ROLE_TAG_INVALID, "services-in-a-list", tags=_tags(service="demo-app,backend")),
    _denied(Reason.ROLE_TAG_INVALID, "key-in-capitals", tags=(*DATAPLANE.items(), ("KUMA.IO/mesh", "payments"))),
    *(
        _denied(Reason.PROXY_TYPE_DISABLED, kind, tags=tags, claim={"type": kind}, variables=DATAPLANES_ALONE)
        for kind, tags in (("ingress", INGRESS), ("egress", EGRESS))
    ),
    _denied(Reason.PROXY_TYPE_MISMATCH, "dataplane-as-ingress", claim={"type": "ingress"}),
    _denied(Reason.PROXY_TYPE_MISMATCH, "ingress-as-egress", tags=INGRESS, claim={"type": "egress"}),
    _denied(Reason.PROXY_MESH_MISMATCH, "another-mesh", claim={**PROXY, "mesh": "payments"}),
    _denied(
        Reason.PROXY_SERVICE_MISMATCH, "another-service", claim={**PROXY, "tags": {"kuma.io/service": ["backend"]}}
    ),
    _denied(
        Reason.PROXY_SERVICE_MISMATCH,
        "one-inbound-of-another",
        claim={**PROXY, "tags": {"kuma.io/service": ["demo-app", "backend"]}},
    ),
    _denied(Reason.PROXY_SERVICE_MISMATCH, "no-service-at-all", claim={"type": "dataplane", "mesh": "default"}),
    _denied(Reason.PROXY_WORKLOAD_MISMATCH, "no-workload", tags=_tags(workload="demo")),
    _denied(
        Reason.PROXY_WORKLOAD_MISMATCH,
        "another-workload",
        tags=_tags(workload="demo"),
        claim={**PROXY, "labels": {"kuma.io/workload": "other"}},
    ),
    _denied(
        Reason.PROXY_WORKLOAD_MISMATCH,
        "a-workload-that-no-tag-binds",
        claim={**PROXY, "labels": {"kuma.io/workload": "payments"}},
    ),
    _denied(
        Reason.PROXY_SERVICE_MISMATCH,
        "another-service-as-a-label",
        claim={**PROXY, "labels": {"kuma.io/service": "payments"}},
    ),
    _denied(
        Reason.PROXY_SERVICE_MISMATCH,
        "another-service-as-a-label-alone",
        claim={**PROXY, "tags": {}, "labels": {"kuma.io/service": "payments"}},
    ),
    _denied(Reason.PROXY_LABEL_MISMATCH, "no-label", tags={**DATAPLANE, "kuma.io/label/app": "demo"}),
    _denied(
        Reason.PROXY_LABEL_MISMATCH,
        "another-label",
        tags={**DATAPLANE, "kuma.io/label/app": "demo"},
        claim={**PROXY, "labels": {"app": "payments"}},
    ),
    _denied(Reason.ROLE_TAG_INVALID, "label-of-kuma", tags={**DATAPLANE, "kuma.io/label/kuma.io/workload": "demo"}),
    _denied(Reason.ROLE_TAG_INVALID, "label-in-capitals", tags={**DATAPLANE, "KUMA.IO/label/app": "demo"}),
    _denied(Reason.PROXY_TYPE_MISMATCH, "zone-listener", claim={**PROXY, "listeners": ["ZoneEgress"]}),
    _denied(
        Reason.PROXY_ZONE_MISMATCH,
        "zone-of-another-service",
        tags={**INGRESS, "kuma.io/zone": "zone-1"},
        claim={"type": "ingress"},
        variables={"KMESH_AWSIAM_ZONE": "zone-2"},
    ),
    _denied(
        Reason.PROXY_ZONE_MISMATCH,
        "another-zone",
        tags={**INGRESS, "kuma.io/zone": "zone-1"},
        claim={"type": "ingress", "zone": "zone-2"},
    ),
)

UNDECIDED = (
    Case(reason=Reason.STS_THROTTLED, id="sts-throttles", sts=1, iam=0, before=_sts(FaultKind.THROTTLE)),
    Case(reason=Reason.STS_UNAVAILABLE, id="sts-fails", sts=2, iam=0, before=_sts(FaultKind.SERVICE_UNAVAILABLE)),
    Case(reason=Reason.STS_UNAVAILABLE, id="sts-redirects", sts=1, iam=0, before=_sts(FaultKind.REDIRECT)),
    Case(reason=Reason.STS_UNAVAILABLE, id="sts-is-forged", sts=1, iam=0, before=_sts(FaultKind.FORGED_ACTION)),
    Case(
        reason=Reason.STS_UNAVAILABLE,
        id="sts-names-two-sessions",
        sts=1,
        iam=0,
        before=_sts(FaultKind.SESSION_MISMATCH),
    ),
    Case(reason=Reason.STS_ACCESS_DENIED, id="an-endpoints-policy", sts=1, iam=0, before=_sts(FaultKind.ACCESS_DENIED)),
    Case(reason=Reason.IAM_THROTTLED, id="iam-throttles", sts=1, iam=1, before=_iam(FaultKind.THROTTLE)),
    Case(reason=Reason.IAM_UNAVAILABLE, id="iam-fails", sts=1, iam=2, before=_iam(FaultKind.INTERNAL_FAILURE)),
    Case(reason=Reason.IAM_ACCESS_DENIED, id="iam-denies", sts=1, iam=1, before=_iam(FaultKind.ACCESS_DENIED)),
    Case(reason=Reason.IAM_ACCESS_DENIED, id="no-reader-role", sts=1, iam=0, account=UNPREPARED_ACCOUNT),
    Case(
        reason=Reason.IAM_ACCESS_DENIED,
        id="no-reader-role-name",
        sts=1,
        iam=0,
        account=OTHER_ACCOUNT,
        variables={"KMESH_AWSIAM_READER_ROLE_NAME": "", "KMESH_AWSIAM_READER_EXTERNAL_ID": ""},
    ),
)

CALLS = (
    Case(reason=Reason.MALFORMED_REQUEST, id="no-credential", sts=0, iam=0, body=b"{}"),
    Case(reason=Reason.MALFORMED_REQUEST, id="no-json", sts=0, iam=0, body=b"credential=x"),
    Case(reason=Reason.REQUEST_TOO_LARGE, id="over-64-kib", sts=0, iam=0, body=b'{"credential":"%b"}' % (b"x" * 65536)),
    Case(
        reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        id="a-form",
        sts=0,
        iam=0,
        body=b"{}",
        headers={"content-type": "application/x-www-form-urlencoded"},
    ),
)

CASES = (*CALLS, *MALFORMED, *CREDENTIALS, *REJECTED_BY_STS, *NOT_PERMITTED, *UNDECIDED)


def test_every_reason_is_given_here_or_somewhere_that_is_named() -> None:
    given = {case.reason for case in CASES}
    assert given | ELSEWHERE.keys() == set(Reason)
    assert not given & ELSEWHERE.keys()
    for place in ELSEWHERE.values():
        path, _, name = place.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / path).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Presented:
    """A case ready to run: the credential, and every text in it that must not be seen again.

    The key id is no secret. Only the audit line has it, in a field of its own.
    """

    credential: str
    secrets: tuple[str, ...]
    key_id: str


def _prepare(case: Case, aws: Aws) -> tuple[Presented, Role]:
    role = aws.add_role(case.tags, case.account)
    session = case.who(aws, role)
    recipe = recipe_of(session, case.form)
    credential = case.sign(recipe)
    pieces = [credential[at : at + 32] for at in range(16, len(credential) - 48, 48)]
    secrets = (session.session_token[:32], session.session_token[-32:], *pieces)
    return Presented(credential, tuple(filter(None, secrets)), session.access_key_id), role


@pytest.mark.parametrize("case", CASES, ids=[f"{case.reason}-{case.id}" for case in CASES])
async def test_the_service_refuses_with_the_one_reason(case: Case, aws: Aws, start_service: StartService) -> None:
    presented, role = _prepare(case, aws)
    role_ttl = {"KMESH_AWSIAM_ROLE_TTL": "0.000001"} if case.known else {}
    async with start_service(KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS=ALL_ACCOUNTS, **role_ttl, **case.variables) as service:
        if case.known:
            assert (await service.present(presented.credential, case.claim)).status_code == 200
        case.before(aws, role)
        aws.emulator.calls.clear()
        already = len(service.decisions())
        before = await service.metrics()

        if case.body is None:
            response = await service.present(presented.credential, case.claim, **{"x-request-id": "request-1"})
        else:
            response = await service.send(case.body, **{"x-request-id": "request-1"}, **case.headers)

        metrics_text = (await service.client.get("/metrics")).text
    after = read_samples(metrics_text)
    explanation = EXPLANATIONS[case.reason]
    answer = response.json()
    assert (answer["reason"], response.status_code) == (case.reason.value, explanation.status)
    assert response.headers["content-type"] == "application/problem+json"
    assert (len(aws.sts_calls()), len(aws.iam_calls())) == (case.sts, case.iam)
    assert grown(before, after, "kuma_aws_iam_decisions_total") == {frozenset(_labels(case).items()): 1.0}
    [line] = service.decisions()[already:]
    assert (line["outcome"], line["reason"]) == (outcome_of(case.reason), case.reason.value)
    assert line["request_id"] == answer["requestId"] == "request-1"
    assert line["detail"]
    assert line["granted"] is None
    others = [{**event, "access_key": None} for event in service.log]
    seen = {"answer": response.text, "log": repr(service.log), "metrics": metrics_text}
    leaks = [where for where, text in seen.items() for secret in presented.secrets if secret in text]
    assert leaks == []
    assert presented.key_id not in f"{response.text} {others} {metrics_text}"


def _labels(case: Case) -> dict[str, str]:
    proxy_type = "none" if case.claim is None or case.body is not None else str(case.claim["type"])
    undecoded = case.body is not None or (case.sts == case.iam == 0 and case.label is None and not case.known)
    return {
        "outcome": outcome_of(case.reason),
        "reason": case.reason.value,
        "proxy_type": proxy_type,
        "form": "none" if undecoded else case.form.value,
    }


# The log of the process at the most verbose level.


@pytest.fixture(params=["json", "human"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_nothing_secret_leaves_the_process(aws: Aws, log_format: str) -> None:
    """I22, also for what libraries print: canaries are in what is presented, and in the service's own secrets."""
    own = aws.emulator.issue(ACCOUNT, "kuma-aws-iam")
    secrets = {own.secret_access_key, own.session_token[:32], own.access_key_id}
    key_ids = set[str]()
    answers = []
    variables = {
        **aws.service_environment(),
        "KMESH_AWSIAM_LOG_LEVEL": "debug",
        "KMESH_AWSIAM_LOG_FORMAT": log_format,
        "KMESH_AWSIAM_HTTPS_PROXY": "",
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONWARNINGS": "default",
    }
    played = [case for case in CASES if case.body is None and not case.known and not case.variables and case.iam < 2]
    with socket_address() as address, served(address, **variables) as service:
        for case in played:
            presented, role = _prepare(case, aws)
            secrets.update(presented.secrets)
            key_ids.add(presented.key_id)
            case.before(aws, role)
            call = {"credential": presented.credential, "proxy": case.claim}
            answers.append(service.client.post("/v1/authenticate", json=call).text)
            aws.emulator.faults.clear()
        answers.append(service.client.get("/metrics").text)
        assert service.stop() == 0
    log = "".join(service.lines)
    assert log.count("decision") >= len(played)
    assert not [secret for secret in secrets if secret in log]
    assert not [secret for secret in secrets | key_ids if secret in "".join(answers)]


async def test_the_baseline_of_each_form_is_accepted(service: RunningService, aws: Aws) -> None:
    """Otherwise every refusal above would prove nothing."""
    for form in FORMS:
        role = aws.add_role()
        response = await service.present(recipe_of(aws.session_of(role), form).credential(), PROXY)
        assert (response.status_code, response.json().get("reason")) == (200, None)
    assert (len(aws.sts_calls()), len(aws.iam_calls())) == (len(FORMS), len(FORMS))
    assert [line["form"] for line in service.decisions()] == list(FORMS)
