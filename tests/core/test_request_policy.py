from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from app.core.credential import decode_credential
from app.core.endpoints import AWS_GLOBAL, select_endpoints
from app.core.errors import CredentialError
from app.core.forwarding import ForwardableRequest
from app.core.reasons import Reason
from app.core.request_policy import RequestPolicy, require_fresh, validate
from app.core.signed_request import CredentialForm
from tests.support.mutations import (
    parameter,
    replace_in_authorization,
    replace_in_url,
    set_header,
    set_parameter,
)
from tests.support.signing import (
    AUDIENCE,
    BODY,
    FORMS,
    HOST,
    NOW,
    POSTED_FORMS,
    PRESIGNED_FORMS,
    Recipe,
    SignedCall,
    endpoint_of,
    every_endpoint,
    for_endpoint,
    judge,
    make_policy,
    signature_holds,
)

NATIVE = Recipe(form=CredentialForm.NATIVE)
PLAIN = Recipe(form=CredentialForm.PLAIN_ENVELOPE)
ONE_OF_EACH_KIND = (NATIVE, PLAIN)
PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f")
AUDIENCE_HEADERS = (
    "x-kuma-audience",
    "x-k8s-aws-id",
    "x-vault-aws-iam-server-id",
    "x-consul-iam-serverid",
    "x-teleport-challenge",
)
UNBOUND = make_policy(allow_unbound=True)


def refusal(call: SignedCall, policy: RequestPolicy | None = None) -> Reason:
    with pytest.raises(CredentialError) as raised:
        judge(call.credential(), policy)
    return raised.value.reason


@pytest.mark.parametrize("form", FORMS)
def test_validate_passes_the_baseline_and_its_signature_holds(form: CredentialForm) -> None:
    recipe = Recipe(form=form)
    request = judge(recipe.credential())
    assert (request.form, request.endpoint, request.signed_at) == (form, endpoint_of(HOST), NOW)
    assert signature_holds(request, recipe)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("partition", PARTITIONS)
def test_validate_passes_every_endpoint_of_the_partition_and_of_no_other(partition: str, form: CredentialForm) -> None:
    """Global, regional, FIPS and dual-stack hosts."""
    policy = make_policy(partition=partition)
    stranger = make_policy(partition="aws" if partition == "aws-cn" else "aws-cn")
    endpoints = [endpoint for endpoint in every_endpoint() if endpoint.partition == partition]
    assert endpoints
    for endpoint in endpoints:
        call = for_endpoint(form, endpoint).sign()
        assert judge(call.credential(), policy).endpoint == endpoint
        assert refusal(call, stranger) is Reason.HOST_NOT_ALLOWED


@pytest.mark.parametrize(
    "host",
    [
        "sts.amazonaws.com",
        "sts.eu-west-1.amazonaws.com",
        "sts-fips.us-east-1.amazonaws.com",
        "sts.us-east-1.api.aws",
        "sts-fips.us-east-1.api.aws",
        "sts.us-gov-west-1.amazonaws.com",
        "sts.cn-north-1.amazonaws.com.cn",
        "sts.eusc-de-east-1.amazonaws.eu",
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_validate_passes_the_hosts_that_aws_documents(form: CredentialForm, host: str) -> None:
    """From https://docs.aws.amazon.com/general/latest/gr/sts.html, one host of each kind."""
    endpoint = endpoint_of(host)
    recipe = for_endpoint(form, endpoint)
    request = judge(recipe.credential(), make_policy(partition=endpoint.partition))
    assert dict(request.headers)["Host"] == host
    assert signature_holds(request, recipe)


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((("Content-Length", "43"),), id="hvac"),
        pytest.param((("User-Agent", "aws-sdk-java/1"), ("Host", HOST)), id="user-agent-and-host"),
        pytest.param((("amz-sdk-invocation-id", "x"), ("amz-sdk-request", "attempt=1; max=3")), id="amz-sdk"),
        pytest.param((("User-Agent", "two  blanks"),), id="blanks-that-sigv4-collapses"),
        pytest.param((("X-Amz-Content-Sha256", sha256(BODY.encode()).hexdigest()),), id="digest"),
        pytest.param((("X-Amz-User-Agent", "aws-sdk-js/3"), ("Content-Length", "43")), id="x-amz-user-agent"),
    ],
)
def test_validate_passes_what_sdks_sign_and_its_signature_holds(
    form: CredentialForm, headers: tuple[tuple[str, str], ...]
) -> None:
    recipe = Recipe(form=form, headers=headers)
    assert signature_holds(judge(recipe.credential()), recipe)


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"token": None}, id="no-session-token"),
        pytest.param({"content_type": "application/x-www-form-urlencoded"}, id="no-charset"),
        pytest.param({"content_type": "application/x-www-form-urlencoded; charset=UTF-8"}, id="charset-in-upper-case"),
        pytest.param({"content_type": "application/x-www-form-urlencoded;charset=utf-8"}, id="no-blank"),
    ],
)
def test_validate_passes_what_signers_vary_and_its_signature_holds(
    form: CredentialForm, change: dict[str, Any]
) -> None:
    recipe = replace(Recipe(form=form), **change)
    assert signature_holds(judge(recipe.credential()), recipe)


