from dataclasses import replace
from hashlib import sha256

import pytest

from app.core.credential import decode_credential
from app.core.errors import CredentialError
from app.core.header_rules import HEADER_RULES
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm
from tests.support.mutations import (
    drop_header,
    replace_in_authorization,
    replace_in_header,
    set_header,
    set_parameter,
)
from tests.support.signing import (
    BODY,
    FORM_TYPE,
    FORMS,
    HOST,
    POSTED_FORMS,
    PRESIGNED_FORMS,
    Recipe,
    SignedCall,
)

NATIVE = Recipe(form=CredentialForm.NATIVE)
PLAIN = Recipe(form=CredentialForm.PLAIN_ENVELOPE)
DIGEST = sha256(BODY.encode()).hexdigest()
AUDIENCE_HEADERS = (
    "x-kuma-audience",
    "x-k8s-aws-id",
    "x-vault-aws-iam-server-id",
    "x-consul-iam-serverid",
    "x-teleport-challenge",
)

INVOCATION = ("amz-sdk-invocation-id", "6c1c3f4e-0b0e-4a58-9a3f-1c2d3e4f5a6b")
ATTEMPT = ("amz-sdk-request", "attempt=1; max=3")
LENGTH = ("Content-Length", str(len(BODY)))
DIGEST_HEADER = ("X-Amz-Content-Sha256", DIGEST)
AGENT = ("User-Agent", "aws-sdk-java/1.12.700 Linux/6.1 OpenJDK_64-Bit_Server_VM/17 vendor/Amazon.com_Inc.")
AMZ_AGENT = ("X-Amz-User-Agent", "aws-sdk-js/3.900.0")


def judge_headers(call: SignedCall) -> None:
    request = decode_credential(call.credential())
    for rule in HEADER_RULES:
        rule(request)


def refusal(call: SignedCall) -> Reason:
    with pytest.raises(CredentialError) as raised:
        judge_headers(call)
    return raised.value.reason


def signed_names(call: SignedCall, names: str) -> SignedCall:
    """Return the call with another text as SignedHeaders."""
    if call.form.is_presigned:
        return set_parameter(call, "X-Amz-SignedHeaders", names.replace(";", "%3B"))
    old = dict(call.headers)["Authorization"].split("SignedHeaders=")[1].split(",")[0]
    return replace_in_authorization(call, old, names)


@pytest.mark.parametrize("form", FORMS)
def test_header_rules_pass_the_baseline_of_each_form(form: CredentialForm) -> None:
    judge_headers(Recipe(form=form).sign())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="botocore"),
        pytest.param((LENGTH,), id="hvac-and-go-v1"),
        pytest.param((INVOCATION, ATTEMPT, LENGTH), id="go-v2-and-java-v2"),
        pytest.param((INVOCATION, ATTEMPT, LENGTH, DIGEST_HEADER, AMZ_AGENT), id="javascript-v3"),
        pytest.param((AGENT, INVOCATION, LENGTH), id="java-v1"),
        pytest.param((INVOCATION,), id="amz-sdk-invocation-id"),
        pytest.param((ATTEMPT,), id="amz-sdk-request"),
        pytest.param((DIGEST_HEADER,), id="x-amz-content-sha256"),
        pytest.param((AGENT,), id="user-agent"),
        pytest.param((AMZ_AGENT,), id="x-amz-user-agent"),
        pytest.param((INVOCATION, ATTEMPT, LENGTH, DIGEST_HEADER, AGENT, AMZ_AGENT), id="all-at-once"),
        pytest.param((("Host", HOST),), id="host-spelt-out"),
        pytest.param((("host", HOST), LENGTH), id="host-in-lower-case"),
    ],
)
@pytest.mark.parametrize("form", POSTED_FORMS)
def test_header_rules_pass_what_each_sdk_signs(form: CredentialForm, headers: tuple[tuple[str, str], ...]) -> None:
    """A rule that is too strict causes an outage: Vault 1.5.1, aws-sdk-go-v2 1.24.1."""
    judge_headers(Recipe(form=form, headers=headers).sign())


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded; charset=UTF-8",
        "application/x-www-form-urlencoded;charset=utf-8",
        "Application/X-WWW-Form-URLEncoded; Charset=UTF-8",
    ],
)
@pytest.mark.parametrize("form", POSTED_FORMS)
def test_header_rules_pass_each_way_of_naming_a_form(form: CredentialForm, content_type: str) -> None:
    judge_headers(Recipe(form=form, content_type=content_type).sign())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Amz-Sdk-Invocation-Id", "6c1c3f4e"),
        ("Amz-Sdk-Request", "attempt=1"),
        ("Connection", "keep-alive"),
        ("Content-Length", "43"),
        ("Content-Length", "9"),
        ("User-Agent", "Boto3/1.44"),
        ("X-Amz-User-Agent", "aws-sdk-js/3"),
        ("X-Amzn-Trace-Id", "Root=1-00000000-000000000000000000000000"),
    ],
)
@pytest.mark.parametrize("form", POSTED_FORMS)
def test_header_rules_pass_unsigned_headers_that_carry_nothing(form: CredentialForm, name: str, value: str) -> None:
    judge_headers(set_header(Recipe(form=form).sign(), name, value))


