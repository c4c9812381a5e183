"""One regression test for each published vulnerability of systems that do this job (threat model, section 1).

Rows about I/O (redirects, caches, coalescing, proxies) are tested beside the clients that do it; here stands what the
pure core holds.
"""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from app.core.arn import parse_arn
from app.core.caller_identity import CallerIdentity, StsReply, read_caller_identity
from app.core.endpoints import select_endpoints
from app.core.errors import AuthError
from app.core.principal import AdmittedPrincipal, Principal, admit, read_principal
from app.core.proxy import ProxyAssertion, ProxyType
from app.core.reasons import Reason
from app.core.request_policy import RequestPolicy, require_fresh
from app.core.role_grant import RoleGrant, match
from app.core.role_tags import RoleRecord, read_grant
from app.core.signed_request import CredentialForm
from app.core.strict_json import StrictJsonError, parse_object
from app.core.strict_xml import DocumentError
from app.core.sts_documents import read_identity_document
from tests.support.mutations import (
    append_parameter,
    change_query,
    parameter,
    prepend_parameter,
    replace_in_authorization,
    replace_in_url,
    set_header,
    set_parameter,
)
from tests.support.policies import POLICY
from tests.support.signing import (
    AUDIENCE,
    BODY,
    HOST,
    NOW,
    POSTED_FORMS,
    PRESIGNED_FORMS,
    Recipe,
    SignedCall,
    base64,
    endpoint_of,
    every_endpoint,
    judge,
    make_policy,
    signature_holds,
)

NATIVE = Recipe(form=CredentialForm.NATIVE)
EKS = Recipe(form=CredentialForm.EKS)
VAULT = Recipe(form=CredentialForm.ENVELOPE)
PLAIN = Recipe(form=CredentialForm.PLAIN_ENVELOPE)