@pytest.mark.parametrize("recipe", ONE_OF_EACH_KIND)
@pytest.mark.parametrize("scheme", ["http", "HTTPS", "Https", "ws", "file"])
def test_validate_rejects_another_scheme(recipe: Recipe, scheme: str) -> None:
    assert refusal(replace_in_url(recipe.sign(), "https:", f"{scheme}:")) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("recipe", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    "authority",
    [
        pytest.param("", id="empty"),
        pytest.param("evil.example", id="other-host"),
        pytest.param(f"{HOST}:443", id="default-port"),
        pytest.param(f"{HOST}:8443", id="other-port"),
        pytest.param(f"{HOST}:", id="empty-port"),
        pytest.param(f"user@{HOST}", id="userinfo"),
        pytest.param(f"{HOST}@evil.example", id="host-as-userinfo"),
        pytest.param(f"{HOST}.", id="trailing-dot"),
        pytest.param("STS.us-east-1.amazonaws.com", id="upper-case"),
        pytest.param(f"{HOST}.evil.example", id="host-as-prefix"),
        pytest.param(f"evil.{HOST}", id="host-as-suffix"),
        pytest.param("sts.bucket.s3.amazonaws.com", id="bucket-named-like-it"),
        pytest.param("stsXus-east-1.amazonaws.com", id="dot-that-is-no-wildcard"),
        pytest.param("sts.us-east-99.amazonaws.com", id="region-that-does-not-exist"),
        pytest.param("sts.aws-global.amazonaws.com", id="pseudo-region"),
        pytest.param("sts-fips.amazonaws.com", id="global-fips-host-that-does-not-exist"),
        pytest.param("iam.amazonaws.com", id="other-service"),
        pytest.param("vpce-0a1b.sts.us-east-1.vpce.amazonaws.com", id="vpc-endpoint-that-may-be-anybodys"),
        pytest.param("sts.cn-north-1.amazonaws.com.cn", id="other-partition"),
        pytest.param("sts%2Eus-east-1.amazonaws.com", id="escape"),
        pytest.param("[::ffff:127.0.0.1]", id="loopback"),
        pytest.param("xn--sts-.us-east-1.amazonaws.com", id="punycode"),
    ],
)
def test_validate_rejects_a_host_that_is_not_in_the_table(recipe: Recipe, authority: str) -> None:
    """I1: compare the whole authority. Tests by prefix, suffix or pattern caused CVE-2025-49827."""
    assert refusal(replace_in_url(recipe.sign(), f"//{HOST}/", f"//{authority}/")) is Reason.HOST_NOT_ALLOWED


def test_validate_rejects_a_host_of_a_region_that_is_not_accepted() -> None:
    endpoints = select_endpoints(every_endpoint(), partition="aws", regions={"eu-west-1"})
    policy = RequestPolicy(endpoints=endpoints, audience=AUDIENCE)
    assert refusal(NATIVE.sign(), policy) is Reason.HOST_NOT_ALLOWED
    ireland = endpoint_of("sts.eu-west-1.amazonaws.com")
    assert judge(for_endpoint(NATIVE.form, ireland).credential(), policy).endpoint == ireland