def test_header_rules_pass_every_harmless_header_at_once() -> None:
    call = PLAIN.sign()
    names = ("Accept", "Accept-Encoding", "Connection", "Content-Length", "User-Agent", "X-Amzn-Trace-Id")
    for name in (*names, INVOCATION[0], ATTEMPT[0], "X-Amz-User-Agent"):
        call = set_header(call, name, "x")
    judge_headers(call)


def test_header_rules_pass_a_credential_without_a_session_token() -> None:
    judge_headers(replace(PLAIN, token=None).sign())


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("x-kuma-audience;host", id="not-sorted"),
        pytest.param("host;host;x-kuma-audience", id="name-twice"),
        pytest.param("Host;x-kuma-audience", id="upper-case"),
        pytest.param("host;X-Kuma-Audience", id="audience-in-upper-case"),
    ],
)
def test_header_rules_reject_signed_headers_of_a_url_that_are_not_canonical(names: str) -> None:
    """I5: lower-case, sorted, unique."""
    assert refusal(signed_names(NATIVE.sign(), names)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("host;content-type;x-amz-date;x-amz-security-token;x-kuma-audience", id="not-sorted"),
        pytest.param("content-type;host;x-amz-date;x-amz-date;x-amz-security-token;x-kuma-audience", id="name-twice"),
        pytest.param("Content-Type;host;x-amz-date;x-amz-security-token;x-kuma-audience", id="upper-case"),
    ],
)
def test_header_rules_reject_signed_headers_of_a_post_that_are_not_canonical(names: str) -> None:
    assert refusal(signed_names(PLAIN.sign(), names)) is Reason.CREDENTIAL_MALFORMED