ACCOUNT = "111122223333"
STRANGER = "444455556666"
ROLE_ID = "AROAEXAMPLEEXAMPLE01"
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
IDENTITY_XML = (
    f'<GetCallerIdentityResponse xmlns="{NAMESPACE}"><GetCallerIdentityResult>'
    f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/demo-app/4f1c</Arn><UserId>{ROLE_ID}:4f1c</UserId>"
    f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


def reason_of(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Reason:
    with pytest.raises(AuthError) as raised:
        act(*args, **kwargs)
    return raised.value.reason


def refusal(call: SignedCall, policy: RequestPolicy | None = None) -> Reason:
    return reason_of(judge, call.credential(), policy)


def principal(account: str = ACCOUNT, role: str = "demo-app", role_id: str = ROLE_ID) -> Principal:
    arn = f"arn:aws:sts::{account}:assumed-role/{role}/4f1c"
    return read_principal(CallerIdentity(arn=parse_arn(arn), user_id=f"{role_id}:4f1c", request_id="r-1"))


def role(account: str = ACCOUNT, name: str = "demo-app", role_id: str = ROLE_ID, **tags: str) -> RoleRecord:
    named = {"type": "dataplane", "mesh": "default"} | tags
    return RoleRecord(
        arn=f"arn:aws:iam::{account}:role/{name}",
        role_id=role_id,
        name=name,
        tags=tuple((f"kuma.io/{key}", value) for key, value in named.items()),
        request_id="i-1",
    )


def sts_says(body: str, *, content_type: str = "text/xml", status: int = 200) -> StsReply:
    return StsReply(status=status, content_type=content_type, body=body.encode(), request_id="r-1")


def test_the_baselines_of_this_file_are_accepted() -> None:
    for recipe in (NATIVE, EKS, VAULT, PLAIN):
        assert signature_holds(judge(recipe.credential()), recipe)
    assert read_caller_identity(sts_says(IDENTITY_XML), endpoint_of(HOST)).account == ACCOUNT
    assert read_grant(AdmittedPrincipal(principal()), role(), POLICY).mesh == "default"


# 1a. Systems that forward or consume a signed GetCallerIdentity.


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_cve_2020_16250_another_action_is_not_relayed(form: CredentialForm) -> None:
    """CVE-2020-16250, HashiCorp Vault: the client chose the body, so STS executed AssumeRoleWithWebIdentity."""
    body = (
        f"Action=AssumeRoleWithWebIdentity&RoleArn=arn:aws:iam::{STRANGER}:role/x&WebIdentityToken=x&Version=2011-06-15"
    )
    assert refusal(Recipe(form=form, body=body).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_cve_2020_16250_another_action_is_not_relayed_in_a_query(form: CredentialForm) -> None:
    """CVE-2020-16250, HashiCorp Vault, in the presigned form."""
    assert refusal(Recipe(form=form, action="AssumeRoleWithWebIdentity").sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_cve_2020_16250_the_client_does_not_choose_accept(form: CredentialForm) -> None:
    """CVE-2020-16250, HashiCorp Vault: with ``Accept: application/json`` STS reflected a token's subject in JSON."""
    call = Recipe(form=form).sign()
    assert judge(set_header(call, "Accept", "application/xml").credential()) == judge(call.credential())
    signed = Recipe(form=form, headers=(("Accept", "application/xml"),)).sign()
    assert refusal(signed) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("content_type", ["text/xml", "application/json"])
def test_cve_2020_16250_an_identity_within_another_answer_is_not_read(content_type: str) -> None:
    """CVE-2020-16250, HashiCorp Vault: a lenient XML decoder skipped the JSON around a forged GetCallerIdentityResponse."""
    forged = json.dumps({"AssumeRoleWithWebIdentityResponse": {"SubjectFromWebIdentityToken": IDENTITY_XML}})
    reply = sts_says(forged, content_type=content_type)
    assert reason_of(read_caller_identity, reply, endpoint_of(HOST)) is Reason.STS_UNAVAILABLE


def test_cve_2020_16250_an_identity_below_another_root_is_not_read() -> None:
    """CVE-2020-16250, HashiCorp Vault: the fix looks for the right document and not just for the right element."""
    wrapped = f'<AssumeRoleResponse xmlns="{NAMESPACE}">{IDENTITY_XML}</AssumeRoleResponse>'
    assert reason_of(read_caller_identity, sts_says(wrapped), endpoint_of(HOST)) is Reason.STS_UNAVAILABLE


def test_cve_2020_16250_the_session_token_still_passes() -> None:
    """CVE-2020-16250, HashiCorp Vault: the first allow-list of headers forgot X-Amz-Security-Token and broke every login."""
    headers = dict(judge(VAULT.credential()).headers)
    assert headers["x-amz-security-token"] == VAULT.token


def test_cve_2020_16251_a_claim_is_no_proof_of_itself() -> None:
    """CVE-2020-16251, Vault ``auth/gcp``: claims were trusted beyond what was proved. What a proxy says grants nothing."""
    grant = RoleGrant(type=ProxyType.DATAPLANE, mesh="default", service="demo-app")
    said = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", tags={"kuma.io/service": {"admin"}})
    assert reason_of(match, grant, said, POLICY) is Reason.PROXY_SERVICE_MISMATCH


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
@pytest.mark.parametrize("add", [append_parameter, prepend_parameter])
@pytest.mark.parametrize("name", ["x-amz-credential", "X-AMZ-CREDENTIAL", "action", "x-amz-signedheaders"])
def test_cve_2022_2385_two_spellings_of_a_parameter_do_not_collapse(
    form: CredentialForm, add: Callable[..., SignedCall], name: str
) -> None:
    """CVE-2022-2385, aws-iam-authenticator: names were lower-cased into one map; AWS and the check saw two values."""
    assert refusal(add(Recipe(form=form).sign(), name, "x")) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("name", ["x-kuma-audience", "X-KUMA-AUDIENCE", "CONTENT-TYPE"])
def test_cve_2022_2385_two_spellings_of_a_header_do_not_collapse(name: str) -> None:
    """CVE-2022-2385, aws-iam-authenticator, as it would be with the headers of an envelope."""
    call = replace(PLAIN, audience_header="X-Kuma-Audience").sign()
    assert refusal(set_header(call, name, "text/xml")) is Reason.CREDENTIAL_MALFORMED


def test_cve_2022_2385_the_access_key_id_decides_nothing() -> None:
    """CVE-2022-2385, aws-iam-authenticator: a spoofed access key id went into a user name. A principal holds none."""
    assert not [field.name for field in fields(Principal) if "key" in field.name]


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("sts.us-east-1.evil.example/.amazonaws.com", id="region-with-a-slash"),
        pytest.param("sts.us-east-1.amazonaws.com.evil.example", id="unanchored-pattern"),
        pytest.param("stsXus-east-1XamazonawsXcom", id="unescaped-dots"),
        pytest.param("sts.evil.example#.amazonaws.com", id="fragment"),
        pytest.param("sts.us-east-99.amazonaws.com", id="region-of-the-right-shape"),
    ],
)
@pytest.mark.parametrize("recipe", [NATIVE, PLAIN])
def test_cve_2025_49827_the_signed_host_does_not_choose_where_we_go(recipe: Recipe, host: str) -> None:
    """CVE-2025-49827, CyberArk Conjur: a region out of the host header was spliced into the name of the STS host."""
    call = replace_in_url(recipe.sign(), f"//{HOST}/", f"//{host}/")
    assert refusal(call) in {Reason.HOST_NOT_ALLOWED, Reason.CREDENTIAL_MALFORMED}


@pytest.mark.parametrize(
    "region", ["evil.example", "us-east-1@evil.example", "us-east-1%0aevil", "us-east-1.evil.example"]
)
def test_cve_2025_49827_the_region_of_the_scope_builds_no_host(region: str) -> None:
    """CVE-2025-49827, CyberArk Conjur: any text but slashes passed as a region of the credential scope."""
    call = replace_in_authorization(PLAIN.sign(), "/us-east-1/", f"/{region}/")
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


def test_cve_2025_49827_a_real_region_of_the_scope_builds_no_host() -> None:
    """CVE-2025-49827, CyberArk Conjur: the host comes out of the table, and a region that disagrees is refused."""
    assert refusal(replace(PLAIN, region="eu-west-1").sign()) is Reason.SCOPE_MISMATCH


@pytest.mark.parametrize(
    "line", ["sts.us-east-1.amazonaws.com\nevil.example", "evil.example\nsts.us-east-1.amazonaws.com"]
)
def test_cve_2025_49827_anchors_hold_the_whole_text_and_not_a_line(line: str) -> None:
    """CVE-2025-49827, Conjur CONJSE-2011: the first patch used per-line anchors."""
    call = replace(PLAIN.sign(), url=f"https://{line}/")
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", f"{HOST}.evil.example", f"{HOST}:8443"])
@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2025_49831_a_host_header_does_not_lead_elsewhere(recipe: Recipe, host: str) -> None:
    """CVE-2025-49831, CyberArk Conjur: the client's Host was relayed, and a gateway routed by it."""
    assert refusal(replace(recipe, headers=(("Host", host),)).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "Forwarded", "X-Original-Url", "Proxy-Authorization", "Cookie"])
@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2025_49831_unknown_headers_are_not_relayed(recipe: Recipe, name: str) -> None:
    """CVE-2025-49831, CyberArk Conjur: signed or not, only headers of a closed set come along."""
    assert refusal(set_header(recipe.sign(), name, "evil.example")) is Reason.CREDENTIAL_MALFORMED
    assert refusal(replace(recipe, headers=((name, "evil.example"),)).sign()) is Reason.CREDENTIAL_MALFORMED


def test_cve_2025_49831_a_signed_header_must_be_there() -> None:
    """CVE-2025-49831, Conjur CONJSE-2023: SignedHeaders named a header that the request did not carry."""
    call = replace_in_authorization(PLAIN.sign(), "content-type;host;", "amz-sdk-request;content-type;host;")
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


def test_cve_2026_45177_members_that_steer_the_validation_are_refused() -> None:
    """CVE-2026-45177, CyberArk Secrets Manager Edge (details not public): nothing but the named members is listened to."""
    members = PLAIN.sign().members()
    for extra in ("valid", "endpoint", "region", "host", "role", "__class__", "iam_request_url"):
        assert reason_of(judge, json.dumps(members | {extra: "https://evil.example/"})) is Reason.CREDENTIAL_MALFORMED


def test_cve_2025_11621_a_role_of_the_same_name_in_another_account_is_another_role() -> None:
    """CVE-2025-11621, HashiCorp Vault: a cached AWS client answered for another account's role of that name."""
    admitted = AdmittedPrincipal(principal())
    assert reason_of(read_grant, admitted, role(account=STRANGER), POLICY) is Reason.ROLE_ID_MISMATCH
    assert reason_of(read_grant, admitted, role(role_id="AROAEXAMPLEEXAMPLE02"), POLICY) is Reason.ROLE_ID_MISMATCH


@pytest.mark.parametrize("entry", ["*", "4444*", "arn:aws:iam::*:role/demo-app", "demo-app"])
def test_cve_2025_11621_an_account_is_not_matched_by_a_wildcard(entry: str) -> None:
    """CVE-2025-11621, HashiCorp Vault: wildcard bindings (PR 3213) let roles of other accounts pass."""
    assert reason_of(admit, principal(account=STRANGER), {ACCOUNT, entry}) is Reason.ACCOUNT_NOT_AUTHORIZED


def test_cve_2025_59048_the_account_is_checked_whatever_the_role_is_called() -> None:
    """CVE-2025-59048, OpenBao ``auth-aws``: the same defect in the fork; an untrusted account took a role's name."""
    assert reason_of(admit, principal(account=STRANGER), {ACCOUNT}) is Reason.ACCOUNT_NOT_AUTHORIZED
    assert principal(account=STRANGER).role == principal().role


@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2026_71861_an_audience_must_be_signed(recipe: Recipe) -> None:
    """CVE-2026-71861, Chainguard SDK: a token for another relying party was re-labelled; STS ignores unsigned headers."""
    stolen = replace(recipe, audience=None).sign()
    relabelled = set_header(stolen, recipe.form.audience_header, AUDIENCE)
    assert refusal(relabelled) is Reason.AUDIENCE_MISSING
    assert refusal(relabelled, make_policy(allow_unbound=True)) is Reason.AUDIENCE_MISSING


@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2026_71861_a_signed_audience_cannot_be_exchanged(recipe: Recipe) -> None:
    """CVE-2026-71861, Chainguard SDK: with the value exchanged after signing the signature does not hold any more."""
    name = recipe.form.audience_header
    stolen = replace(recipe, audience="somebody-else").sign()
    assert refusal(stolen) is Reason.AUDIENCE_MISMATCH
    assert not signature_holds(judge(set_header(stolen, name, AUDIENCE).credential()), recipe)


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("query", ["?Action=AssumeRole", "?Action=GetCallerIdentity&Version=2011-06-15", "?"])
def test_secvuln_8630_a_post_has_no_query(form: CredentialForm, query: str) -> None:
    """SECVULN-8630, consul-awsauth commit 5254294: STS takes URL parameters over the body that was checked."""
    call = Recipe(form=form).sign()
    assert refusal(replace(call, url=call.url + query)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "authority",
    [
        f"evil.example://{HOST}",
        f"{HOST}://evil.example",
        f"{HOST}@evil.example",
        f"evil.example@{HOST}",
        f"{HOST}:443",
        f"evil.example?{HOST}",
        f"evil.example#{HOST}",
        f"evil.example\\@{HOST}",
    ],
)
def test_teleport_pr_67620_a_host_has_one_reading(authority: str) -> None:
    """Teleport PR 67620: X-Forwarded-Host was validated by one parse and dialled by another."""
    call = replace(PLAIN.sign(), url=f"https://{authority}/")
    assert refusal(call) in {Reason.HOST_NOT_ALLOWED, Reason.CREDENTIAL_MALFORMED}


def test_teleport_pr_15337_the_host_is_in_a_static_list() -> None:
    """Teleport PR 15337 and RFD 41: the client picks a regional endpoint, out of a list and byte for byte."""
    endpoints = select_endpoints(every_endpoint(), partition="aws", regions={"us-east-1"})
    policy = RequestPolicy(endpoints=endpoints, audience=AUDIENCE)
    assert judge(NATIVE.credential(), policy).endpoint.host == HOST
    ireland = replace(NATIVE, host="sts.eu-west-1.amazonaws.com", region="eu-west-1").sign()
    assert refusal(ireland, policy) is Reason.HOST_NOT_ALLOWED


@pytest.mark.parametrize("body", [f"{BODY} ", f"{BODY}&", "Version=2011-06-15&Action=GetCallerIdentity"])
def test_teleport_pr_15337_the_body_is_one_constant(body: str) -> None:
    """Teleport PR 15337 and RFD 41: compared byte for byte, never parsed."""
    assert refusal(replace(PLAIN, body=body).sign()) is Reason.CREDENTIAL_MALFORMED


def test_teleport_pr_15337_the_challenge_is_signed() -> None:
    """RFD 41: a join request of Teleport's is bound to Teleport, and no credential for us."""
    call = replace(PLAIN, audience_header="x-teleport-challenge").sign()
    assert refusal(call, make_policy(allow_unbound=True)) is Reason.AUDIENCE_MISMATCH


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_vault_pr_3983_a_redirect_is_no_identity(status: int) -> None:
    """Vault PR 3983: STS redirected an odd request to plain http, and the client followed. A redirect decides nothing."""
    reply = sts_says(IDENTITY_XML, status=status)
    assert reason_of(read_caller_identity, reply, endpoint_of(HOST)) is Reason.STS_UNAVAILABLE


def test_vault_pr_3983_what_sts_answers_with_a_redirect_is_not_sent() -> None:
    """Vault PR 3983: a POST without a content type, or with another, is what STS redirects."""
    assert refusal(replace(PLAIN, content_type=None).sign()) is Reason.CREDENTIAL_MALFORMED
    assert refusal(replace(PLAIN, content_type="text/plain").sign()) is Reason.CREDENTIAL_MALFORMED


def test_vault_pr_2814_a_role_made_anew_does_not_inherit() -> None:
    """Vault PR 2814: a role that was deleted and made anew under its name is another one, by its unique id."""
    recreated = role(role_id="AROAEXAMPLEEXAMPLE02")
    assert reason_of(read_grant, AdmittedPrincipal(principal()), recreated, POLICY) is Reason.ROLE_ID_MISMATCH


def test_vault_pr_3213_a_wildcard_is_a_character_like_any_other() -> None:
    """Vault PR 3213 brought wildcard ARNs, half of CVE-2025-11621. Neither accounts nor tag values know one."""
    assert reason_of(admit, principal(), {"*"}) is Reason.ACCOUNT_NOT_AUTHORIZED
    assert reason_of(read_grant, AdmittedPrincipal(principal()), role(mesh="*"), POLICY) is Reason.ROLE_TAG_INVALID


def test_infisical_pr_7546_the_credential_does_not_choose_the_partition() -> None:
    """Infisical PR 7546: the region of the credential overrode the operator's endpoint, across partitions."""
    china = replace(NATIVE, host="sts.cn-north-1.amazonaws.com.cn", region="cn-north-1").sign()
    assert refusal(china) is Reason.HOST_NOT_ALLOWED
    foreign = IDENTITY_XML.replace("arn:aws:", "arn:aws-cn:")
    assert reason_of(read_caller_identity, sts_says(foreign), endpoint_of(HOST)) is Reason.STS_UNAVAILABLE


def test_infisical_pr_7546_an_empty_list_of_accounts_admits_nobody() -> None:
    """Infisical PR 7546: without an allow-list any commercial account logged in."""
    assert reason_of(admit, principal(), frozenset()) is Reason.ACCOUNT_NOT_AUTHORIZED


def test_infisical_pr_6344_names_are_no_patterns() -> None:
    """Infisical PR 6344: ``app.prod`` of the allow-list matched ``appXprod``."""
    assert reason_of(admit, principal(account="111122X23333"[:12]), {"111122.23333"}) is Reason.ACCOUNT_NOT_AUTHORIZED
    grant = RoleGrant(type=ProxyType.DATAPLANE, mesh="default", service="app.prod")
    said = ProxyAssertion(type=ProxyType.DATAPLANE, mesh="default", tags={"kuma.io/service": {"appXprod"}})
    assert reason_of(match, grant, said, POLICY) is Reason.PROXY_SERVICE_MISMATCH
    other = role(name="demoXapp")
    assert (
        reason_of(read_grant, AdmittedPrincipal(principal(role="demo.app")), other, POLICY) is Reason.ROLE_ID_MISMATCH
    )


@pytest.mark.parametrize(
    ("resource", "user_id"),
    [
        pytest.param("federated-user/alice", f"{ACCOUNT}:alice", id="federated-user"),
        pytest.param("root", ACCOUNT, id="root-with-the-same-prefix"),
        pytest.param("assumed-role/demo-app/alice", f"{ACCOUNT}:alice", id="role-with-a-federated-user-id"),
    ],
)
def test_iam_authenticator_9fa86f7d_a_user_id_is_read_by_its_kind(resource: str, user_id: str) -> None:
    """aws-iam-authenticator 9fa86f7d: a federated user's id was cut at the colon, which left root's."""
    identity = CallerIdentity(arn=parse_arn(f"arn:aws:sts::{ACCOUNT}:{resource}"), user_id=user_id, request_id="r-1")
    assert reason_of(read_principal, identity) is Reason.PRINCIPAL_NOT_A_ROLE


def test_spire_issue_5982_a_colon_in_the_resource_is_read_and_refused() -> None:
    """SPIRE issue 5982: EC2's instance identity role has a colon in its resource, which naive splitting misreads."""
    arn = parse_arn(f"arn:aws:sts::{ACCOUNT}:assumed-role/aws:ec2-instance/i-0123456789abcdef0")
    assert (arn.account, arn.resource) == (ACCOUNT, "assumed-role/aws:ec2-instance/i-0123456789abcdef0")
    identity = CallerIdentity(arn=arn, user_id=f"{ROLE_ID}:i-0123456789abcdef0", request_id="r-1")
    assert reason_of(read_principal, identity) is Reason.PRINCIPAL_NOT_A_ROLE


@pytest.mark.parametrize("region", ["us-east-1/evil", "us-east-1.evil.example", "..", "us-east-1?x", "us-east-1#"])
def test_crabbox_issue_477_a_region_holds_no_syntax_of_a_url(region: str) -> None:
    """openclaw/crabbox issue 477: a slash in the region changed the host that was signed for."""
    call = set_parameter(NATIVE.sign(), "X-Amz-Credential", "x")
    scope = f"ASIAEXAMPLEEXAMPLE01/20261124/{region}/sts/aws4_request"
    escaped = "".join(character if character.isalnum() else f"%{ord(character):02X}" for character in scope)
    assert refusal(set_parameter(call, "X-Amz-Credential", escaped)) is Reason.CREDENTIAL_MALFORMED


def test_omegapoint_2023_headers_are_not_remapped_behind_the_check() -> None:
    """Omegapoint 2023, API Gateway authorisers: what was checked is what is sent, each header once, under its own name."""
    headers = judge(set_header(VAULT.sign(), "User-Agent", "x").credential()).headers
    names = [name.lower() for name, _ in headers]
    assert len(names) == len(set(names))
    assert dict(headers)["User-Agent"] == "kuma-aws-iam"


# 1b. SigV4 verifiers that trusted unsigned parts.


@pytest.mark.parametrize("name", ["x-amz-target", "x-amz-copy-source", "X-Amz-Expires", "x-amz-security-token-2"])
@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2026_54330_an_unsigned_amz_header_is_refused(recipe: Recipe, name: str) -> None:
    """CVE-2026-54330, Ceph RGW: only listed headers were checked, and others took effect all the same."""
    assert refusal(set_header(recipe.sign(), name, "x")) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2026_54330_an_unsigned_session_token_is_refused(recipe: Recipe) -> None:
    """CVE-2026-54330, Ceph RGW, with the one header that changes who signed."""
    unsigned = replace(recipe, unsigned=frozenset({"x-amz-security-token"}))
    assert refusal(unsigned.sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("name", ["x-amz-copy-source", "X-Amz-Copy-Source", "x-amz-target"])
@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_cve_2026_97731_a_presigned_url_takes_nothing_along(form: CredentialForm, name: str) -> None:
    """CVE-2026-97731 MinIO, CVE-2026-94368 NooBaa, CVE-2026-115374 Incus: a presigned PUT was turned into a copy."""
    assert refusal(append_parameter(Recipe(form=form).sign(), name, "x")) is Reason.CREDENTIAL_MALFORMED
    signed = Recipe(form=form, headers=((name, "x"),)).sign()
    assert refusal(signed) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("algorithm", ["AWS4-HMAC-SHA1", "AWS4-ECDSA-P256-SHA256", "AWS4-HMAC-SHA512"])
def test_ghsa_xm99_m3gq_83g8_the_algorithm_is_pinned(algorithm: str) -> None:
    """GHSA-xm99-m3gq-83g8, RustFS: the algorithm's name was not looked at."""
    assert refusal(set_parameter(NATIVE.sign(), "X-Amz-Algorithm", algorithm)) is Reason.CREDENTIAL_MALFORMED
    call = replace_in_authorization(PLAIN.sign(), "AWS4-HMAC-SHA256", algorithm)
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


def test_ghsa_g8w9_qw9q_fghr_two_lists_of_signed_headers_do_not_widen_one_another() -> None:
    """GHSA-g8w9-qw9q-fghr, s3s: a list in the query and one in the header; there is one signature, in one place (I4)."""
    native = NATIVE.sign()
    twice = append_parameter(native, "X-Amz-SignedHeaders", parameter(native, "X-Amz-SignedHeaders"))
    assert refusal(twice) is Reason.CREDENTIAL_MALFORMED
    both = replace(PLAIN.sign(), url=native.url)
    assert refusal(both) is Reason.CREDENTIAL_MALFORMED
    listed = replace_in_authorization(PLAIN.sign(), "SignedHeaders=", "SignedHeaders=host, SignedHeaders=")
    assert refusal(listed) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("name", ["host", "x-amz-date"])
@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_vinyldns_pr_1525_host_and_date_are_signed(recipe: Recipe, name: str) -> None:
    """VinylDNS PR 1525: the signer left the host and the date out of SignedHeaders."""
    assert refusal(replace(recipe, unsigned=frozenset({name})).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("recipe", [NATIVE, EKS, VAULT, PLAIN])
def test_vinyldns_pr_1525_a_signature_is_good_for_15_minutes(recipe: Recipe) -> None:
    """VinylDNS PR 1525: there was no window at all."""
    request = judge(replace(recipe, expires=900).credential())
    assert require_fresh(request, NOW + timedelta(seconds=900)).expires_at == NOW + timedelta(seconds=900)
    assert reason_of(require_fresh, request, NOW + timedelta(seconds=901)) is Reason.CREDENTIAL_EXPIRED
    assert reason_of(require_fresh, request, NOW - timedelta(seconds=301)) is Reason.CREDENTIAL_NOT_YET_VALID


@pytest.mark.parametrize("expires", ["0", "901", "604800"])
def test_s3_orchestrator_pr_65_a_signature_cannot_say_how_long_it_lives(expires: str) -> None:
    """s3-orchestrator PR 65: the client's X-Amz-Expires had no upper bound."""
    assert refusal(set_parameter(NATIVE.sign(), "X-Amz-Expires", expires)) is Reason.CREDENTIAL_MALFORMED


def test_predastore_pr_19_the_scope_names_the_day_of_the_request() -> None:
    """Predastore PR 19: the day of the scope was not tied to X-Amz-Date, so an old key signed for new days."""
    call = replace_in_authorization(PLAIN.sign(), "/20261124/", "/20261123/")
    assert refusal(call) is Reason.SCOPE_MISMATCH


# 1c. Caches and coalescing that mixed identities, as far as the core has a part in it.


def test_cve_2026_19202_what_is_sent_depends_on_the_audience() -> None:
    """CVE-2026-19202, mcp-toolbox-sdk-python: a cache without the audience in its key. The request to key on has it."""
    credential = NATIVE.credential()
    ours, other = (judge(credential, make_policy(audience=audience)) for audience in (AUDIENCE, "other"))
    assert (ours.target, ours.endpoint) == (other.target, other.endpoint)
    assert ours.headers != other.headers


def test_cve_2026_35039_two_signers_never_give_one_request() -> None:
    """CVE-2026-35039, fast-jwt: two tokens under one key. Whatever differs in a signature differs in what is sent."""
    changes: list[dict[str, Any]] = [
        {},
        {"token": "another"},
        {"secret_key": "another"},
        {"access_key_id": "ASIAEXAMPLEEXAMPLE02"},
        {"now": NOW + timedelta(seconds=1)},
        {"expires": 899},
        {"host": "sts.us-east-1.api.aws"},
    ]
    sent = {(judge(replace(NATIVE, **change).credential())) for change in changes}
    assert len(sent) == len(changes)


# 1d. The Python stack and the parsers under us.


@pytest.mark.parametrize("prefix", [" ", "\t", "\n", "\x00", "\x1f", "\x0b"])
def test_cve_2023_24329_a_blank_before_the_url_hides_nothing(prefix: str) -> None:
    """CVE-2023-24329, CPython urllib.parse: leading blanks walked around checks of the scheme and the host."""
    call = PLAIN.sign()
    assert refusal(replace(call, url=prefix + call.url)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("character", ["\r", "\n", "\t"])
@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2022_0391_line_breaks_in_a_url_are_not_dropped(recipe: Recipe, character: str) -> None:
    """CVE-2022-0391, CPython urllib.parse: CR, LF and TAB were passed on, then dropped silently."""
    call = replace_in_url(recipe.sign(), "amazonaws", f"amazon{character}aws")
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "host", ["[sts.us-east-1.amazonaws.com]", "[evil.example]", f"[::1]{HOST}", f"{HOST}[::1]", "[v1.x]"]
)
def test_cve_2024_11168_brackets_make_no_host(host: str) -> None:
    """CVE-2024-11168 and CVE-2025-0938, CPython urllib.parse: what stood in brackets was not held to be an IP address."""
    call = replace_in_url(PLAIN.sign(), f"//{HOST}/", f"//{host}/")
    assert refusal(call) is Reason.HOST_NOT_ALLOWED


@pytest.mark.parametrize("character", ["\uff0f", "\uff1a", "\uff20", "\u2100", "\uff0e", "\u3002", "\u017f", "\u212a"])
@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2019_9636_no_character_becomes_another_one(recipe: Recipe, character: str) -> None:
    """CVE-2019-9636, CPython urllib.parse: NFKC turned harmless characters of a host into delimiters."""
    call = recipe.sign()
    url = call.url.replace("amazonaws.com/", f"amazonaws.com{character}evil.example/")
    members = call.members() | ({"iam_request_url": base64(url)} if recipe is VAULT else {"url": url})
    assert reason_of(judge, json.dumps(members)) is Reason.CREDENTIAL_MALFORMED


def test_cve_2021_23336_a_semicolon_separates_nothing() -> None:
    """CVE-2021-23336, CPython parse_qsl: a second separator gave a cache and a server two readings."""
    call = change_query(NATIVE.sign(), lambda pairs: [(name, f"{value};X-Amz-Evil=1") for name, value in pairs])
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED
    swapped = replace(NATIVE.sign(), url=NATIVE.sign().url.replace("&", ";"))
    assert refusal(swapped) is Reason.CREDENTIAL_MALFORMED


def test_aiohttp_3_13_3_digits_are_ascii() -> None:
    """The advisories of aiohttp 3.13.3: digits of every script passed, and non-ASCII names were folded to known ones."""
    arabic = IDENTITY_XML.replace(ACCOUNT, "".join(chr(0x660 + int(digit)) for digit in ACCOUNT))
    assert reason_of(read_caller_identity, sts_says(arabic), endpoint_of(HOST)) is Reason.STS_UNAVAILABLE
    folded = json.dumps(PLAIN.sign().members()).replace("X-Amz-Date", "X-Amz-Date\\u212a")
    assert reason_of(judge, folded) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("recipe", [VAULT, PLAIN])
def test_cve_2025_59043_a_credential_is_short_before_it_is_parsed(recipe: Recipe) -> None:
    """CVE-2025-59043, OpenBao: small JSON grew 35-fold in memory before anybody was authenticated."""
    text = recipe.credential()
    assert reason_of(judge, text + " " * (12 * 1024 + 1 - len(text))) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a":' + "[" * 100_000])
def test_cve_2025_67221_deep_json_ends_in_an_error_of_ours(text: str) -> None:
    """CVE-2024-27454 and CVE-2025-67221, orjson: no limit of recursion. It is neither a crash nor an internal error."""
    with pytest.raises(StrictJsonError):
        parse_object(text)


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://evil.example/x.dtd">',
        '<?xml version="1.0"?>\n<!DOCTYPE x>',
    ],
)
def test_cve_2013_0340_no_dtd_reaches_the_parser(prologue: str) -> None:
    """CVE-2013-0340 and the expat family: with no DTD there is no entity to expand and no file to fetch."""
    with pytest.raises(DocumentError, match="DTD"):
        read_identity_document("text/xml", (prologue + IDENTITY_XML).encode())


def test_cve_2022_25313_deep_xml_ends_in_an_error_of_ours() -> None:
    """CVE-2022-25313, expat: the stack ran out in a nested content model. STS's answers are bounded, and so is this."""
    deep = "<a>" * 20_000 + "</a>" * 20_000
    with pytest.raises(DocumentError):
        read_identity_document("text/xml", deep.encode())


@pytest.mark.parametrize("label", ["a" * 8000, "xn--" + "a" * 8000])
def test_idna_long_labels_are_compared_and_not_decoded(label: str) -> None:
    """The quadratic IDNA decoder (gh-98433): a host is looked up as it stands."""
    call = replace_in_url(PLAIN.sign(), f"//{HOST}/", f"//{label}.amazonaws.com/")
    assert refusal(call) is Reason.HOST_NOT_ALLOWED