@pytest.mark.parametrize("recipe", ONE_OF_EACH_KIND)
def test_validate_passes_an_empty_path_for_a_slash(recipe: Recipe) -> None:
    """RFC 9110 section 4.2.3; SigV4 signs both alike."""
    assert signature_holds(judge(replace(recipe, path="").credential()), recipe)


@pytest.mark.parametrize("recipe", ONE_OF_EACH_KIND)
@pytest.mark.parametrize("path", ["//", "/x", "/.", "/..", "/%2F", "/;x", "/Action=AssumeRole", "/index.html"])
def test_validate_rejects_another_path(recipe: Recipe, path: str) -> None:
    """The signature is valid, but STS does not answer under this path."""
    assert refusal(replace(recipe, path=path).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "post", "Post", "POST ", ""])
def test_validate_rejects_an_envelope_with_another_method(form: CredentialForm, method: str) -> None:
    """I4: a signature is accepted in one place only."""
    assert refusal(replace(Recipe(form=form).sign(), method=method)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_validate_rejects_a_presigned_request_that_is_no_get(form: CredentialForm) -> None:
    """The decoder makes no such request. The rule does not rely on that."""
    request = replace(decode_credential(Recipe(form=form).credential()), method="POST")
    with pytest.raises(CredentialError) as raised:
        validate(request, UNBOUND)
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("action", "version"),
    [
        pytest.param("AssumeRoleWithWebIdentity", "2011-06-15", id="the-action-of-cve-2020-16250"),
        pytest.param("AssumeRole", "2011-06-15", id="other-action"),
        pytest.param("getcalleridentity", "2011-06-15", id="action-in-lower-case"),
        pytest.param("", "2011-06-15", id="no-action"),
        pytest.param("GetCallerIdentity", "2010-06-15", id="other-version"),
        pytest.param("GetCallerIdentity", "", id="no-version"),
    ],
)
def test_validate_rejects_another_question(form: CredentialForm, action: str, version: str) -> None:
    """The signature is valid, but the action is not GetCallerIdentity."""
    assert refusal(Recipe(form=form, action=action, version=version).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{BODY}\n", id="newline"),
        pytest.param(f"{BODY}&RoleArn=x", id="parameter-more"),
        pytest.param(f"{BODY}&Action=AssumeRole", id="action-twice"),
        pytest.param(f"Action=AssumeRole&{BODY}", id="action-twice-first"),
        pytest.param("Version=2011-06-15&Action=GetCallerIdentity", id="other-order"),
        pytest.param("Action=GetCallerIdentity&Version=2011%2D06-15", id="escape"),
        pytest.param(f"&{BODY}", id="empty-pair"),
        pytest.param(f"{BODY}\x00", id="nul"),
    ],
)
def test_validate_rejects_every_body_but_the_one(form: CredentialForm, body: str) -> None:
    """I3: one constant, byte for byte."""
    assert refusal(Recipe(form=form, body=body).sign()) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize("query", ["?", "?Action=AssumeRole", f"?{BODY}", "?x", "?X-Amz-Signature=0"])