def test_the_first_header_rule_rejects_upper_case_by_itself() -> None:
    """A later rule would refuse the name too, but folding names caused CVE-2022-2385, so this rule checks it itself."""
    request = decode_credential(signed_names(NATIVE.sign(), "Host").credential())
    with pytest.raises(CredentialError) as raised:
        HEADER_RULES[0](request)
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
@pytest.mark.parametrize(
    "name", ["content-type", "x-amz-date", "x-amz-security-token", "accept", "user-agent", "x-evil"]
)
def test_header_rules_reject_a_url_that_signs_more_than_host_and_audience(form: CredentialForm, name: str) -> None:
    """A presigned URL carries no header values, so the service could not send the signed one."""
    call = Recipe(form=form, headers=((name, "x"),)).sign()
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", FORMS)
def test_header_rules_reject_a_signature_that_leaves_the_host_open(form: CredentialForm) -> None:
    """VinylDNS PR 1525: the signer omitted the host from SignedHeaders."""
    assert refusal(Recipe(form=form, unsigned=frozenset({"host"})).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("name", ["content-type", "x-amz-date", "x-amz-security-token"])
def test_header_rules_reject_a_post_that_leaves_a_needed_header_open(form: CredentialForm, name: str) -> None:
    assert refusal(Recipe(form=form, unsigned=frozenset({name})).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_header_rules_reject_a_post_without_a_content_type(form: CredentialForm) -> None:
    """STS answers such a request with a redirect."""
    assert refusal(Recipe(form=form, content_type=None).sign()) is Reason.CREDENTIAL_MALFORMED


DANGEROUS = [
    "accept-language",
    "content-encoding",
    "content-md5",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "smithy-protocol",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-amz-expires",
    "x-amz-target",
    "x-amzn-query-mode",
    "x-forwarded-host",
    "x-http-method-override",
]


@pytest.mark.parametrize("name", [*DANGEROUS, "accept", "accept-encoding", "connection", "authorization"])
def test_header_rules_reject_a_signed_header_that_does_not_belong_there(name: str) -> None:
    """STS receives each signed header, so the set must contain none that has an effect there or on the way (I2)."""
    call = replace(PLAIN, headers=((name, "x"),)).sign()
    if name in {"authorization", "date"}:  # botocore replaces these headers, so the test adds their names afterwards
        names = sorted((name, "content-type", "host", "x-amz-date", "x-amz-security-token", "x-kuma-audience"))
        call = signed_names(set_header(PLAIN.sign(), "Date", "x"), ";".join(names))
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("name", [*DANGEROUS, "x-amz-content-sha256", "x-amz-security-token-2"])
def test_header_rules_reject_an_unsigned_header_that_could_act(name: str) -> None:
    """CVE-2026-54330: unsigned x-amz-* headers still took effect."""
    assert refusal(set_header(PLAIN.sign(), name, "x")) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("name", ["X-Amz-Security-Token", "X-Kuma-Audience"])
def test_header_rules_reject_a_signed_header_that_is_not_there(name: str) -> None:
    """CONJSE-2023: every signed header must be known and present."""
    call = PLAIN.sign()
    spelt = next(key for key, _ in call.headers if key.lower() == name.lower())
    assert refusal(drop_header(call, spelt)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "name", ["amz-sdk-invocation-id", "amz-sdk-request", "user-agent", "x-amz-content-sha256", "x-amz-user-agent"]
)
def test_header_rules_reject_an_optional_signed_header_that_is_not_there(name: str) -> None:
    names = sorted((name, "content-type", "host", "x-amz-date", "x-amz-security-token", "x-kuma-audience"))
    assert refusal(signed_names(PLAIN.sign(), ";".join(names))) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("name", ["Content-Length", "Host"])
def test_header_rules_pass_a_signed_header_that_is_implied(form: CredentialForm, name: str) -> None:
    """Go's net/http adds both headers after the signer, so an envelope of the signer's headers lacks them."""
    judge_headers(drop_header(Recipe(form=form, headers=(LENGTH, ("Host", HOST))).sign(), name))


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("name", AUDIENCE_HEADERS)
def test_header_rules_reject_an_audience_that_the_signature_does_not_cover(form: CredentialForm, name: str) -> None:
    """CVE-2026-71861: anybody could have added the header.

    The reason differs from a missing audience: the remedy is to sign it.
    """
    recipe = Recipe(form=form, audience_header=name, unsigned=frozenset({name}))
    assert refusal(recipe.sign()) is Reason.AUDIENCE_MISSING


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("name", AUDIENCE_HEADERS)
def test_header_rules_name_an_unsigned_audience_beside_the_signed_one(form: CredentialForm, name: str) -> None:
    """The credential is bound to an audience, so "no audience" would mislead: the fault is the second header."""
    if name == form.audience_header:
        return
    call = set_header(Recipe(form=form).sign(), name.upper(), "canary")
    with pytest.raises(CredentialError) as raised:
        judge_headers(call)
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED
    assert raised.value.detail.endswith(f": {name}")
    assert "canary" not in raised.value.detail


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", AUDIENCE_HEADERS)
def test_header_rules_leave_a_signed_audience_to_the_rule_about_audiences(form: CredentialForm, name: str) -> None:
    judge_headers(Recipe(form=form, audience_header=name).sign())


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("evil.example", id="other-host"),
        pytest.param("sts.amazonaws.com", id="other-sts-host"),
        pytest.param(f"{HOST}:443", id="port"),
        pytest.param(HOST.upper(), id="upper-case"),
        pytest.param(f"{HOST}.", id="trailing-dot"),
        pytest.param(f"{HOST}, evil.example", id="list"),
        pytest.param(f"https://{HOST}", id="url"),
    ],
)
@pytest.mark.parametrize("form", POSTED_FORMS)
def test_header_rules_reject_a_host_header_that_is_not_the_urls_host(form: CredentialForm, host: str) -> None:
    """CVE-2025-49831: a gateway that routed by Host sent the request to another server."""
    assert refusal(Recipe(form=form, headers=(("Host", host),)).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param("application/json", id="json"),
        pytest.param("text/xml", id="xml"),
        pytest.param("application/x-amz-json-1.1", id="json-of-aws"),
        pytest.param("multipart/form-data; boundary=x", id="multipart"),
        pytest.param("application/x-www-form-urlencoded; charset=utf-16", id="charset"),
        pytest.param("application/x-www-form-urlencoded; charset=utf-7", id="charset-utf-7"),
        pytest.param("application/x-www-form-urlencoded; charset=utf-8; x=y", id="second-parameter"),
        pytest.param("application/x-www-form-urlencoded;  charset=utf-8", id="two-blanks"),
        pytest.param("application/x-www-form-urlencoded, application/json", id="two-types"),
        pytest.param("application/x-www-form-urlencoded-evil", id="longer-name"),
        pytest.param("x-application/x-www-form-urlencoded", id="longer-name-before"),
    ],
)
@pytest.mark.parametrize("form", POSTED_FORMS)
def test_header_rules_reject_another_content_type(form: CredentialForm, content_type: str) -> None:
    assert refusal(Recipe(form=form, content_type=content_type).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("length", ["0", "42", "44", "043", "+43", "43.0", "43, 43", "4e1"])
def test_header_rules_reject_a_signed_length_that_is_not_the_bodys(length: str) -> None:
    assert refusal(replace(PLAIN, headers=(("Content-Length", length),)).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("UNSIGNED-PAYLOAD", id="unsigned-payload"),
        pytest.param("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", id="streaming"),
        pytest.param(sha256(b"").hexdigest(), id="digest-of-nothing"),
        pytest.param(DIGEST.upper(), id="upper-case"),
        pytest.param(sha256(b"Action=AssumeRole&Version=2011-06-15").hexdigest(), id="digest-of-another-body"),
    ],
)
def test_header_rules_reject_a_digest_that_is_not_the_bodys(digest: str) -> None:
    """SigV4 signs the value of this header and not the body: UNSIGNED-PAYLOAD would not protect the body."""
    call = replace(PLAIN, headers=(("X-Amz-Content-Sha256", digest),)).sign()
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


def test_header_rules_judge_the_value_and_not_how_it_was_signed() -> None:
    """The header was changed after signing. This rule refuses it already, and not only STS."""
    call = replace_in_header(PLAIN.sign(), "Content-Type", FORM_TYPE, "text/plain")
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED
