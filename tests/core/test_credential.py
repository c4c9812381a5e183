import json

import pytest

from app.core.credential import decode_credential, encode_jwt_clothes, encode_native
from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm
from tests.support.signing import FORMS, POSTED_FORMS, PRESIGNED_FORMS, Recipe, base64url, jwt

NATIVE = Recipe(form=CredentialForm.NATIVE).sign()
EKS = Recipe(form=CredentialForm.EKS).sign()
ENVELOPE = Recipe(form=CredentialForm.ENVELOPE).sign()
MAX_CHARS = 12 * 1024  # contract, section 1
JWT_HEADER = {"alg": "none", "typ": "kuma-aws-v1"}
URL_TWICE = f'{{"url":"https://evil.example/","url":"{NATIVE.url}"}}'


def rejects(text: str) -> bool:
    with pytest.raises(CredentialError) as raised:
        decode_credential(text)
    return raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", FORMS)
def test_decode_credential_tells_the_form_by_how_it_is_written(form: CredentialForm) -> None:
    request = decode_credential(Recipe(form=form).credential())
    assert request.form is form
    assert request.method == ("GET" if form.is_presigned else "POST")
    assert request.url.authority == "sts.us-east-1.amazonaws.com"


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_decode_credential_reads_an_envelope_in_base64url_as_well(form: CredentialForm) -> None:
    text = Recipe(form=form).credential()
    assert decode_credential(base64url(text)) == decode_credential(text)


@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_decode_credential_reads_the_same_request_out_of_each_dress(form: CredentialForm) -> None:
    recipe = Recipe(form=form, audience_header="x-kuma-audience", expires=60)
    request = decode_credential(recipe.credential())
    assert request.parameters == decode_credential(encode_native(recipe.sign().url)).parameters


def test_encode_native_writes_what_decode_credential_reads() -> None:
    assert encode_native(NATIVE.url) == NATIVE.credential()


def test_encode_jwt_clothes_writes_what_decode_credential_reads() -> None:
    text = encode_jwt_clothes(NATIVE.url)
    assert text == jwt(JWT_HEADER, {"url": NATIVE.url})
    assert decode_credential(text).form is CredentialForm.JWT


def test_decode_credential_accepts_the_longest_credential() -> None:
    envelope = ENVELOPE.credential()
    padding = " " * (MAX_CHARS - len(envelope))
    assert decode_credential(envelope + padding).form is CredentialForm.ENVELOPE


def test_decode_credential_rejects_one_character_more_than_12_kib() -> None:
    """I20. The credential is valid except for its length."""
    envelope = ENVELOPE.credential()
    assert rejects(envelope + " " * (MAX_CHARS + 1 - len(envelope)))