def test_validate_rejects_a_post_with_a_query(form: CredentialForm, query: str) -> None:
    """consul-awsauth 5254294: STS prefers URL parameters to body parameters."""
    call = Recipe(form=form).sign()
    assert refusal(replace(call, url=call.url + query)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "algorithm", ["AWS4-HMAC-SHA1", "AWS4-ECDSA-P256-SHA256", "AWS4-HMAC-SHA256-PAYLOAD", "AWS3", "NONE"]
)
def test_validate_rejects_another_algorithm(algorithm: str) -> None:
    """I8; GHSA-xm99-m3gq-83g8: the algorithm was not pinned."""
    old = "AWS4-HMAC-SHA256"
    assert refusal(set_parameter(NATIVE.sign(), "X-Amz-Algorithm", algorithm)) is Reason.CREDENTIAL_MALFORMED
    assert refusal(replace_in_authorization(PLAIN.sign(), old, algorithm)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", FORMS)
def test_validate_rejects_a_form_that_the_policy_does_not_accept(form: CredentialForm) -> None:
    """The decoder refuses such a form too. A request from another source must not pass here."""
    policy = replace(make_policy(), forms=frozenset(CredentialForm) - {form})
    with pytest.raises(CredentialError) as raised:
        validate(decode_credential(Recipe(form=form).credential()), policy)
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED


def test_validate_rejects_what_the_header_rules_reject() -> None:
    assert refusal(set_header(PLAIN.sign(), "X-Amz-Target", "x")) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", FORMS)
def test_validate_rejects_a_credential_that_is_bound_to_nobody(form: CredentialForm) -> None:
    """I6: it could be replayed from any other relying party."""
    assert refusal(Recipe(form=form, audience=None).sign()) is Reason.AUDIENCE_MISSING


@pytest.mark.parametrize("form", FORMS)
def test_validate_passes_an_unbound_credential_where_the_operator_allows_it(form: CredentialForm) -> None:
    recipe = Recipe(form=form, audience=None)
    request = judge(recipe.credential(), UNBOUND)
    assert form.audience_header not in dict(request.headers)
    assert signature_holds(request, recipe)


@pytest.mark.parametrize("policy", [make_policy(), UNBOUND])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("header", AUDIENCE_HEADERS)
def test_validate_rejects_the_audience_header_of_another_form(
    form: CredentialForm, header: str, policy: RequestPolicy
) -> None:
    """A credential for another relying party is refused even if credentials without an audience are allowed."""
    recipe = Recipe(form=form, audience_header=header)
    if header == form.audience_header:
        assert signature_holds(judge(recipe.credential(), policy), recipe)
    else:
        assert refusal(recipe.sign(), policy) is Reason.AUDIENCE_MISMATCH


@pytest.mark.parametrize("policy", [make_policy(), UNBOUND])
@pytest.mark.parametrize("form", FORMS)
def test_validate_rejects_two_audiences(form: CredentialForm, policy: RequestPolicy) -> None:
    other = "x-consul-iam-serverid"
    assert refusal(Recipe(form=form, headers=((other, AUDIENCE),)).sign(), policy) is Reason.AUDIENCE_MISMATCH


@pytest.mark.parametrize("policy", [make_policy(), UNBOUND])
@pytest.mark.parametrize("form", POSTED_FORMS)
@pytest.mark.parametrize(
    "audience",
    [
        pytest.param("other", id="other"),
        pytest.param(AUDIENCE.upper(), id="upper-case"),
        pytest.param(f"{AUDIENCE}-test", id="audience-as-prefix"),
        pytest.param(f"{AUDIENCE}, other", id="list"),
        pytest.param("*", id="wildcard"),
    ],
)
def test_validate_rejects_an_envelope_for_another_audience(
    form: CredentialForm, audience: str, policy: RequestPolicy
) -> None:
    assert refusal(Recipe(form=form, audience=audience).sign(), policy) is Reason.AUDIENCE_MISMATCH


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_validate_sends_our_audience_with_a_url_that_was_signed_for_another(form: CredentialForm) -> None:
    recipe = Recipe(form=form, audience="other")
    request = judge(recipe.credential(), UNBOUND)
    assert dict(request.headers)[form.audience_header] == AUDIENCE
    assert not signature_holds(request, recipe)


@pytest.mark.parametrize("recipe", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"region": "eu-west-1"}, id="other-region"),
        pytest.param({"region": "US-EAST-1"}, id="region-in-upper-case"),
        pytest.param({"region": "aws-global"}, id="name-of-the-global-endpoint"),
        pytest.param({"service": "iam"}, id="other-service"),
        pytest.param({"service": "STS"}, id="service-in-upper-case"),
        pytest.param({"host": "sts.amazonaws.com", "region": "eu-west-1"}, id="global-host-in-another-region"),
    ],
)
def test_validate_rejects_a_scope_that_does_not_fit_the_host(recipe: Recipe, change: dict[str, str]) -> None:
    """I8: the signature is valid for its scope."""
    assert refusal(replace(recipe, **change).sign()) is Reason.SCOPE_MISMATCH  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("20261124/us", "20261123/us", id="day-before"),
        pytest.param("20261124/us", "20261125/us", id="day-after"),
        pytest.param("20261124/us", "2026-11-24/us", id="other-spelling-of-the-day"),
        pytest.param("aws4_request", "aws4_Request", id="terminator-in-another-case"),
        pytest.param("aws4_request", "aws3_request", id="other-terminator"),
    ],
)
def test_validate_rejects_a_scope_that_does_not_fit_the_date_or_the_service(old: str, new: str) -> None:
    """Predastore PR 19: the date of the scope was not compared with the date of the request."""
    assert refusal(replace_in_authorization(PLAIN.sign(), old, new)) is Reason.SCOPE_MISMATCH
    native = NATIVE.sign()
    scope = parameter(native, "X-Amz-Credential")
    changed = set_parameter(native, "X-Amz-Credential", scope.replace(old.replace("/", "%2F"), new.replace("/", "%2F")))
    assert refusal(changed) is Reason.SCOPE_MISMATCH


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
@pytest.mark.parametrize("expires", ["0", "-1", "901", "999", "1000", "604800", "", "060", "+60", "60.0", "6e1", "1_0"])
def test_validate_rejects_an_expires_outside_1_to_900(form: CredentialForm, expires: str) -> None:
    """I7, in each form: the EKS form ignores the value, but it must still be valid."""
    call = Recipe(form=form, expires=61).sign()
    assert refusal(set_parameter(call, "X-Amz-Expires", expires.replace("+", "%2B"))) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    "amz_date", ["20261124T051500", "20261124T0515000Z", "20261124051500Z0", "20261124T256000Z", "20261124T051560Z"]
)
def test_validate_rejects_a_date_that_is_none(amz_date: str) -> None:
    assert refusal(set_parameter(NATIVE.sign(), "X-Amz-Date", amz_date)) is Reason.CREDENTIAL_MALFORMED
    assert refusal(set_header(PLAIN.sign(), "X-Amz-Date", amz_date)) is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize(
    ("form", "expires", "seconds"),
    [
        (CredentialForm.NATIVE, 900, 900),
        (CredentialForm.NATIVE, 1, 1),
        (CredentialForm.JWT, 60, 60),
        (CredentialForm.EKS, 60, 900),
        (CredentialForm.EKS, 900, 900),
        (CredentialForm.ENVELOPE, None, 900),
        (CredentialForm.PLAIN_ENVELOPE, None, 900),
    ],
)
def test_a_signature_lives_as_long_as_it_says_and_15_minutes_at_most(
    form: CredentialForm, expires: int | None, seconds: int
) -> None:
    """The EKS tools always write 60 and state 14 minutes; STS and EKS ignore the value (contract, section 3)."""
    assert judge(Recipe(form=form, expires=expires).credential()).lifetime == timedelta(seconds=seconds)


