"""The hint equals the key id of the decoder or is None, also if an attacker writes two key ids."""

import json
from dataclasses import replace

import pytest

from app.core.credential import decode_credential
from app.core.key_id_hint import hint_key_id
from app.core.signed_request import CredentialForm
from tests.support.signing import ACCESS_KEY_ID, FORMS, POSTED_FORMS, PRESIGNED_FORMS, Recipe, base64, base64url, jwt

CALLS = {form: Recipe(form=form).sign() for form in FORMS}
URL = CALLS[CredentialForm.NATIVE].url
QUERY = URL.partition("?")[2]
ENVELOPE = CALLS[CredentialForm.ENVELOPE]
PLAIN = CALLS[CredentialForm.PLAIN_ENVELOPE]
OTHER = "ASIAOTHEROTHEROTHER1"
MAX_CHARS = 12 * 1024


@pytest.mark.parametrize("form", FORMS)
def test_the_hint_is_the_key_id_of_each_form(form: CredentialForm) -> None:
    assert hint_key_id(Recipe(form=form).credential()) == ACCESS_KEY_ID


@pytest.mark.parametrize("form", POSTED_FORMS)
def test_the_hint_is_the_key_id_of_an_envelope_in_base64url(form: CredentialForm) -> None:
    assert hint_key_id(base64url(Recipe(form=form).credential())) == ACCESS_KEY_ID


def test_the_hint_is_found_behind_a_long_token() -> None:
    names = sorted(QUERY.split("&"), reverse=True)
    credential = replace(CALLS[CredentialForm.NATIVE], url=f"{URL.partition('?')[0]}?{'&'.join(names)}").credential()
    assert decode_credential(credential).signature.scope.access_key_id == ACCESS_KEY_ID
    assert hint_key_id(credential) == ACCESS_KEY_ID


@pytest.mark.parametrize(
    "url",
    [
        f"https://sts.amazonaws.com/&X-Amz-Credential={OTHER}/?{QUERY}",
        f"https://&X-Amz-Credential={OTHER}/?{QUERY}",
        f"https://sts.amazonaws.com/?{QUERY.replace('GetCallerIdentity', f'X-Amz-Credential={OTHER}/')}",
    ],
    ids=["in-the-path", "in-the-authority", "in-a-value"],
)
@pytest.mark.parametrize("form", PRESIGNED_FORMS)
def test_a_second_key_id_beside_the_parameter_is_not_the_hint(form: CredentialForm, url: str) -> None:
    credential = replace(CALLS[form], url=url).credential()
    assert decode_credential(credential).signature.scope.access_key_id == ACCESS_KEY_ID
    assert hint_key_id(credential) == ACCESS_KEY_ID


@pytest.mark.parametrize("written", ["%41SIA", "\\u0041SIA"], ids=["percent", "json"])
def test_a_key_id_in_escapes_gives_no_hint(written: str) -> None:
    payload = json.dumps({"url": URL}).replace("ASIA", written)
    credential = f"{jwt({'alg': 'none', 'typ': 'kuma-aws-v1'}, 0).partition('.')[0]}.{base64url(payload)}."
    assert decode_credential(credential).signature.scope.access_key_id == ACCESS_KEY_ID
    assert hint_key_id(credential) is None


def test_a_second_key_id_in_another_header_gives_no_hint() -> None:
    headers = {"User-Agent": f"Credential={OTHER}/", **dict(PLAIN.headers)}
    for members in (
        {**PLAIN.members(), "headers": headers},
        {**ENVELOPE.members(), "iam_request_headers": base64(json.dumps({**headers, **dict(ENVELOPE.headers)}))},
    ):
        decode_credential(json.dumps(members))
        assert hint_key_id(json.dumps(members)) is None


def test_a_key_id_in_json_escapes_beside_a_plain_one_gives_no_hint() -> None:
    escaped = json.dumps(dict(PLAIN.headers)).replace("Credential=", "\\u0043redential=")
    spoilt = '{"User-Agent": "Credential=' + OTHER + '/", ' + escaped[1:]
    plain = json.dumps(PLAIN.members()).replace(json.dumps(dict(PLAIN.headers)), spoilt)
    envelope = json.dumps({**ENVELOPE.members(), "iam_request_headers": base64(spoilt)})
    for text in (plain, envelope):
        assert decode_credential(text).signature.scope.access_key_id == ACCESS_KEY_ID
        assert hint_key_id(text) is None


def test_headers_within_the_ignored_role_give_no_hint() -> None:
    """The role of a Vault request has no effect, so a key id in it gives no hint."""
    other = base64(json.dumps({"Authorization": f"Credential={OTHER}/"}))
    text = json.dumps({"role": {"iam_request_headers": other}, **ENVELOPE.members()})
    assert decode_credential(text).signature.scope.access_key_id == ACCESS_KEY_ID
    assert hint_key_id(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.b.c",
        "kuma-aws-v1.",
        "kuma-aws-v1.?",
        "k8s-aws-v1.\u00e9",
        "{",
        "\u00e9",
        "{\u00e9",
        "a" * (MAX_CHARS + 1),
    ],
)
def test_a_text_that_is_no_credential_gives_no_hint(text: str) -> None:
    assert hint_key_id(text) is None


def test_a_credential_that_is_too_long_gives_no_hint() -> None:
    assert hint_key_id(CALLS[CredentialForm.NATIVE].credential().ljust(MAX_CHARS + 1, "A")) is None


def test_the_longest_credential_gives_a_hint() -> None:
    assert hint_key_id(PLAIN.credential().ljust(MAX_CHARS)) == ACCESS_KEY_ID


def test_a_key_id_that_breaks_its_grammar_gives_no_hint() -> None:
    assert hint_key_id(PLAIN.credential().replace(ACCESS_KEY_ID, "SHORT")) is None