@pytest.mark.parametrize("role", ["démo", "\ud800", "\U0001f600"])
def test_decode_credential_rejects_what_is_not_ascii(role: str) -> None:
    """Except for the one character the credential is valid: the role is ignored."""
    assert rejects(json.dumps(ENVELOPE.members() | {"role": role}, ensure_ascii=False))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="blank"),
        pytest.param("kuma-aws-v1.", id="native-prefix-alone"),
        pytest.param("k8s-aws-v1.", id="eks-prefix-alone"),
        pytest.param("Bearer " + NATIVE.credential(), id="bearer-before-it"),
        pytest.param(NATIVE.credential() + "\n", id="newline-behind-native"),
        pytest.param(NATIVE.credential() + "=", id="padding-behind-native"),
        pytest.param(EKS.credential() + "=", id="padding-behind-eks"),
        pytest.param(NATIVE.credential().replace("kuma-aws-v1", "KUMA-AWS-V1"), id="prefix-in-upper-case"),
        pytest.param("kuma-aws-v1." + NATIVE.credential(), id="prefix-twice"),
        pytest.param("kuma-aws-v1." + NATIVE.url, id="url-not-encoded"),
        pytest.param("kuma-aws-v1." + base64url(NATIVE.url + "é"), id="url-with-a-letter-beyond-ascii"),
        pytest.param("kuma-aws-v2." + base64url(NATIVE.url), id="unknown-version"),
        pytest.param(NATIVE.url, id="bare-url"),
        pytest.param("[" + ENVELOPE.credential() + "]", id="envelope-in-a-list"),
        pytest.param(ENVELOPE.credential() + ENVELOPE.credential(), id="two-envelopes"),
        pytest.param(ENVELOPE.credential()[:-1], id="envelope-cut-short"),
        pytest.param(base64url(ENVELOPE.credential()) + "=", id="padding-behind-the-envelope"),
        pytest.param(base64url(json.dumps({"url": NATIVE.url})), id="url-in-an-envelope"),
        pytest.param("{" * 4000, id="deep-nesting"),
    ],
)
def test_decode_credential_rejects_what_is_none_of_the_forms(text: str) -> None:
    assert rejects(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(jwt(JWT_HEADER, {"url": NATIVE.url}, "c2ln"), id="signature"),
        pytest.param(jwt(JWT_HEADER, {"url": NATIVE.url}).removesuffix("."), id="two-parts"),
        pytest.param(jwt(JWT_HEADER, {"url": NATIVE.url}) + ".", id="four-parts"),
        pytest.param(jwt(JWT_HEADER | {"alg": "HS256"}, {"url": NATIVE.url}), id="other-algorithm"),
        pytest.param(jwt(JWT_HEADER | {"alg": "None"}, {"url": NATIVE.url}), id="none-in-another-case"),
        pytest.param(jwt(JWT_HEADER | {"typ": "JWT"}, {"url": NATIVE.url}), id="a-real-jwt"),
        pytest.param(jwt(JWT_HEADER | {"kid": "1"}, {"url": NATIVE.url}), id="one-member-more-in-the-header"),
        pytest.param(jwt({"alg": "none"}, {"url": NATIVE.url}), id="one-member-less-in-the-header"),
        pytest.param(jwt(JWT_HEADER, {"url": NATIVE.url, "exp": 1}), id="one-member-more-in-the-payload"),
        pytest.param(jwt(JWT_HEADER, {}), id="empty-payload"),
        pytest.param(jwt(JWT_HEADER, {"url": None}), id="null-url"),
        pytest.param(jwt(JWT_HEADER, {"url": [NATIVE.url]}), id="url-in-a-list"),
        pytest.param(jwt(JWT_HEADER, [NATIVE.url]), id="payload-is-a-list"),
        pytest.param(jwt("none", {"url": NATIVE.url}), id="header-is-a-string"),
        pytest.param(f"{base64url('{')}.{base64url('}')}.", id="parts-that-are-no-json"),
        pytest.param("=.=.", id="parts-that-are-no-base64"),
        pytest.param("..", id="empty-parts"),
        pytest.param(f"{base64url(json.dumps(JWT_HEADER))}.{base64url(URL_TWICE)}.", id="url-twice"),
    ],
)
def test_decode_credential_rejects_a_jwt_that_is_not_exactly_this_one(text: str) -> None:
    assert rejects(text)


def test_a_decoded_credential_shows_no_secret_in_its_repr() -> None:
    """I22: a ``repr`` in a log line must not contain a credential."""
    for form in FORMS:
        request = decode_credential(Recipe(form=form).credential())
        shown = repr(request)
        assert "EXAMPLE" not in shown
        assert request.signature.value not in shown


@pytest.mark.parametrize("form", FORMS)
def test_decode_credential_rejects_a_form_that_is_not_accepted(form: CredentialForm) -> None:
    text = Recipe(form=form).credential()
    assert decode_credential(text, {form}).form is form
    with pytest.raises(CredentialError) as raised:
        decode_credential(text, set(FORMS) - {form})
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_decode_credential_rejects_an_envelope_where_both_envelopes_are_off(form: CredentialForm) -> None:
    with pytest.raises(CredentialError) as raised:
        decode_credential(Recipe(form=form).credential(), set(PRESIGNED_FORMS))
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED
    # Nothing of the envelope is decoded, not even to tell its form.
    assert "the forms envelope and plain_envelope are off in KMESH_AWSIAM_CREDENTIAL_FORMS" in raised.value.detail