def test_validate_gives_a_credential_no_longer_life_for_the_prefix_of_the_eks_form() -> None:
    """The signature does not cover the prefix.

    Only the signed header of the EKS form gives the longer life of its tools.
    """
    call = replace(NATIVE, audience=None, expires=60).sign()
    relabelled = replace(call, form=CredentialForm.EKS)
    assert judge(relabelled.credential(), UNBOUND).lifetime == timedelta(seconds=60)


def test_validate_takes_a_query_up_to_what_sts_takes() -> None:
    def with_token_of(characters: int) -> SignedCall:
        # A slash takes three characters after encoding, and an A takes one.
        return set_parameter(NATIVE.sign(), "X-Amz-Security-Token", "/" * (characters // 3) + "A" * (characters % 3))

    rest = len(judge(with_token_of(300).credential()).target) - 300
    assert len(judge(with_token_of(15_000 - rest).credential()).target) == 15_000
    assert refusal(with_token_of(15_001 - rest)) is Reason.CREDENTIAL_MALFORMED


def test_validate_rejects_a_query_that_grows_beyond_what_sts_takes() -> None:
    """Raw slashes become three characters each in the new encoding. STS answers such a query with an empty 400."""
    call = set_parameter(NATIVE.sign(), "X-Amz-Security-Token", "/" * 7_800)
    assert refusal(call) is Reason.CREDENTIAL_MALFORMED


def fresh(now: datetime, *, expires: int = 900) -> ForwardableRequest:
    return require_fresh(judge(replace(NATIVE, expires=expires).credential()), now)


@pytest.mark.parametrize(
    ("age", "expires"),
    [(0, 900), (900, 900), (-300, 900), (1, 1), (0, 1), (59, 60)],
)
def test_require_fresh_passes_a_signature_within_its_life(age: int, expires: int) -> None:
    forwardable = fresh(NOW + timedelta(seconds=age), expires=expires)
    assert forwardable.expires_at == NOW + timedelta(seconds=expires)
    assert forwardable.request.signed_at == NOW


@pytest.mark.parametrize(("age", "expires"), [(901, 900), (2, 1), (61, 60), (86_400, 900)])
def test_require_fresh_rejects_a_signature_beyond_its_life(age: int, expires: int) -> None:
    """I7: STS ignores X-Amz-Expires, so only this check can shorten the life."""
    with pytest.raises(CredentialError) as raised:
        fresh(NOW + timedelta(seconds=age), expires=expires)
    assert raised.value.reason is Reason.CREDENTIAL_EXPIRED


@pytest.mark.parametrize("ahead", [timedelta(seconds=301), timedelta(microseconds=300_000_001), timedelta(days=3650)])
def test_require_fresh_rejects_a_signature_of_the_future(ahead: timedelta) -> None:
    """A clock that is 15 minutes ahead would double the life to 30 minutes."""
    with pytest.raises(CredentialError) as raised:
        fresh(NOW - ahead)
    assert raised.value.reason is Reason.CREDENTIAL_NOT_YET_VALID


@pytest.mark.parametrize(
    ("day", "reason"), [("00010101", Reason.CREDENTIAL_EXPIRED), ("99991231", Reason.CREDENTIAL_NOT_YET_VALID)]
)
def test_require_fresh_rejects_the_ends_of_the_calendar(day: str, reason: Reason) -> None:
    """The first and last dates cause no overflow and no internal error: they are expired or not yet valid."""
    call = set_header(PLAIN.sign(), "X-Amz-Date", f"{day}T235959Z")
    request = judge(replace_in_authorization(call, "20261124/", f"{day}/").credential())
    with pytest.raises(CredentialError) as raised:
        require_fresh(request, NOW)
    assert raised.value.reason is reason


def test_a_request_policy_needs_an_endpoint_and_an_audience() -> None:
    """Fail closed: an empty list must not mean that everything is allowed."""
    endpoints = make_policy().endpoints
    with pytest.raises(ValueError, match="at least one STS endpoint"):
        RequestPolicy(endpoints={}, audience=AUDIENCE)
    with pytest.raises(ValueError, match="at least one STS endpoint"):
        RequestPolicy(endpoints=endpoints, audience="")
    with pytest.raises(ValueError, match="at least one form"):
        RequestPolicy(endpoints=endpoints, audience="a", forms=frozenset())
    assert RequestPolicy(endpoints=endpoints, audience="a").allow_unbound is False


def test_a_request_policy_shows_no_audience_in_its_repr() -> None:
    assert AUDIENCE not in repr(make_policy())


def test_validate_gives_the_reason_of_the_first_rule_that_is_broken() -> None:
    """The order of the threat model: destination, action, signer, audience, time."""
    call = replace(NATIVE, audience=None, region="eu-west-1", action="AssumeRole").sign()
    assert refusal(replace_in_url(call, HOST, "evil.example")) is Reason.HOST_NOT_ALLOWED
    assert refusal(replace(NATIVE, audience=None, region="eu-west-1").sign()) is Reason.AUDIENCE_MISSING


def test_the_global_endpoint_is_a_region_of_its_own() -> None:
    assert endpoint_of("sts.amazonaws.com").region == AWS_GLOBAL
